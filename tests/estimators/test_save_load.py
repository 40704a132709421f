"""Estimators on disk: what comes back is what was saved."""

import json
import os
import subprocess
import sys
import warnings
import zipfile
from importlib.metadata import version

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from gnnpre import (
    CGCNN,
    ForceField,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    StructureToGraph,
)
from gnnpre.training import CosineSchedule, PlateauSchedule


@pytest.fixture(params=["model.gnnpre", "folder"])
def path(request, tmp_path):
    return tmp_path / request.param


def assert_same_labels(one, two):
    for name in ("energy", "forces", "stress"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dtype": "float64", "schedule": PlateauSchedule(patience=3), "ema_decay": 0.9},
        {"objective": ForceField(1, 500, 500, readout="early", head_layers=3, pooling="mean")},
        {"backbone": CGCNN(4, 2, batch_norm=True, envelope=None, aggregation="mean")},
        {"schedule": CosineSchedule(final=0.5), "validation_fraction": 0, "max_edges": 300},
    ],
)
def test_a_pretrainer_comes_back(pretrainer, data, path, changes):
    pretrainer.set_params(**changes).fit(data.graphs, data.labels).save(path)
    again = Pretrainer.load(path)
    assert repr(again.get_params()) == repr(pretrainer.get_params())
    assert_same_labels(again.predict(data.graphs), pretrainer.predict(data.graphs))
    np.testing.assert_array_equal(again.transform(data.graphs), pretrainer.transform(data.graphs))
    scores = [model.score(data.graphs, data.labels) for model in (again, pretrainer)]
    assert scores[0] == scores[1]
    assert again.history_ == pretrainer.history_
    assert again.graph_settings_ == pretrainer.graph_settings_
    assert again.elements_ == pretrainer.elements_
    assert again.data_ == pretrainer.data_


@pytest.mark.parametrize("form", ["1d", "column", "two"])
def test_a_regressor_comes_back(regressor, data, path, form):
    y = {"1d": data.y, "column": data.y[:, None], "two": np.stack([data.y, -data.y], axis=1)}[form]
    regressor.fit(data.graphs, y).save(path)
    again = PropertyRegressor.load(path)
    predicted = again.predict(data.structures)  # by the settings that came with the weights
    assert predicted.shape == y.shape
    np.testing.assert_array_equal(predicted, regressor.predict(data.graphs))
    assert again.score(data.graphs, y) == regressor.score(data.graphs, y)
    assert again.transferred_ == []


def test_a_refit_of_what_came_back_is_the_same(regressor, data, path):
    regressor.fit(data.graphs, data.y).save(path)
    again = clone(PropertyRegressor.load(path)).fit(data.graphs, data.y)
    np.testing.assert_array_equal(again.predict(data.graphs), regressor.predict(data.graphs))


def test_saving_twice_gives_the_same_predictions(regressor, data, path, tmp_path):
    regressor.fit(data.graphs, data.y).save(path)
    again = PropertyRegressor.load(path)
    again.save(path)
    third = PropertyRegressor.load(path)
    np.testing.assert_array_equal(third.predict(data.graphs), regressor.predict(data.graphs))


