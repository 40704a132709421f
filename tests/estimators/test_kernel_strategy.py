"""A frozen backbone with a kernel machine: features, uncertainty, units, files, refusals."""

import json
import warnings
import zipfile
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import PredefinedSplit
from skorch.callbacks import Callback

from gnnpre import (
    CGCNN,
    EAD,
    Composition,
    Denoising,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    load_estimator,
)
from gnnpre.datasets import make_emt_property
from gnnpre.estimators import KernelRegressor
from gnnpre.estimators._kernel_head import FeatureBlocks
from gnnpre.graphs import as_crystals


@pytest.fixture(scope="module")
def crystals():
    structures, y = make_emt_property(60, random_state=0, max_atoms=4)
    return structures, y


@pytest.fixture(scope="module")
def source(crystals):
    pretrainer = Pretrainer(CGCNN(8, 3), Denoising(), max_epochs=1, random_state=0)
    return FrozenEstimator(pretrainer.fit(crystals[0]))


@pytest.fixture
def regressor(source):
    return PropertyRegressor(pretrained=source, strategy="kernel", random_state=0)


@pytest.fixture(scope="module")
def fitted(source, crystals):
    """Not to be changed by a test."""
    regressor = PropertyRegressor(pretrained=source, strategy="kernel", random_state=0)
    return regressor.fit(crystals[0][:40], crystals[1][:40])


def test_it_is_a_kernel_machine_on_the_layers_and_the_composition(crystals, source, regressor):
    X, y = crystals
    regressor.set_params(kernel_features=["composition"]).fit(X[:40], y[:40])
    blocks = [source.estimator.embed(X, layer=n, pooling="cumulants") for n in (2, -1)]
    blocks.append(Composition().fit_transform(X))
    table = np.hstack(blocks).astype(float)
    machine = KernelRegressor(blocks=[b.shape[1] for b in blocks], resolution=1e-5, random_state=0)
    machine.fit(table[:40], y[:40])
    np.testing.assert_allclose(regressor.predict(X), machine.predict(table), rtol=1e-4)


def test_the_backbone_stays_and_still_embeds(crystals, source, fitted):
    before = source.estimator.net_.module_.backbone.state_dict()
    after = fitted.net_.module_.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    X = crystals[0][:3]
    np.testing.assert_array_equal(fitted.transform(X), source.estimator.transform(X))
    assert fitted.history_ == []
    assert {name.split(".")[0] for name in fitted.transferred_} == {"backbone"}
    # The readout, which the machine replaces, predicts the mean.
    weights = fitted.net_.module_.named_parameters()
    assert not any(value.any() for name, value in weights if name.startswith("head."))


def test_it_beats_the_mean_and_knows_how_sure_it_is(crystals, fitted):
    X, y = crystals[0][40:], crystals[1][40:]
    predicted, std = fitted.predict(X, return_std=True)
    assert np.abs(predicted - y).mean() < 0.5 * np.abs(y - y.mean()).mean()
    assert (std > 0).all()
    assert fitted.distance(X).shape == (20,)
    with pytest.raises(ValueError, match="needs at least 99 crystals"):
        fitted.predict_interval(X, 0.99)  # 40 crystals are too few


def test_intervals_cover(crystals, regressor):
    covered = []
    for seed in range(5):  # of twenty crystals alone, twelve may be covered
        order = np.random.default_rng(seed).permutation(60)
        X, y = [crystals[0][row] for row in order], crystals[1][order]
        lower, upper = regressor.fit(X[:40], y[:40]).predict_interval(X[40:], 0.9)
        covered.append((lower <= y[40:]) & (y[40:] <= upper))
    assert np.mean(covered) > 0.7


def test_intervals_leave_groups_out_together(crystals, regressor):
    groups = np.tile(np.arange(20), 2)
    alone, together = [], []
    for start in (0, 20, 40):
        rows = slice(start, start + 20)
        X, y = crystals[0][rows] * 2, np.tile(crystals[1][rows], 2)  # each crystal has a twin
        alone.append(np.subtract(*regressor.fit(X, y).predict_interval(X)))
        together.append(np.subtract(*regressor.fit(X, y, groups=groups).predict_interval(X)))
    assert np.mean(together) < 2 * np.mean(alone) < 0  # lower minus upper ends


def test_calibration_crystals_are_not_trained_on(crystals, regressor):
    X, y = crystals
    regressor.set_params(calibration_fraction=0.25).fit(X, y)
    process = regressor.kernel_.machine.processes_[0].process
    assert len(process.z) == 45
    assert len(regressor.uncertainty_["calibration"]["scores"][0]) == 15


