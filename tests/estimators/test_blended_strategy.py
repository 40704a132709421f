"""A fine-tuned network and a kernel machine on the network it started from, averaged."""

import json
import pickle
import signal
import zipfile

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import PredefinedSplit
from skorch.callbacks import Callback

from gnnpre import (
    CGCNN,
    Denoising,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    load_estimator,
)
from gnnpre.datasets import make_emt_property, write_crystals
from gnnpre.estimators import _blended_fit, export_model
from gnnpre.estimators._blended_head import PRIOR_CRYSTALS, network_shares
from gnnpre.graphs import as_crystals

N_VALID = 15


@pytest.fixture(scope="module")
def crystals():
    return make_emt_property(60, random_state=0, max_atoms=4)


@pytest.fixture(scope="module")
def source(crystals):
    pretrainer = Pretrainer(CGCNN(8, 3), Denoising(), max_epochs=1, random_state=0)
    return FrozenEstimator(pretrainer.fit(crystals[0]))


@pytest.fixture(scope="module")
def regressor(source):
    """Not to be changed by a test; the last crystals of 45 validate."""
    fold = np.repeat([-1, 0], [45 - N_VALID, N_VALID])
    return PropertyRegressor(
        pretrained=source, validation_fraction=PredefinedSplit(fold), max_epochs=2, random_state=0
    )


@pytest.fixture(scope="module")
def fitted(regressor, crystals):
    """Not to be changed by a test."""
    return clone(regressor).fit(crystals[0][:45], crystals[1][:45])


def single(regressor, crystals, strategy, **parameters):
    model = clone(regressor).set_params(strategy=strategy, **parameters)
    return model.fit(crystals[0][:45], crystals[1][:45])


def test_auto_is_the_weighted_mean_of_both_models(crystals, regressor, fitted):
    X = crystals[0]
    network, kernel = (single(regressor, crystals, name) for name in ("full", "kernel"))
    share = fitted.weights_["network"][0]
    assert 0 < share < 1
    assert fitted.weights_["kernel"] == pytest.approx(1 - share)
    expected = share * network.predict(X) + (1 - share) * kernel.predict(X)
    np.testing.assert_allclose(fitted.predict(X), expected, rtol=1e-5)
    # Embeddings and history are those of the fine-tuned network.
    np.testing.assert_allclose(fitted.transform(X[:5]), network.transform(X[:5]), rtol=1e-5)
    assert len(fitted.history_) == 2
    explicit = single(regressor, crystals, "blended")
    np.testing.assert_array_equal(explicit.predict(X), fitted.predict(X))
    for model, weight in (network, 1.0), (kernel, 0.0):
        assert model.weights_ == {"network": weight, "kernel": 1 - weight}


def test_the_share_has_the_least_error_on_left_out_crystals(crystals, regressor, fitted):
    X, y = crystals[0][:45], crystals[1][:45]
    valid = np.arange(45 - N_VALID, 45)
    network = single(regressor, crystals, "full").predict(X)[valid]
    # Each validation crystal from a machine that was tuned and fitted without it.
    features = fitted.kernel_.kernel.features.compute(
        fitted.kernel_.kernel.network, fitted._graphs_to_predict(X)
    )
    left_out, _ = clone(fitted.kernel_.machine).fit_leave_out(np.hstack(features), y)
    share = network_shares(
        network[:, None], left_out[valid][:, None], y[valid][:, None], np.ones(N_VALID)
    )
    assert fitted.weights_["network"] == pytest.approx(share, rel=1e-3)
    diagnosis = fitted.diagnosis_
    blend = share * network + (1 - share) * left_out[valid]
    assert diagnosis["kernel"] == pytest.approx(np.abs(left_out - y)[valid].mean(), rel=1e-4)
    assert diagnosis["blend"] == pytest.approx(np.abs(blend - y[valid]).mean(), rel=1e-4)
    assert diagnosis["final"] == pytest.approx(np.abs(network - y[valid]).mean(), rel=1e-4)
    # The machine that shares the predictions is the comparison; no second one is fitted.
    assert set(diagnosis) == {"zero_epochs", "kernel", "blend", "final", "training", "unmoved"}