SCRIPT = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
from gnnpre import CrystalGraphs, Pretrainer, PropertyRegressor
folder = sys.argv[1]
graphs = CrystalGraphs.load(f"{folder}/graphs.safetensors")
forces = Pretrainer.load(f"{folder}/forces.gnnpre").predict(graphs).forces
volume = PropertyRegressor.load(f"{folder}/volume").predict(graphs)
np.savez(f"{folder}/predictions.npz", forces=forces, volume=volume)
assert "pymatgen" not in sys.modules and "ase" not in sys.modules
"""


def test_a_fresh_process_predicts_the_same(pretrained, regressor, data, tmp_path):
    regressor.fit(data.graphs, data.y).save(tmp_path / "volume")
    pretrained.save(tmp_path / "forces.gnnpre")
    data.graphs.save(tmp_path / "graphs.safetensors")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    predictions = np.load(tmp_path / "predictions.npz")
    np.testing.assert_array_equal(predictions["forces"], pretrained.predict(data.graphs).forces)
    np.testing.assert_array_equal(predictions["volume"], regressor.predict(data.graphs))


def test_a_loaded_pretrainer_is_fine_tuned(pretrained, data, path):
    pretrained.save(path)
    loaded = PropertyRegressor(
        pretrained=FrozenEstimator(Pretrainer.load(path)), max_epochs=2, random_state=0
    )
    original = clone(loaded).set_params(pretrained=FrozenEstimator(pretrained))
    predictions = [
        model.fit(data.graphs, data.y).predict(data.graphs) for model in (loaded, original)
    ]
    np.testing.assert_array_equal(*predictions)


def test_a_frozen_parameter_is_left_out_with_a_warning(pretrained, data, path):
    model = PropertyRegressor(
        pretrained=FrozenEstimator(pretrained), strategy="head", max_epochs=2, random_state=0
    ).fit(data.graphs, data.y)
    with pytest.warns(UserWarning, match="pretrained cannot be written as JSON") as caught:
        model.save(path)
    assert len(caught) == 1
    again = PropertyRegressor.load(path)
    assert again.pretrained is None
    assert again.transferred_ == model.transferred_
    np.testing.assert_array_equal(again.predict(data.graphs), model.predict(data.graphs))


def test_weights_of_classes_are_kept(data, path, recwarn):
    model = PropertyClassifier(CGCNN(8, 1), class_weight={1: 2.0, 0: np.float32(0.5)}, max_epochs=1)
    model.fit(data.graphs, data.y > np.median(data.y)).save(path)
    assert PropertyClassifier.load(path).class_weight == {1: 2.0, 0: 0.5}
    assert not recwarn


def test_a_memory_map_of_joblib_is_read_without_a_warning(regressor, data, tmp_path):
    joblib.dump(regressor.fit(data.graphs, data.y), tmp_path / "model.joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of memory that it must not write to
        mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict(data.graphs), regressor.predict(data.graphs))


def test_a_path_is_kept(pretrained, data, path, tmp_path, recwarn):
    pretrained.save(tmp_path / "forces.gnnpre")
    for form in (str, type(tmp_path)):
        source = form(tmp_path / "forces.gnnpre")
        model = PropertyRegressor(pretrained=source, max_epochs=1, random_state=0)
        model.fit(data.graphs, data.y).save(path)
        assert str(PropertyRegressor.load(path).pretrained) == str(source)
    assert not recwarn


def test_what_only_a_new_fit_would_use_may_stay_behind(regressor, data, path):
    regressor.set_params(
        random_state=np.random.RandomState(0), validation_fraction=KFold(5), callbacks=[Callback()]
    )
    regressor.fit(data.graphs, data.y)
    with pytest.warns(UserWarning, match="validation_fraction, random_state, callbacks cannot|be"):
        regressor.save(path)
    again = PropertyRegressor.load(path)
    assert again.random_state is None
    assert again.callbacks is None
    np.testing.assert_array_equal(again.predict(data.graphs), regressor.predict(data.graphs))


def test_a_pipeline_saves_its_last_step(data, regressor, path):
    model = make_pipeline(StructureToGraph(cutoff=4.0), regressor).fit(data.structures, data.y)
    model[-1].save(path)
    again = PropertyRegressor.load(path)
    np.testing.assert_array_equal(again.predict(data.structures), model.predict(data.structures))


def test_the_other_kind_is_refused(pretrained, regressor, data, path):
    pretrained.save(path)
    with pytest.raises(ValueError, match="holds a Pretrainer; expected a PropertyRegressor"):
        PropertyRegressor.load(path)
    regressor.fit(data.graphs, data.y).save(path)
    with pytest.raises(ValueError, match="holds a PropertyRegressor; expected a Pretrainer"):
        Pretrainer.load(path)


def test_a_sound_file_is_not_called_damaged(pretrained, path):
    pretrained.save(path)
    with pytest.raises(ValueError, match=r"Pretrainer\.load reads it\.$") as caught:
        PropertyRegressor.load(path)
    assert "cannot be read" not in str(caught.value)


@pytest.mark.parametrize("classes", [[1], CGCNN, CGCNN(), "CGCNN"])
def test_classes_of_wrong_type(pretrained, path, classes):
    pretrained.save(path)
    with pytest.raises(TypeError, match=r"classes=.*expected a list of classes"):
        Pretrainer.load(path, classes=classes)


def test_loading_leaves_global_random_state_alone(pretrained, path):
    pretrained.save(path)
    before = torch.get_rng_state()
    Pretrainer.load(path)
    assert torch.equal(before, torch.get_rng_state())


def test_the_file_says_what_it_holds(pretrained, tmp_path):
    pretrained.save(tmp_path / "forces.gnnpre")
    with zipfile.ZipFile(tmp_path / "forces.gnnpre") as archive:
        config = json.loads(archive.read("config.json"))
    assert config["kind"] == "Pretrainer"
    assert config["graphs"]["cutoff"] == 4.0
    assert config["versions"]["torch"] == version("torch")
    assert config["data"]["n_crystals"] == 20
    assert len(config["history"]) == 2


def edit(path, change):
    """Change the config of a saved model."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    change(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**files, "config.json": json.dumps(config)}.items():
            archive.writestr(name, content)


CHANGES = {
    "no spec": lambda config: config.pop("spec"),
    "no graphs": lambda config: config.pop("graphs"),
    "no parameters": lambda config: config.pop("parameters"),
    "unknown parameter": lambda config: config["parameters"].update(attention=True),
    "unknown graph setting": lambda config: config["graphs"].update(skin=1.0),
    "unknown spec": lambda config: config["spec"].update(charge=1.0),
    "another width": lambda config: config["spec"]["backbone"]["params"].update(hidden_channels=9),
    "parameters as a list": lambda config: config.update(parameters=[1]),
    "a class without params": lambda config: config["spec"].update(backbone={"class": "CGCNN"}),
    "a number for a backbone": lambda config: config["spec"].update(backbone=3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_config_that_does_not_fit_is_refused_by_name(pretrained, tmp_path, change):
    path = tmp_path / "forces.gnnpre"
    pretrained.save(path)
    edit(path, CHANGES[change])
    with pytest.raises(ValueError, match=r"forces\.gnnpre|do not fit"):
        Pretrainer.load(path)