def test_a_sum_is_learnt_per_atom(crystals, regressor):
    X, y = crystals
    total = y * [len(structure) for structure in X]
    model = regressor.set_params(pooling="sum").fit(X, total)
    doubled = [structure.make_supercell([2, 1, 1], in_place=False) for structure in X[:5]]
    single, std = model.predict(X[:5], return_std=True)
    twice, twice_std = model.predict(doubled, return_std=True)
    np.testing.assert_allclose(twice, 2 * single, rtol=1e-3)
    np.testing.assert_allclose(twice_std, 2 * std, rtol=1e-2)


def test_several_columns_with_gaps_bounds_and_names(crystals, regressor):
    pandas = pytest.importorskip("pandas")
    X, y = crystals
    frame = pandas.DataFrame({"K": y, "gap": np.where(np.arange(60) % 3 == 0, np.nan, 0.01 * y)})
    model = regressor.set_params(bounds=(0.5, 120.0)).fit(X, frame.clip(0.5, 120.0))
    predicted = model.predict(X)
    assert list(predicted.columns) == ["K", "gap"]
    assert predicted.to_numpy().min() >= 0.5
    assert predicted.to_numpy().max() <= 120.0
    lower, upper = model.predict_interval(X, 0.8)
    assert (lower <= upper).to_numpy().all()


@pytest.mark.parametrize("name", ["model.gnnpre", "model"])
def test_files(crystals, fitted, tmp_path, name):
    X = crystals[0]
    fitted.save(tmp_path / name)
    loaded = load_estimator(tmp_path / name)
    pairs = zip(loaded.predict(X, return_std=True), fitted.predict(X, return_std=True), strict=True)
    for again, first in pairs:
        np.testing.assert_allclose(again, first, rtol=1e-12)
    np.testing.assert_allclose(loaded.predict_interval(X), fitted.predict_interval(X))
    # A model of which another one can start:
    PropertyRegressor(pretrained=str(tmp_path / name), max_epochs=1).fit(X[:20], crystals[1][:20])