def test_shares():
    random = np.random.default_rng(0)
    y = random.normal(size=(300, 2))
    good, bad = y + 0.01 * random.normal(size=y.shape), y + random.normal(size=y.shape)
    ones = np.ones(300)
    for network, kernel, best in (good, bad, 1.0), (bad, good, 0.0):
        drawn = (300 * best + PRIOR_CRYSTALS / 2) / (300 + PRIOR_CRYSTALS)
        np.testing.assert_allclose(network_shares(network, kernel, y, ones), drawn, atol=0.01)
    # Few crystals say little, and none nothing; a gap does not count.
    few = network_shares(good[:5], bad[:5], y[:5], ones[:5])
    assert ((few > 0.5) & (few < 0.6)).all()
    np.testing.assert_array_equal(network_shares(good[:0], bad[:0], y[:0], ones[:0]), 0.5)
    y[5:, 1] = np.nan
    shares = network_shares(good, bad, y, ones)
    assert shares[0] > 0.9
    assert shares[1] == pytest.approx(few[1])


def test_auto_without_a_use_of_kernels(crystals, regressor, tmp_path, monkeypatch):
    X, y = crystals[0][:45], crystals[1][:45]
    scratch = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
    assert scratch.fit(X, y).kernel_ is None
    small = clone(regressor).set_params(validation_fraction=0.0, max_epochs=1)
    assert small.fit(X[:10], y[:10]).kernel_ is not None
    assert small.fit(X[:9], y[:9]).kernel_ is None
    atoms = [np.ones(len(structure)) * value for structure, value in zip(X, y, strict=True)]
    assert small.set_params(target="atom").fit(X, atoms).kernel_ is None
    small.set_params(target="crystal")
    assert small.fit(write_crystals(tmp_path / "store", [as_crystals(X)]), y).kernel_ is None
    monkeypatch.setattr(_blended_fit, "LARGEST_BLEND", 44)
    assert small.fit(X, y).kernel_ is None
    assert small.set_params(strategy="blended").fit(X, y).kernel_ is not None


@pytest.mark.parametrize("name", ["model.gnnpre", "model"])
def test_files(crystals, fitted, tmp_path, name):
    X, y = crystals
    fitted.save(tmp_path / name)
    loaded = load_estimator(tmp_path / name)
    np.testing.assert_allclose(loaded.predict(X), fitted.predict(X), rtol=1e-12)
    assert loaded.weights_ == fitted.weights_
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    # A model of which another one can start, and its network is the fine-tuned one:
    frozen = PropertyRegressor(pretrained=str(tmp_path / name), strategy="kernel").fit(X, y)
    np.testing.assert_allclose(frozen.transform(X[:3]), fitted.transform(X[:3]), rtol=1e-5)


def damage(kernel):
    """Yield entries of which something is wrong."""
    for shares in ([2.0], [-0.1], 0.5, ["half"], [float("nan")]):
        yield {**kernel, "shares": shares}
    yield {key: value for key, value in kernel.items() if key != "machine"}


