"""What scikit-learn asks of an estimator, on structures in place of tables.

The public suite (gnnpre.testing) on each estimator of the package, and what it cannot know: weights
and histories to the bit, random states of every kind, every backbone with every objective. The
tools of scikit-learn that stand on top are in meta_estimators.
"""

import pickle
import re
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from cases import BACKBONES, OBJECTIVES, make_labels
from gnnpre import (
    CGCNN,
    EAD,
    GMP,
    WACSF,
    Denoising,
    ForceField,
    Pretrainer,
    PropertyClassifier,
    PropertyEnsemble,
    PropertyRegressor,
    StructureToGraph,
)
from gnnpre.datasets import make_emt_frames
from gnnpre.testing import parametrize_with_structure_checks

# Folds this small leave elements out of the training.
pytestmark = pytest.mark.filterwarnings("ignore:X holds elements:UserWarning")

SMALL = {"max_epochs": 2, "batch_size": 8, "random_state": 0}
ONE_EPOCH = {**SMALL, "max_epochs": 1}
ESTIMATORS = {
    "Pretrainer": Pretrainer(CGCNN(8, 1), ForceField(), **SMALL),
    "PropertyRegressor": PropertyRegressor(CGCNN(8, 1), **SMALL),
    "StructureToGraph": StructureToGraph(cutoff=4.0),
}
TRAINED = [name for name in ESTIMATORS if name != "StructureToGraph"]