def test_features_that_cannot_be_written(crystals, regressor, tmp_path):
    class Sizes(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return np.asarray(as_crystals(X).n_atoms)[:, None]

    X, y = crystals
    model = regressor.set_params(kernel_features=[Sizes(), "composition"]).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    with pytest.raises(TypeError, match="'Sizes' cannot be written"):
        model.save(tmp_path / "model.gnnpre")


class Counts(TransformerMixin, BaseEstimator):
    """Numbers of atoms minus their mean, of crystals that ``fit`` has seen; counts those."""

    fitted_to: ClassVar[list[int]] = []
    missing = False

    def fit(self, X, y=None):
        sizes = np.asarray(as_crystals(X).n_atoms)
        self.mean_ = sizes.mean()
        Counts.fitted_to.append(len(sizes))
        return self

    def transform(self, X):
        sizes = np.asarray(as_crystals(X).n_atoms)[:, None] - self.mean_
        if self.missing:
            sizes[2] = np.nan
        return sizes


def test_features_are_fitted_to_training_crystals_alone(crystals, source, regressor):
    X, y = crystals
    Counts.fitted_to.clear()
    features = {"kernel_features": [Counts()]}
    regressor.set_params(calibration_fraction=0.25, **features).fit(X, y)
    weights = np.where(np.arange(60) < 40, 1.0, 0.0)
    regressor.set_params(calibration_fraction=0.0).fit(X, y, sample_weight=weights)
    classifier = PropertyClassifier(
        pretrained=source, strategy="kernel", random_state=0, **features
    )
    classifier.fit(X, y > np.median(y), sample_weight=weights)
    assert Counts.fitted_to == [45, 40, 40]


def test_missing_features_name_block_and_crystal(crystals, regressor, monkeypatch):
    monkeypatch.setattr(Counts, "missing", True)
    with pytest.raises(ValueError, match=r"'Counts' of 1 of 60 crystals are not finite.*crystal 2"):
        regressor.set_params(kernel_features=[Counts()]).fit(*crystals)


def test_two_features_of_one_class(crystals, regressor):
    X, y = crystals
    model = regressor.set_params(
        kernel_features=[EAD(3.0, pooling="mean"), EAD(4.0, pooling="sum")]
    )
    assert list(model.fit(X, y).kernel_.features.transformers) == ["EAD", "EAD_2"]


def test_rows_may_repeat_and_be_in_any_order(crystals):
    structures = as_crystals(crystals[0][:3])
    blocks = FeatureBlocks({"counts": Counts().fit(structures)})
    network = SimpleNamespace(device="cpu", blocks=lambda crystals, rows: [])
    (table,) = blocks.compute(network, structures)
    for rows in ([2, 0, 1], [1, 1, 0]):
        (chosen,) = blocks.compute(network, structures, np.array(rows))
        np.testing.assert_array_equal(chosen, table[rows])


def test_groups_reach_the_classifier(crystals, source):
    X, y = crystals
    copies, labels = X[:20] * 3, np.tile(y[:20] > np.median(y[:20]), 3)
    model = PropertyClassifier(pretrained=source, strategy="kernel", random_state=0)
    alone = clone(model).fit(copies, labels).predict_proba(X[20:])
    together = model.fit(copies, labels, groups=np.tile(np.arange(20), 3)).predict_proba(X[20:])
    assert np.abs(alone - together).max() > 0.01


def test_a_training_that_is_constant_has_no_narrow_intervals(crystals, regressor, tmp_path):
    X, _ = crystals
    y = np.where(np.arange(60) < 40, 0.0, np.where(np.arange(60) % 2, 3.0, 0.0))
    fold = PredefinedSplit(np.where(np.arange(60) < 40, -1, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model = regressor.set_params(calibration_fraction=fold).fit(X, y)
        lower, upper = model.predict_interval(X)
    assert (lower < -3).all()
    assert (upper > 3).all()
    model.save(tmp_path / "model.gnnpre")
    again = load_estimator(tmp_path / "model.gnnpre").predict_interval(X)
    np.testing.assert_array_equal(again, (lower, upper))


def damage(config):
    """Yield configs of which something is wrong."""
    kernel = config["extra"]["kernel_"]
    machine = kernel["machine"]
    yield {**kernel, "features": [["a", {"class": "Unknown", "params": {}}]]}
    yield {**kernel, "machine": {**machine, "n_features": "many"}}
    yield {**kernel, "machine": {**machine, "processes": [{}]}}
    for lengths in ([1.0], [float("nan")] * 4, ["x"] * 4, [-1.0] * 4):
        process = machine["processes"][0]
        changed = {**process, "kernel": {**process["kernel"], "lengths": lengths}}
        yield {**kernel, "machine": {**machine, "processes": [changed]}}
    yield {key: value for key, value in kernel.items() if key != "machine"}
    yield []


def test_damaged_files_are_refused(fitted, tmp_path):
    path = tmp_path / "model.gnnpre"
    fitted.save(path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    for kernel in damage(config):
        changed = {**config, "extra": {**config["extra"], "kernel_": kernel}}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights.safetensors", files["weights.safetensors"])
            archive.writestr("config.json", json.dumps(changed))
        with pytest.raises(ValueError, match=r"model\.gnnpre"):
            load_estimator(path)


def test_classes(crystals, source, tmp_path):
    X, y = crystals
    labels = np.array(["soft", "medium", "hard"])[np.digitize(y, np.quantile(y, [0.3, 0.7]))]
    model = PropertyClassifier(
        pretrained=source, strategy="kernel", random_state=0, class_weight={"hard": 2.0}
    )
    model.fit(X[:45], labels[:45])
    assert model.score(X, labels) > 0.7
    model.save(tmp_path / "model.gnnpre")
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    again = load_estimator(tmp_path / "model.gnnpre")
    np.testing.assert_allclose(again.predict_proba(X), probabilities, rtol=1e-10)
    # A class without any weight has no probability.
    unseen = clone(model).fit(X, labels, sample_weight=(labels != "medium").astype(float))
    column = list(unseen.classes_).index("medium")
    assert not unseen.predict_proba(X)[:, column].any()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel_features": "composition"}, "kernel_features="),
        ({"kernel_features": ["structure"]}, "kernel_features has 'structure'"),
        ({"kernel_features": [3]}, "type int"),
        ({"kernel_features": [EAD]}, r"the class EAD; expected an instance, such as EAD\(\)"),
        ({"kernel_features": ["composition", "composition"]}, "twice"),
        ({"kernel_features": [EAD()]}, "expected a table"),
        ({"callbacks": [Callback()]}, "callbacks is set"),
        ({"target": "atom"}, "target"),
        ({"pooling": "max"}, "pooling='max' has no effect"),
        ({"pretrained": None}, "strategy='kernel'"),
    ],
)
def test_refusals(crystals, regressor, parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        regressor.set_params(**parameters).fit(*crystals)