def test_damaged_files_are_refused(fitted, tmp_path):
    path = tmp_path / "model.gnnpre"
    fitted.save(path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    for kernel in damage(config["extra"]["kernel_"]):
        changed = {**config, "extra": {**config["extra"], "kernel_": kernel}}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights.safetensors", files["weights.safetensors"])
            archive.writestr("config.json", json.dumps(changed))
        with pytest.raises(ValueError, match=r"model\.gnnpre"):
            load_estimator(path)


def test_uncertainty(crystals, regressor, fitted):
    X, y = crystals
    with pytest.raises(ValueError, match="calibration_fraction=0"):
        fitted.predict(X, return_std=True)
    model = clone(regressor).set_params(calibration_fraction=0.25, validation_fraction=0.2)
    model.fit(X, y)
    values, std = model.predict(X, return_std=True)
    np.testing.assert_array_equal(values, model.predict(X))
    assert (std > 0).all()
    assert len(model.uncertainty_["calibration"]["scores"][0]) == 15
    assert len(model.kernel_.machine.processes_[0].process.z) == 45  # none of those 15
    lower, upper = model.predict_interval(X, 0.9)
    np.testing.assert_allclose((lower + upper) / 2, values, rtol=1e-9)
    assert ((lower <= y) & (y <= upper)).mean() >= 0.7
    assert model.distance(X).shape == (60,)


def test_groups_are_left_out_together(crystals, regressor):
    # Each crystal has a twin, from which a kernel machine knows it.
    X, y = crystals[0][:30] * 2, np.tile(crystals[1][:30], 2)
    groups = np.tile(np.arange(30), 2)
    model = clone(regressor).set_params(validation_fraction=0.3)
    alone = clone(model).fit(X, y).diagnosis_["kernel"]
    together = model.fit(X, y, groups=groups).diagnosis_["kernel"]
    assert together > 3 * alone


def test_several_columns_with_gaps_bounds_and_weights(crystals, regressor):
    pandas = pytest.importorskip("pandas")
    X, y = crystals
    frame = pandas.DataFrame({"K": y, "gap": np.where(np.arange(60) % 3 == 0, np.nan, 0.01 * y)})
    low, high = 0.5, 120.0
    model = clone(regressor).set_params(bounds=(low, high), validation_fraction=0.25)
    weight = (np.arange(60) < 40).astype(float)
    model.fit(X, frame.clip(low, high), sample_weight=weight)
    predicted = model.predict(X)
    assert list(predicted.columns) == ["K", "gap"]
    assert predicted.to_numpy().min() >= low
    assert predicted.to_numpy().max() <= high
    assert model.weights_["network"].shape == (2,)
    assert len(model.kernel_.machine.processes_[0].process.z) == 40  # crystals with a weight
    # Labels of no weight decide nothing, not even the shares.
    other = frame.clip(low, high)
    other.loc[40:, "K"] = low
    again = clone(model).fit(X, other, sample_weight=weight)
    np.testing.assert_allclose(again.predict(X), predicted, rtol=1e-6)


def test_a_sum_grows_with_the_crystal(crystals, regressor):
    X, y = crystals
    total = y * [len(structure) for structure in X]
    model = clone(regressor).set_params(pooling="sum", validation_fraction=0.2).fit(X, total)
    doubled = [structure.make_supercell([2, 1, 1], in_place=False) for structure in X[:5]]
    np.testing.assert_allclose(model.predict(doubled), 2 * model.predict(X[:5]), rtol=1e-3)


def test_an_interrupted_fit_keeps_the_network(crystals, regressor):
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            signal.raise_signal(signal.SIGINT)

    model = clone(regressor).set_params(callbacks=[Stop()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(crystals[0][:45], crystals[1][:45])
    assert model.weights_ == {"network": 1.0, "kernel": 0.0}
    assert np.isfinite(model.predict(crystals[0])).all()


def test_refusals(crystals, regressor, source, fitted):
    X, y = crystals[0][:45], crystals[1][:45]  # as many as the split of the regressor has
    atoms = [np.ones(len(structure)) for structure in X]
    with pytest.raises(ValueError, match="strategy='blended' learns numbers of crystals alone"):
        clone(regressor).set_params(strategy="blended", target="atom").fit(X, atoms)
    with pytest.raises(ValueError, match="strategy='blended'"):
        PropertyRegressor(CGCNN(8, 1), strategy="blended").fit(X, y)
    with pytest.raises(ValueError, match="strategy='blended'"):
        PropertyClassifier(pretrained=source, strategy="blended").fit(X, y > np.median(y))
    with pytest.raises(ValueError, match="A kernel machine takes part"):
        export_model(fitted)