@parametrize_with_structure_checks(
    {
        "graphs": StructureToGraph(cutoff=4.0),
        "EAD of atoms": EAD(4.0),
        "WACSF pooled": WACSF(4.0, pooling="cumulants"),
        "GMP pooled": GMP((0.5,), (0, 1), pooling="mean"),
        "Pretrainer on labels": Pretrainer(CGCNN(8, 1), ForceField(), **ONE_EPOCH),
        "Pretrainer without labels": Pretrainer(CGCNN(8, 1), Denoising(), **ONE_EPOCH),
        "PropertyRegressor": PropertyRegressor(CGCNN(8, 1), **ONE_EPOCH),
        "PropertyRegressor that pre-trains": PropertyRegressor(
            pretraining=Pretrainer(CGCNN(8, 1), Denoising(), **ONE_EPOCH),
            kernel_features=("composition",),
            **ONE_EPOCH,
        ),
        "PropertyClassifier": PropertyClassifier(CGCNN(8, 1), **ONE_EPOCH),
        "PropertyRegressor with a kernel machine": PropertyRegressor(
            pretraining=Pretrainer(CGCNN(8, 2), Denoising(), **ONE_EPOCH),
            strategy="kernel",
            kernel_features=("composition",),
            random_state=0,
        ),
        "PropertyEnsemble": PropertyEnsemble(
            members=[("network", PropertyRegressor(CGCNN(8, 1), max_epochs=1))],
            cv=2,
            random_state=0,
        ),
        "PropertyClassifier with a kernel machine": PropertyClassifier(
            pretraining=Pretrainer(CGCNN(8, 2), Denoising(), **ONE_EPOCH),
            strategy="kernel",
            kernel_features=("composition",),
            random_state=0,
        ),
        "graphs and a network": make_pipeline(
            StructureToGraph(cutoff=4.0), PropertyRegressor(CGCNN(8, 1), **ONE_EPOCH)
        ),
        "fingerprints and Ridge": make_pipeline(EAD(pooling="mean"), StandardScaler(), Ridge()),
        "fingerprints and a classifier": make_pipeline(
            EAD(pooling="mean"), StandardScaler(), LogisticRegression()
        ),
    }
)
def test_contract(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    """Structures of equal size, which NumPy would make a table of, with labels and a property."""
    structures, labels = make_emt_frames(60, max_atoms=4, random_state=0)
    chosen = [index for index, structure in enumerate(structures) if len(structure) == 4][:20]
    structures, labels = [structures[index] for index in chosen], labels[chosen]
    assert len(structures) == 20
    y = np.array([structure.volume for structure in structures])
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    groups = np.repeat(np.arange(10), 2)
    return SimpleNamespace(structures=structures, graphs=graphs, labels=labels, y=y, groups=groups)


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return clone(ESTIMATORS[request.param])


@pytest.fixture(params=TRAINED)
def trained(request):
    """An estimator, not fitted, that trains a network."""
    return clone(ESTIMATORS[request.param])


def target(estimator, data):
    return data.labels if isinstance(estimator, Pretrainer) else data.y


def fit(estimator, data, n=None):
    """Fit to structures, with the y that the estimator takes."""
    return estimator.fit(data.structures[:n], target(estimator, data)[:n])


def state(estimator):
    """Weights, as bytes that can be compared."""
    weights = estimator.net_.module_.state_dict()
    return {name: value.numpy().tobytes() for name, value in weights.items()}


def output(estimator, data):
    """Everything that an estimator gives, as arrays."""
    if isinstance(estimator, StructureToGraph):
        graphs = estimator.transform(data.structures)
        return [graphs.edge_index.numpy(), graphs.edge_shift.numpy(), graphs.positions.numpy()]
    predicted = estimator.predict(data.structures)
    if isinstance(estimator, PropertyRegressor):
        return [predicted]
    embedding = estimator.transform(data.structures)
    return [predicted.energy, predicted.forces, predicted.stress, embedding]


# Beyond the suite


def test_tags(estimator):
    tags = get_tags(estimator)
    assert not tags.input_tags.two_d_array
    assert is_regressor(estimator) == isinstance(estimator, PropertyRegressor)
    assert tags.target_tags.required == (not isinstance(estimator, StructureToGraph))
    assert tags.requires_fit == (not isinstance(estimator, StructureToGraph))
    assert not tags.non_deterministic


def test_fitted_attributes_end_in_an_underscore(trained, data):
    before = set(vars(trained))
    added = set(vars(fit(trained, data))) - before
    assert added
    assert all(name.endswith("_") and not name.startswith("_") for name in added)


def test_predicting_changes_no_attribute(trained, data):
    keys = set(vars(fit(trained, data)))
    weights = state(trained)
    output(trained, data)
    trained.score(data.structures, target(trained, data))
    assert set(vars(trained)) == keys
    assert state(trained) == weights


def test_same_seed_same_result(trained, data):
    first, same = (fit(clone(trained), data) for _ in range(2))
    other = fit(clone(trained).set_params(random_state=1), data)
    assert state(first) == state(same)
    assert losses(first) == losses(same)
    assert state(first) != state(other)


def losses(estimator):
    return [{key: row[key] for key in row if key != "dur"} for row in estimator.history_]


def test_the_state_of_a_random_state_instance_decides(trained, data):
    def fit_with(generator):
        return state(fit(clone(trained).set_params(random_state=generator), data))

    assert fit_with(np.random.RandomState(5)) == fit_with(np.random.RandomState(5))
    assert fit_with(np.random.RandomState(5)) != fit_with(np.random.RandomState(6))


def test_random_state_none_differs_from_fit_to_fit(trained, data):
    trained.set_params(random_state=None)
    assert state(fit(trained, data)) != state(fit(clone(trained), data))


def test_a_refit_equals_a_fit(trained, data):
    fresh = fit(clone(trained), data)
    fit(trained, data, n=12)
    assert state(fit(trained, data)) == state(fresh)
    assert state(fit(trained, data)) == state(fresh)
    assert losses(trained) == losses(fresh)


def test_input_stays_as_it_was(estimator, data):
    labels = target(estimator, data)
    inputs = (data.structures, data.graphs, labels, data.groups)
    before = [joblib.hash(value) for value in inputs]
    fit(estimator, data)
    output(estimator, data)
    if not isinstance(estimator, StructureToGraph):
        weight = np.linspace(1, 2, 20)
        estimator.fit(data.graphs, labels, groups=data.groups, sample_weight=weight)
        estimator.score(data.graphs, labels, sample_weight=weight)
        np.testing.assert_array_equal(weight, np.linspace(1, 2, 20))
    assert [joblib.hash(value) for value in inputs] == before


def test_read_only_input(trained, data, tmp_path):
    """joblib hands workers memory maps that they may not write to."""
    path = tmp_path / "data.joblib"
    joblib.dump((data.graphs, target(trained, data)), path)
    X, y = joblib.load(path, mmap_mode="r")
    if isinstance(y, np.ndarray):
        assert not y.flags.writeable
    mapped = clone(trained).fit(X, y)
    assert state(mapped) == state(trained.fit(data.graphs, target(trained, data)))


def test_a_clone_is_unfitted(trained, data, tmp_path):
    again = clone(fit(trained, data))
    assert not hasattr(again, "net_")
    assert not hasattr(again, "history_")
    for call in (
        lambda: again.predict(data.structures),
        lambda: again.score(data.structures, target(again, data)),
        lambda: again.save(tmp_path / "model.gnnpre"),
        lambda: again.transform(data.structures) if hasattr(again, "transform") else again._model(),
    ):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            call()
    assert not (tmp_path / "model.gnnpre").exists()
    # The clone's weights are its own.
    before = state(trained)
    fit(again.set_params(learning_rate=0.1), data)
    assert state(trained) == before


def test_repr_shows_what_is_not_default():
    model = PropertyRegressor(CGCNN(32), learning_rate=0.1)
    assert re.sub(r"\s+", " ", repr(model)) == (
        "PropertyRegressor(backbone=CGCNN(hidden_channels=32), learning_rate=0.1)"
    )


# Every backbone and objective


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones_and_objectives_keep_the_contract(data, tmp_path, backbone, objective):
    y = make_labels(OBJECTIVES[objective], data.graphs)
    model = Pretrainer(BACKBONES[backbone], OBJECTIVES[objective], **SMALL)
    model.set_params(max_epochs=1).fit(data.graphs, y)
    scores = [model.score(data.graphs, y)]
    scores.append(clone(model).fit(data.graphs, y).score(data.graphs, y))
    scores.append(pickle.loads(pickle.dumps(model)).score(data.graphs, y))
    model.save(tmp_path / "model.gnnpre")
    scores.append(Pretrainer.load(tmp_path / "model.gnnpre").score(data.graphs, y))
    assert np.isfinite(scores[0])
    assert len(set(scores)) == 1
    assert not hasattr(BACKBONES[backbone], "net_")
