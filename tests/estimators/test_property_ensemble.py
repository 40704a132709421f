"""Ensembles: weights, folds, groups, intervals, seeds."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

from gnnpre import (
    CGCNN,
    EAD,
    Composition,
    FingerprintTargets,
    Pretrainer,
    PropertyEnsemble,
    PropertyRegressor,
    StructureToGraph,
    load_estimator,
)
from gnnpre.datasets import make_emt_property
from gnnpre.estimators import KernelRegressor
from gnnpre.estimators._blending import blend_weights
from gnnpre.estimators._crystal_kernel import CrystalKernel
from gnnpre.estimators._ensemble_files import pack_models
from gnnpre.estimators._ensemble_members import fit_parameter, network_of
from gnnpre.exceptions import DataQualityWarning, TrainingWarning
from gnnpre.graphs import as_crystals


class Atoms(RegressorMixin, BaseEstimator):
    """Predict from a line through the mean atomic number; of no use with ``useless``."""

    def __init__(self, useless=False):
        self.useless = useless

    def _feature(self, X):
        crystals = as_crystals(X)
        sums = np.add.reduceat(crystals.atomic_numbers, crystals.offsets[:-1])
        return sums / crystals.n_atoms

    def fit(self, X, y, groups=None, sample_weight=None):
        self.groups_, self.weights_ = groups, sample_weight
        self.line_ = np.polyfit(self._feature(X), y, 1, w=sample_weight)
        return self

    def predict(self, X):
        line = np.polyval(self.line_, self._feature(X))
        return np.sin(1e3 * line) if self.useless else line


@pytest.fixture(scope="module")
def data():
    structures, _ = make_emt_property(60, random_state=0, max_atoms=4)
    feature = Atoms()._feature(structures)
    return structures, 3 * feature + np.random.default_rng(0).standard_normal(60)


def two_members():
    return [("good", Atoms()), ("bad", Atoms(useless=True))]


def test_weights_are_those_of_a_fine_grid():
    random = np.random.default_rng(0)
    y = random.standard_normal(200)
    predictions = np.stack(
        [y + random.standard_normal(200), y - 0.5 + 0.5 * random.standard_normal(200)], 1
    )
    weights = blend_weights(predictions, y, np.ones(200))
    grid = np.linspace(0, 1, 2001)
    errors = [np.abs(predictions @ [a, 1 - a] - y).mean() for a in grid]
    assert weights[0] == pytest.approx(grid[np.argmin(errors)], abs=2e-3)
    assert weights.sum() == pytest.approx(1)
    scaled = blend_weights(1e-21 * predictions, 1e-21 * y, np.ones(200))
    np.testing.assert_allclose(scaled, weights, atol=1e-6)


def test_a_useless_member_gets_no_weight(data):
    ensemble = PropertyEnsemble(members=two_members(), cv=3, random_state=0).fit(*data)
    assert ensemble.weights_["good"] > 0.95
    assert ensemble.errors_["blend"] <= ensemble.errors_["good"] + 1e-9
    assert len(ensemble.members_["bad"]) == 3


def test_predictions_blend_the_means_of_the_folds(data):
    X, y = data
    ensemble = PropertyEnsemble(members=two_members(), cv=3, random_state=0).fit(X, y)
    expected = sum(
        ensemble.weights_[name] * np.mean([model.predict(X) for model in models], axis=0)
        for name, models in ensemble.members_.items()
    )
    np.testing.assert_allclose(ensemble.predict(X), expected)


def test_out_of_fold_errors_are_those_of_unseen_crystals(data):
    X, y = data
    ensemble = PropertyEnsemble(members=[("good", Atoms())], cv=4, random_state=0).fit(X, y)
    scores = cross_val_score(Atoms(), X, y, cv=4, scoring="neg_mean_absolute_error")
    assert ensemble.errors_["good"] == pytest.approx(-scores.mean(), rel=0.1)


def test_intervals_cover_as_promised(data):
    X, y = data
    ensemble = PropertyEnsemble(members=two_members(), cv=5, random_state=0).fit(X[:40], y[:40])
    lower, upper = ensemble.predict_interval(X[40:], 0.9)
    covered = ((lower <= y[40:]) & (y[40:] <= upper)).mean()
    assert covered >= 0.7  # 20 crystals, two standard deviations
    narrow, wide = (np.subtract(*ensemble.predict_interval(X, c)[::-1]) for c in (0.5, 0.9))
    assert (narrow < wide).all()
    _, std = ensemble.predict(X, return_std=True)
    assert (std > 0).all()
    with pytest.raises(ValueError, match="confidence=1"):
        ensemble.predict_interval(X, 1)


@pytest.mark.parametrize("unit", [1e-21, 1e12])
def test_intervals_have_the_unit_of_the_property(data, unit):
    # Half of the residuals vanish, so that their median is not a scale.
    X, _ = data
    y = np.where(np.arange(60) % 9 == 0, 1.0, 0.0)
    member = [("median", DummyRegressor(strategy="median"))]
    one, other = (
        PropertyEnsemble(members=member, cv=3, random_state=0).fit(X, scale * y)
        for scale in (1.0, unit)
    )
    widths = [np.subtract(*model.predict_interval(X, 0.95)[::-1]) for model in (one, other)]
    assert (widths[0] > 0).all()
    np.testing.assert_allclose(widths[1] / unit, widths[0], rtol=1e-9)
    # Beside the disagreement of members, which there is none of here, the constant decides.
    assert other.uncertainty_["floor"] == pytest.approx(unit * one.uncertainty_["floor"])


def test_groups_and_weights_reach_the_members(data):
    X, y = data
    groups, weights = np.arange(60) // 6, np.linspace(1, 2, 60)
    ensemble = PropertyEnsemble(members=two_members(), cv=2, random_state=0)
    ensemble.fit(X, y, groups=groups, sample_weight=weights)
    first, second = ensemble.members_["good"]
    assert set(first.groups_) | set(second.groups_) == set(range(10))
    assert not set(first.groups_) & set(second.groups_)
    assert len(first.weights_) == len(first.groups_)


def test_groups_reach_the_kernel_machine_without_a_network(data):
    # Copies of crystals: left out one by one, a machine seems to know all of them by heart.
    structures, rows = data[0][:10], np.tile(np.arange(10), 4)
    y = data[1][rows] + np.random.default_rng(1).standard_normal(40)
    one = CrystalKernel(["composition"], random_state=0)
    alone, grouped = one, clone(one).fit([structures[row] for row in rows], y, groups=rows)
    alone.fit([structures[row] for row in rows], y)
    table = np.hstack(grouped.features_.compute(None, [structures[row] for row in rows]))
    expected = KernelRegressor(blocks=[table.shape[1]], resolution=1e-5, random_state=0)
    expected.fit(table, y, groups=rows)
    np.testing.assert_array_equal(grouped.predict(structures), expected.predict(table[:10]))
    assert not np.allclose(grouped.predict(structures), alone.predict(structures), rtol=1e-3)
    assert fit_parameter(one, "groups") == "groups"


def test_an_outlying_label_is_named_once_by_its_row(data):
    X, y = data
    spoilt = pd.Series(y, index=np.arange(100, 160)).copy()
    spoilt[157] = -99999.0
    members = [("network", PropertyRegressor(CGCNN(8, 1), max_epochs=1))]
    ensemble = PropertyEnsemble(members=members, cv=2, random_state=0)
    with pytest.warns(DataQualityWarning, match=r"y is -99999 at row 57 \(index 157\)") as caught:
        ensemble.fit(X, spoilt)
    assert sum("-99999" in str(warning.message) for warning in caught) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "y is", DataQualityWarning)
        clone(ensemble).fit(X, spoilt, sample_weight=np.where(spoilt < -1e4, 0.0, 1.0))


def test_parameters_of_members_are_reached_by_name(data):
    structures, y = data
    members = [("line", Atoms()), ("network", PropertyRegressor(CGCNN(8, 1), max_epochs=1))]
    ensemble = PropertyEnsemble(members=members, cv=2, random_state=0)
    assert ensemble.get_params()["network__backbone__hidden_channels"] == 8
    assert "network" not in ensemble.get_params(deep=False)
    assert not any("__" in name for name in PropertyEnsemble().get_params())
    changed = clone(ensemble).set_params(network__max_epochs=2, line=Atoms(useless=True))
    changed.fit(structures, y)
    assert len(changed.members_["network"][0].history_) == 2
    assert changed.members_["line"][0].useless
    assert members[1][1].max_epochs == 1
    with pytest.raises(ValueError, match="no_such"):
        ensemble.set_params(network__no_such=1)
    ensemble.set_params(members=members[:1])
    search = GridSearchCV(ensemble, {"line__useless": [False, True]}, cv=2).fit(structures, y)
    assert len(set(search.cv_results_["mean_test_score"])) == 2


def test_parameters_of_malformed_members_are_no_error():
    for members in (None, 5, [Atoms()], [("a", Atoms(), 1)]):
        ensemble = PropertyEnsemble(members=members)
        assert ensemble.get_params() == ensemble.get_params(deep=False)


def test_the_seed_decides(data):
    structures, y = data[0][:16], data[1][:16]
    members = [("network", PropertyRegressor(CGCNN(8, 1), max_epochs=1))]
    ensemble = PropertyEnsemble(members=members, cv=2, random_state=3)
    first = ensemble.fit(structures, y).predict(structures)
    again = clone(ensemble).fit(structures, y).predict(structures)
    np.testing.assert_array_equal(first, again)
    other = clone(ensemble).set_params(random_state=4).fit(structures, y).predict(structures)
    assert not np.array_equal(first, other)
    assert members[0][1].random_state is None


def test_default_members_with_and_without_a_pretrained_model(data, tmp_path):
    structures, y = data[0][:24], data[1][:24]
    plain = PropertyEnsemble(max_epochs=1, cv=2, random_state=0).fit(structures, y)
    assert set(plain.members_) == {"network", "fingerprint"}
    path = tmp_path / "ead.gnnpre"
    pretrainer = Pretrainer(CGCNN(8, 1), FingerprintTargets(EAD()), max_epochs=1, random_state=0)
    pretrainer.fit(structures).save(path)
    ensemble = PropertyEnsemble(str(path), max_epochs=1, cv=2, random_state=0).fit(structures, y)
    assert set(ensemble.members_) == {"network", "embedding", "fingerprint"}
    assert np.isfinite(ensemble.predict(structures)).all()


@pytest.mark.parametrize("name", ["ensemble.gnnpre", "ensemble"])
def test_files(data, tmp_path, name):
    structures, y = data[0][:24], data[1][:24]
    pretrainer = Pretrainer(CGCNN(8, 1), FingerprintTargets(EAD()), max_epochs=1, random_state=0)
    pretrainer.fit(structures).save(tmp_path / "ead.gnnpre")
    ensemble = PropertyEnsemble(
        str(tmp_path / "ead.gnnpre"), max_epochs=1, cv=2, random_state=0, bounds=(0, None)
    )
    ensemble.fit(structures, y).save(tmp_path / name)
    loaded = load_estimator(tmp_path / name)
    assert loaded.weights_ == ensemble.weights_
    assert loaded.errors_ == ensemble.errors_
    pairs = zip(
        loaded.predict_interval(structures, 0.8),
        ensemble.predict_interval(structures, 0.8),
        strict=True,
    )
    for again, first in pairs:
        np.testing.assert_allclose(again, first, rtol=1e-6)
    with pytest.raises(ValueError, match="pretrained='"):  # a path of whoever saved the file
        loaded.fit(structures, y)


def test_a_backbone_that_folds_share_is_written_once(data, tmp_path):
    structures, y = data[0][:24], data[1][:24]
    pretrainer = Pretrainer(CGCNN(8, 1), FingerprintTargets(EAD()), max_epochs=1, random_state=0)
    source = FrozenEstimator(pretrainer.fit(structures))
    kernel = PropertyRegressor(pretrained=source, strategy="kernel")
    ensemble = PropertyEnsemble(members=[("kernel", kernel)], cv=2, random_state=0)
    tensors, configs = pack_models(ensemble.fit(structures, y).members_)
    first, second = (entry["tensors"] for entry in configs["kernel"])
    shared = {key for key in first if key.startswith("backbone.") and first[key] == second[key]}
    assert shared == {key for key in first if key.startswith("backbone.")}
    assert len(tensors) < len(first) + len(second) - len(shared) + 1


def test_members_that_cannot_be_written(data, tmp_path):
    ensemble = PropertyEnsemble(members=two_members(), cv=3, random_state=0).fit(*data)
    with pytest.raises(TypeError, match="member 'good' is a Atoms"):
        ensemble.save(tmp_path / "ensemble.gnnpre")


def test_a_damaged_file_is_refused(data, tmp_path):
    member = [("network", PropertyRegressor(CGCNN(8, 1), max_epochs=1))]
    ensemble = PropertyEnsemble(members=member, cv=2, random_state=0)
    ensemble.fit(data[0][:16], data[1][:16]).save(tmp_path / "ensemble")
    config = json.loads((tmp_path / "ensemble" / "config.json").read_text())
    for key in ("members", "weights", "uncertainty", "errors"):
        for value in ({}, [], {"network": [{"config": {"kind": "Other"}, "tensors": {}}]}):
            changed = json.dumps({**config, key: value})
            (tmp_path / "ensemble" / "config.json").write_text(changed)
            if key != "errors" or value == []:
                with pytest.raises(ValueError, match="cannot be read"):
                    PropertyEnsemble.load(tmp_path / "ensemble")


def test_crystals_of_weight_zero_are_left_out(data):
    X, y = data
    weights = np.where(np.arange(60) < 40, 1.0, 0.0)
    ensemble = PropertyEnsemble(members=two_members(), cv=3, random_state=0)
    weighted = clone(ensemble).fit(X, y, sample_weight=weights).predict(X)
    np.testing.assert_allclose(weighted, ensemble.fit(X[:40], y[:40]).predict(X))


def test_a_time_limit_cuts_the_epochs_with_a_warning(data):
    structures, y = data[0][:16], data[1][:16]
    members = [("network", PropertyRegressor(CGCNN(8, 1), max_epochs=100_000))]
    ensemble = PropertyEnsemble(members=members, cv=2, max_time="1.2s", random_state=0)
    with pytest.warns(UserWarning, match="of 100000 epochs"):
        ensemble.fit(structures, y)
    assert len(ensemble.members_["network"][0].history_) < 1000


def test_equal_networks_get_equal_shares_of_the_time(data):
    structures, y = data[0][:16], data[1][:16]
    network = PropertyRegressor(CGCNN(8, 1), max_epochs=100_000)
    members = [
        ("plain", network),
        ("transformed", TransformedTargetRegressor(network)),
        ("pipeline", make_pipeline(StructureToGraph(4.0), clone(network))),
    ]
    ensemble = PropertyEnsemble(members=members, cv=2, max_time="3s", random_state=0)
    with pytest.warns(TrainingWarning, match="of 100000 epochs") as record:
        ensemble.fit(structures, y)
    assert len(record) >= 3
    epochs = [
        len(network_of(ensemble.members_[name][0]).history_)
        for name in ("plain", "transformed", "pipeline")
    ]
    assert max(epochs) < 8 * min(epochs)


def test_networks_keep_the_settings_of_graphs(data):
    structures, y = data[0][:16], data[1][:16]
    graphs = StructureToGraph(cutoff=3.5).fit_transform(structures)
    network = PropertyRegressor(CGCNN(8, 1), max_epochs=1)
    members = [
        ("network", network),
        ("rebuilt", make_pipeline(StructureToGraph(4.5), network)),
        ("search", GridSearchCV(network, {"batch_size": [8]}, cv=2)),
        ("vote", VotingRegressor([("a", network), ("b", make_pipeline(network))])),
        ("nested", PropertyEnsemble(members=[("a", network)], cv=2)),
        ("mixed", VotingRegressor([("a", network), ("b", Atoms())])),
        ("atoms", Atoms()),
    ]
    ensemble = PropertyEnsemble(members=members, cv=2, random_state=0).fit(graphs, y)
    first = {name: models[0] for name, models in ensemble.members_.items()}
    networks = {
        "network": first["network"],
        "search": first["search"].best_estimator_,
        "vote": first["vote"].estimators_[0],
        "nested": first["nested"].members_["a"][0],
        "rebuilt": first["rebuilt"][-1],
    }
    cutoffs = {name: model.graph_settings_.cutoff for name, model in networks.items()}
    assert cutoffs == {**dict.fromkeys(networks, 3.5), "rebuilt": 4.5}
    np.testing.assert_allclose(ensemble.predict(structures), ensemble.predict(graphs), rtol=1e-4)
    narrower = StructureToGraph(cutoff=3.0).fit_transform(structures)
    with pytest.raises(ValueError, match="cutoff"):
        PropertyEnsemble("gnnpre-1-small", cv=2, max_epochs=1).fit(narrower, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cv": 1}, "cv=1"),
        ({"max_time": 0}, "max_time=0"),
        ({"max_time": "soon"}, "max_time='soon'"),
        ({"verbose": "yes"}, "verbose='yes'"),
        ({"members": [("a", Atoms()), ("a", Atoms())]}, "different names"),
        ({"members": [("blend", Atoms())]}, "not 'blend'"),
        ({"members": [("device", Atoms())]}, "'device', which set_params would take"),
        ({"members": [("a__b", Atoms())]}, "without two underscores"),
        ({"members": [], "cv": 2}, "one or more"),
        ({"pretrained": "x.gnnpre", "members": [("a", Atoms())]}, "both given"),
        ({"members": [("a", Atoms())], "cv": 40}, "needs 80 at least"),
    ],
)
def test_bad_parameters(data, parameters, message):
    with pytest.raises(ValueError, match=message):
        PropertyEnsemble(**parameters).fit(*data)


def test_intervals_that_few_crystals_cannot_support_are_refused(data):
    X, y = data
    ensemble = PropertyEnsemble(members=two_members(), cv=2, random_state=0).fit(X[:20], y[:20])
    assert np.isfinite(ensemble.predict_interval(X[20:], 0.95)).all()
    with pytest.raises(ValueError, match=r"confidence=0.99 needs at least 99 crystals.*on 20"):
        ensemble.predict_interval(X[20:], 0.99)
    for confidence in ("high", None, 1, np.nan):
        with pytest.raises(ValueError, match="confidence="):
            ensemble.predict_interval(X, confidence)


def test_bad_labels(data):
    X, y = data
    gaps = np.where(np.arange(60) == 7, np.nan, y)
    with pytest.raises(ValueError, match="missing in 1 of 60 rows, the first of them 7"):
        PropertyEnsemble(members=two_members()).fit(X, gaps)
    with pytest.raises(TypeError, match="groups holds a dict at row 0"):
        PropertyEnsemble(members=two_members()).fit(X, y, groups=[{"a": 1}] * 60)
    with pytest.raises(ValueError, match="groups has 1 groups"):
        PropertyEnsemble(members=two_members()).fit(X, y, groups=np.zeros(60))
    weights = (np.arange(60) < 9).astype(float)
    with pytest.raises(ValueError, match=r"9 crystals of a weight; .* cv=5 needs 10 at least"):
        PropertyEnsemble(members=two_members()).fit(X, y, sample_weight=weights)


class TestBounds:
    @pytest.fixture
    def gaps(self, data):
        structures, y = data
        return structures, np.maximum(y - np.quantile(y, 0.7), 0.0)

    def test_predictions_and_intervals_are_clipped(self, gaps):
        structures, y = gaps
        free = PropertyEnsemble(members=[("good", Atoms())], cv=3, random_state=0).fit(
            structures, y
        )
        bounded = clone(free).set_params(bounds=(0, None)).fit(structures, y)
        predicted = free.predict(structures)
        assert predicted.min() < 0
        np.testing.assert_array_equal(bounded.predict(structures), np.maximum(predicted, 0))
        lower, upper = bounded.predict_interval(structures, 0.5)
        assert lower.min() == 0
        assert (upper >= bounded.predict(structures)).all()
        assert bounded.errors_["blend"] < free.errors_["blend"]

    def test_labels_out_of_bounds_are_refused(self, gaps):
        structures, y = gaps
        y = pd.Series(y - 0.5, index=[f"mp-{i}" for i in range(len(y))])
        ensemble = PropertyEnsemble(members=[("good", Atoms())], cv=3, bounds=(0, None))
        with pytest.raises(ValueError, match=r"y is -0.5 at rows .*mp-.*bounds=\(0, None\)"):
            ensemble.fit(structures, y)


@pytest.mark.parametrize(
    ("member", "name"),
    [
        (Ridge(), "sample_weight"),
        (make_pipeline(Composition(), Ridge()), "ridge__sample_weight"),
        (TransformedTargetRegressor(Ridge()), "sample_weight"),
        (
            make_pipeline(Composition(), TransformedTargetRegressor(Ridge())),
            "transformedtargetregressor__sample_weight",
        ),
        (GridSearchCV(make_pipeline(Composition(), Ridge()), {}), "ridge__sample_weight"),
        (make_pipeline(Composition(), KNeighborsRegressor()), None),
    ],
)
def test_weights_reach_estimators_within_others(member, name):
    assert fit_parameter(member, "sample_weight") == name


def test_member_that_takes_no_weights_is_named(data):
    X, y = data
    members = [("neighbours", make_pipeline(Composition(), KNeighborsRegressor(2)))]
    ensemble = PropertyEnsemble(members=members, cv=2, random_state=0)
    with pytest.warns(TrainingWarning, match=r"KNeighbors.* takes no sample_weight"):
        ensemble.fit(X, y, sample_weight=np.linspace(1, 2, len(y)))
