"""Parameters and paths that are checked before a training begins."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from gnnpre import (
    CGCNN,
    EAD,
    Denoising,
    FingerprintTargets,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    SchNet,
    StructureToGraph,
    TorchMDNet,
)
from gnnpre.exceptions import DataQualityWarning

ESTIMATORS = [PropertyRegressor, PropertyClassifier, Pretrainer]


@pytest.fixture
def no_training(monkeypatch):
    """Fail if an optimiser makes a step."""

    def step(*args, **kwargs):
        pytest.fail("a training began")

    monkeypatch.setattr("torch.optim.AdamW.step", step)


@pytest.mark.parametrize(
    ("model", "parameter", "cure"),
    [
        (PropertyRegressor(), "backbone__hidden_channels", r"backbone itself first, to CGCNN\(\)"),
        (PropertyRegressor(CGCNN), "backbone__hidden_channels", r"to CGCNN\(\)"),
        (Pretrainer(), "objective__forces", r"to ForceField\(\)"),
        (PropertyRegressor(), "pretraining__backbone__n_layers", r"to Pretrainer\("),
        (PropertyRegressor(callbacks=[1]), "callbacks__es__patience", "set the whole list"),
        (FingerprintTargets([1.0]), "fingerprint__eta", "set the whole list"),
    ],
)
def test_parameters_of_parts_that_are_not_there(model, parameter, cure):
    with pytest.raises(ValueError, match=rf"^{parameter} cannot be set, because .*{cure}"):
        model.set_params(**{parameter: 2})


def test_a_part_and_its_parameters_at_once():
    model = PropertyRegressor().set_params(backbone=CGCNN(), backbone__hidden_channels=2)
    assert model.backbone.hidden_channels == 2
    with pytest.raises(ValueError, match="Invalid parameter 'backbon'"):
        model.set_params(backbon__hidden_channels=2)


def labels(estimator, data):
    if estimator is Pretrainer:
        return data.labels
    return data.y if estimator is PropertyRegressor else data.y > np.median(data.y)


PARAMETERS = [
    ("random_state", -1, r"random_state=-1; expected None, an int from 0 to 4294967295"),
    ("random_state", 1e30, "random_state=1e.30; expected None"),
    ("random_state", True, "random_state=True"),
    ("checkpoint_dir", 3, "checkpoint_dir=3 is of type int; expected a str or Path"),
    ("device", np.zeros(2), r"device=array.*expected 'auto', 'cpu'"),
    ("device", 2**63, "device=9223372036854775808; expected 'auto', 'cpu'"),
    ("embedding_layer", 7, "embedding_layer=7; expected an int from -1 to 1"),
    ("embedding_layer", -2, "embedding_layer=-2"),
    ("embedding_layer", "last", "embedding_layer='last'"),
    ("embedding_pooling", "median", "embedding_pooling='median'; expected one of"),
    ("ema_decay", 1.0, r"ema_decay=1.0; expected a number > 0 and < 1\."),
    ("max_epochs", np.timedelta64(3), "max_epochs=.*expected an int > 0"),
    ("learning_rate", 10**400, "learning_rate=1000.*expected a number > 0"),
]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("name", "value", "message"), PARAMETERS)
def test_parameters(data, estimator, name, value, message):
    model = estimator(CGCNN(8, 1), **{"max_epochs": 1, name: value})
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(data.graphs, labels(estimator, data))


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("value", [2**31, 10**9, 2**63])
@pytest.mark.parametrize("backbone", [CGCNN(8, 1), TorchMDNet(8, 1, n_heads=2), SchNet(8, 1)])
@pytest.mark.parametrize("name", ["hidden_channels", "n_layers", "n_radial"])
def test_mistyped_sizes_take_no_memory(data, backbone, name, value):
    backbone = clone(backbone, safe=False).set_params(**{name: value})
    with pytest.raises(ValueError, match=f"{name}={value}; expected an int > .* and <= 65536"):
        PropertyRegressor(backbone, max_epochs=1).fit(data.graphs, data.y)


@pytest.mark.parametrize("name", ["head_channels", "head_layers"])
def test_mistyped_sizes_of_a_readout(data, name):
    with pytest.raises(ValueError, match=f"{name}=10000000000; expected an int"):
        PropertyRegressor(CGCNN(8, 1), max_epochs=1, **{name: 10**10}).fit(data.graphs, data.y)


def test_pooling_of_a_fingerprint(data):
    pretrainer = Pretrainer(CGCNN(8, 1), FingerprintTargets(EAD(pooling="median")), max_epochs=1)
    with pytest.raises(ValueError, match="pooling"):
        pretrainer.fit(data.graphs)


@pytest.mark.parametrize("path", ["forces.gnnpre", "folder"])
@pytest.mark.parametrize("estimator", [PropertyRegressor, PropertyClassifier])
def test_a_path_as_backbone_names_pretrained(data, estimator, path):
    with pytest.raises(TypeError, match=rf"pretrained='{path}'"):
        estimator(path).fit(data.graphs, labels(estimator, data))


# Paths of whoever saved a model


def test_paths_of_a_file_are_refused_until_they_are_confirmed(data, pretrained, tmp_path):
    pretrained.save(tmp_path / "forces.gnnpre")
    source = str(tmp_path / "forces.gnnpre")
    model = PropertyRegressor(
        pretrained=source,
        checkpoint_dir=str(tmp_path),
        max_epochs=1,
        random_state=0,
        diagnose=False,
    )
    model.fit(data.graphs, data.y).save(tmp_path / "model.gnnpre")
    loaded = PropertyRegressor.load(tmp_path / "model.gnnpre")
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.predict(data.graphs), model.predict(data.graphs))
    with pytest.raises(ValueError, match=r"checkpoint_dir=.* came with the file"):
        clone(loaded).fit(data.graphs, data.y)
    loaded.set_params(checkpoint_dir=None)
    with pytest.raises(
        ValueError, match=r"pretrained=.* came with the file.*set_params\(pretrained"
    ):
        loaded.fit(data.graphs, data.y)
    loaded.set_params(pretrained=source).fit(data.graphs, data.y)
    np.testing.assert_array_equal(loaded.predict(data.graphs), model.predict(data.graphs))


def test_nested_paths_are_refused_too(data, tmp_path):
    pretraining = Pretrainer(
        CGCNN(8, 1), Denoising(), max_epochs=1, checkpoint_dir=str(tmp_path), random_state=0
    )
    model = PropertyRegressor(pretraining=pretraining, max_epochs=1, random_state=0, diagnose=False)
    model.fit(data.graphs, data.y).save(tmp_path / "model.gnnpre")
    loaded = PropertyRegressor.load(tmp_path / "model.gnnpre")
    with pytest.raises(ValueError, match=r"pretraining__checkpoint_dir=.* came with the file"):
        loaded.fit(data.graphs, data.y)


# Graphs without edges


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_graphs_without_edges_are_warned_of(data, estimator):
    graphs = StructureToGraph(cutoff=0.6).transform(data.structures)
    model = estimator(CGCNN(8, 1), max_epochs=1, random_state=0)
    message = r"atoms have no neighbour within cutoff=0\.6 Å \(rows 0, 1, 2, \.\.\. of X\).*nm"
    with pytest.warns(DataQualityWarning, match=message):
        model.fit(graphs, labels(estimator, data))


def test_a_few_isolated_atoms_are_fine(data, pretrained):
    model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        model.fit(data.graphs, data.y)
        model = PropertyRegressor(pretrained=FrozenEstimator(pretrained), max_epochs=1)
        model.fit(data.graphs, data.y)
