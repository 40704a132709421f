"""Nothing of an outer test fold reaches a model: poison in it changes no weight, no statistic."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import KFold, PredefinedSplit, cross_validate
from sklearn.pipeline import make_pipeline

from gnnpre import (
    CGCNN,
    EAD,
    FingerprintTargets,
    ForceField,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    StructureToGraph,
)
from gnnpre.datasets import make_emt_frames
from gnnpre.graphs import FrameLabels

N = 40
SMALL = {"max_epochs": 4, "batch_size": 8, "random_state": 0}
# The first fold of two: the second half is the outer test fold.
OUTER = PredefinedSplit(np.repeat([-1, 0], N // 2))
FINGERPRINTS = Pretrainer(
    CGCNN(8, 1), FingerprintTargets(EAD(4.0, L=1)), max_epochs=2, batch_size=8, random_state=0
)
REGRESSOR = PropertyRegressor(CGCNN(8, 1), validation_fraction=0.3, **SMALL)
# What each guards: scalers and the inner split in all; early stopping; calibration; statistics of
# fingerprints; weights of classes; reference energies and scales.
SUPERVISED = {
    "early stopping": clone(REGRESSOR).set_params(patience=1),
    "best weights": clone(REGRESSOR).set_params(learning_rate=0.05),
    "conformal calibration": clone(REGRESSOR).set_params(calibration_fraction=0.3),
    "fingerprint statistics": PropertyRegressor(pretraining=FINGERPRINTS, **SMALL),
    "weights of classes": PropertyClassifier(CGCNN(8, 1), class_weight="balanced", **SMALL),
}


@pytest.fixture(scope="module")
def frames():
    structures, labels = make_emt_frames(N, max_atoms=4, random_state=0)
    poison, _ = make_emt_frames(N // 2, max_atoms=4, strain=0.1, random_state=1)
    return structures, labels, [*structures[: N // 2], *poison]


def fitted_on_the_first_half(model, structures, y):
    pipeline = make_pipeline(StructureToGraph(4.0), clone(model))
    result = cross_validate(
        pipeline, structures, y, cv=OUTER, return_estimator=True, error_score="raise"
    )
    return result["estimator"][0][-1]


def everything(model) -> dict:
    """All that a fitted model holds: weights, buffers, losses, elements, uncertainty."""
    rows = [{k: v for k, v in row.items() if k != "dur"} for row in model.history_]
    kept = {name: getattr(model, name, None) for name in ("elements_", "data_", "uncertainty_")}
    return {"state": model.net_.module_.state_dict(), "history": rows, **kept}


def assert_same(one: dict, two: dict) -> None:
    for name, value in one["state"].items():
        assert torch.equal(value, two["state"][name]), name
    assert {**one, "state": 0} == {**two, "state": 0}


@pytest.mark.parametrize("name", SUPERVISED)
def test_poisoned_structures_and_labels_of_the_test_fold(name, frames):
    structures, _, poisoned = frames
    model = SUPERVISED[name]
    y = np.array([s.volume / len(s) for s in structures])
    poisoned_y = np.concatenate([y[: N // 2], 1e6 + np.arange(N // 2)])
    if isinstance(model, PropertyClassifier):
        y, poisoned_y = y > np.median(y), np.repeat([False, True], N // 2)
        poisoned_y[: N // 2] = y[: N // 2]
    clean = fitted_on_the_first_half(model, structures, y)
    other = fitted_on_the_first_half(model, poisoned, poisoned_y)
    assert_same(everything(clean), everything(other))


def test_poisoned_frames_of_the_test_fold(frames):
    structures, labels, poisoned = frames
    half = labels[: N // 2]
    counts = np.array([len(s) for s in poisoned])
    extra = int(counts[N // 2 :].sum())
    other_labels = FrameLabels(
        counts,
        energy=np.concatenate([half.energy, np.full(N // 2, 1e4)]),
        forces=np.concatenate([half.forces, np.full((extra, 3), 1e3)]),
        stress=np.concatenate([half.stress, np.full((N // 2, 3, 3), 1e2)]),
    )
    model = Pretrainer(CGCNN(8, 1), ForceField(), validation_fraction=0.3, patience=1, **SMALL)
    clean = fitted_on_the_first_half(model, structures, labels)
    other = fitted_on_the_first_half(model, poisoned, other_labels)
    assert_same(everything(clean), everything(other))


def test_poison_in_the_training_fold_is_seen(frames):
    # So that the tests above can fail.
    structures, _, _ = frames
    y = np.array([s.volume / len(s) for s in structures])
    clean = fitted_on_the_first_half(REGRESSOR, structures, y)
    other = fitted_on_the_first_half(REGRESSOR, structures, np.where(np.arange(N) == 3, 1e3, y))
    with pytest.raises(AssertionError):
        assert_same(everything(clean), everything(other))


def test_pretraining_within_folds_is_done_once_for_equal_folds(frames, tmp_path):
    structures, _, _ = frames
    y = np.array([s.volume / len(s) for s in structures])
    cached = clone(FINGERPRINTS).set_params(checkpoint_dir=str(tmp_path), resume=True)
    model = PropertyRegressor(pretraining=cached, **SMALL)
    folds = KFold(2)
    settings = {"cv": folds, "scoring": "neg_mean_absolute_error", "return_estimator": True}
    first = cross_validate(model, structures, y, **settings)
    states = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(states) == 2, "one pre-training a fold"
    again = cross_validate(clone(model).set_params(learning_rate=0.01), structures, y, **settings)
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == states
    alone = cross_validate(
        PropertyRegressor(pretraining=FINGERPRINTS, learning_rate=0.01, **SMALL),
        structures,
        y,
        **settings,
    )
    np.testing.assert_array_equal(again["test_score"], alone["test_score"])
    assert not np.array_equal(first["test_score"], again["test_score"])
