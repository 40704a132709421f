"""Models on tables of compositions and fingerprints."""

import numpy as np
import pytest
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline

from gnnpre import EAD, Composition
from gnnpre.datasets import read_matbench
from gnnpre.estimators import KernelRegressor
from gnnpre.study import BASELINES, Study, run_study
from gnnpre.study.run._support_vectors import SupportVectors
from study.small_studies import crystals, records_of, small_study, write_table


def test_all_baselines_run_and_beat_the_mean_where_composition_decides(tmp_path):
    structures = crystals(60)[0]
    y = np.array([structure.composition.weight for structure in structures])
    path = write_table(tmp_path / "alloys.json", 60, weight=y)
    empty = {"backbones": [], "strategies": [], "pretrainings": [], "baselines": BASELINES}
    assert run_study(small_study(path, **empty), tmp_path / "run").failed == {}
    errors = {r["strategy"]: r["metrics"]["mae"] for r in records_of(tmp_path / "run").values()}
    assert set(errors) == set(BASELINES) == set(Study(name="s", data=["jdft2d"]).baselines)
    assert errors["ridge_composition"] < 0.01 * errors["mean"]
    assert max(errors[name] for name in BASELINES[1:]) < 0.7 * errors["mean"]


@pytest.mark.parametrize(
    "name", ["svr", "kernel", "extra_trees", "forest_composition", "ridge_fingerprint"]
)
def test_the_unit_of_the_target_scales_predictions_and_nothing_else(tmp_path, name):
    y = crystals(40)[1] - 30.0
    empty = {"backbones": [], "strategies": [], "pretrainings": [], "baselines": [name]}
    predictions = []
    # 2e-19, a power of two: trees break ties by rounding.
    for number, scale in enumerate((1.0, 2.0**-62)):
        path = write_table(tmp_path / f"{number}.json", 40, K=y * scale)
        run_study(small_study(path, **empty), tmp_path / f"run{number}")
        (record,) = records_of(tmp_path / f"run{number}").values()
        predictions.append(np.array(record["predictions"]) / scale)
    np.testing.assert_allclose(predictions[1], predictions[0], rtol=1e-6)
    assert np.std(predictions[0]) > 0.1


def test_support_vectors_take_the_logarithm_where_it_helps():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(120, 6))
    skewed = np.exp(2.0 * table[:, 0])
    model = SupportVectors().fit(table[:90], skewed[:90])
    assert isinstance(model.chosen_["transformer"], Pipeline)
    error = np.abs(model.predict(table[90:]) - skewed[90:]).mean()
    assert error < 0.5 * np.abs(np.median(skewed[:90]) - skewed[90:]).mean()
    # Labels below zero have a logarithm, too.
    mirrored = SupportVectors().fit(table[:90], -skewed[:90])
    assert isinstance(mirrored.chosen_["transformer"], Pipeline)


def test_a_feature_that_is_constant_in_training_throws_no_test_row_far_off():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(60, 4))
    table[:, 3] = 0.5
    model = SupportVectors().fit(table, table[:, 0])
    changed = table.copy()
    changed[:, 3] = 0.7
    np.testing.assert_array_equal(model.predict(table), model.predict(changed))


def test_features_of_chgnet_ask_for_the_extra_before_anything_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr("gnnpre.study.plan._plan.find_spec", lambda name: None)
    path = write_table(tmp_path / "alloys.json")
    empty = {"backbones": [], "strategies": [], "pretrainings": [], "baselines": ["svr_chgnet"]}
    with pytest.raises(ImportError, match=r'pip install "gnnpre\[chgnet\]"'):
        run_study(small_study(path, **empty), tmp_path / "run")


def test_kernel_machines_beat_what_ridge_and_forests_reach_on_layers(data_dir):
    """One official fold of jdft2d: 27 meV/atom, where ridge and forests have 40 and more."""
    structures, y = read_matbench(data_dir / "downstream" / "jdft2d.json.gz")
    tables = [
        EAD(pooling="cumulants").fit_transform(structures),
        Composition().fit_transform(structures),
    ]
    table, blocks = np.hstack(tables), [block.shape[1] for block in tables]
    train, test = next(KFold(5, shuffle=True, random_state=18012019).split(table))
    y = y.to_numpy()
    model = KernelRegressor(blocks=blocks, random_state=0).fit(table[train], y[train])
    assert np.abs(model.predict(table[test]) - y[test]).mean() < 29.0
