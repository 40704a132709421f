"""A name of a model in the package stands wherever a file does."""

import os
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from gnnpre import (
    CGCNN,
    Pretrainer,
    PropertyClassifier,
    PropertyEnsemble,
    PropertyRegressor,
    describe_pretrained,
    list_pretrained,
    load_estimator,
)
from gnnpre.exceptions import UnseenElementWarning
from gnnpre.pretrained import resolve_model

FAST = {"max_epochs": 1, "random_state": 0}


def backbone_of(model):
    state = model.net_.module_.state_dict()
    return {key: value for key, value in state.items() if key.startswith("backbone.")}


def test_names_are_listed(tiny):
    assert list_pretrained() == ["gnnpre-1-forces", "tiny"]


def test_name_loads_the_file(tiny, training_set):
    structures, _ = training_set
    for model in (Pretrainer.load("tiny"), load_estimator("tiny")):
        np.testing.assert_array_equal(
            model.transform(structures), Pretrainer.load(tiny).transform(structures)
        )


def test_regressor_by_name_equals_regressor_by_file(tiny, training_set):
    structures, y = training_set
    by_name = PropertyRegressor(pretrained="tiny", **FAST).fit(structures, y)
    by_file = PropertyRegressor(pretrained=str(tiny), **FAST).fit(structures, y)
    np.testing.assert_array_equal(by_name.predict(structures), by_file.predict(structures))
    assert by_name.transferred_
    assert clone(by_name).pretrained == "tiny"


def test_classifier_and_ensemble_take_names(tiny, training_set):
    structures, y = training_set
    classes = np.where(y > np.median(y), "hard", "soft")
    classifier = PropertyClassifier(pretrained="tiny", **FAST).fit(structures, classes)
    assert classifier.transferred_
    ensemble = PropertyEnsemble("tiny", cv=2, max_epochs=1, random_state=0).fit(structures, y)
    assert set(ensemble.weights_) == {"network", "embedding", "fingerprint"}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("estimator", [PropertyRegressor, PropertyClassifier])
def test_fitted_property_models_are_starts(tmp_path, training_set, estimator, frozen):
    structures, y = training_set
    labels = y if estimator is PropertyRegressor else np.where(y > np.median(y), 1, 0)
    first = estimator(CGCNN(8, 1), learning_rate=0.01, **FAST).fit(structures, labels)
    path = tmp_path / "first.gnnpre"
    first.save(path)
    start = FrozenEstimator(first) if frozen else path
    # A learning rate that moves nothing: the backbone stays as it was transferred.
    second = PropertyRegressor(pretrained=start, learning_rate=1e-30, diagnose=False, **FAST)
    weights = backbone_of(second.fit(structures, y))
    for name, value in backbone_of(first).items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-6, err_msg=name)


def test_member_of_an_ensemble_is_a_start(training_set):
    structures, y = training_set
    network = PropertyRegressor(CGCNN(8, 1), **FAST)
    ensemble = PropertyEnsemble(members=[("network", network)], cv=2, random_state=0)
    member = ensemble.fit(structures, y).members_["network"][0]
    model = PropertyRegressor(pretrained=FrozenEstimator(member), **FAST).fit(structures, y)
    assert model.transferred_


@pytest.mark.parametrize("name", ["tyni", "gnnpre-9", "no/such/file.gnnpre"])
def test_unknown_name_lists_the_names(tiny, name, training_set):
    names = "in this package: gnnpre-1-forces, tiny"
    message = rf"(?s)no model '{name}'.*neither a file or folder.*{names}"
    structures, y = training_set
    with pytest.raises(FileNotFoundError, match=message):
        PropertyRegressor(pretrained=name).fit(structures, y)
    for function in (Pretrainer.load, load_estimator, describe_pretrained):
        with pytest.raises(FileNotFoundError, match=message):
            function(name)


def test_name_of_the_package_comes_before_a_file(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "tiny").write_text("no model")
    monkeypatch.chdir(folder)
    assert resolve_model("tiny") == tiny
    for path in (Path("tiny"), os.path.join(".", "tiny")):
        assert resolve_model(path).samefile(folder / "tiny")


def test_damaged_file_of_the_package_is_named(tiny):
    content = bytearray(tiny.read_bytes())
    content[len(content) // 2] ^= 1
    tiny.write_bytes(content)
    with pytest.raises(ValueError, match=r"not the pre-trained model 'tiny'.*Install gnnpre again"):
        Pretrainer.load("tiny")


def test_missing_file_of_the_package_is_named(tiny):
    tiny.rename(tiny.with_name("renamed.gnnpre"))
    with pytest.raises(FileNotFoundError, match=r"'tiny' is missing from this installation"):
        Pretrainer.load("tiny")
    # Under another name it is a file as any other.
    Pretrainer.load(tiny.with_name("renamed.gnnpre"))


def test_other_file_under_the_name_is_found_out(tiny, tmp_path, training_set):
    structures, y = training_set
    PropertyRegressor(CGCNN(8, 1), **FAST).fit(structures, y).save(tiny)
    with pytest.raises(ValueError, match="another file under its name"):
        load_estimator("tiny")


def test_later_format_asks_for_an_upgrade(released_file, tmp_path):
    path = tmp_path / "later.gnnpre"
    with zipfile.ZipFile(released_file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = content.replace(b'"format": 1', b'"format": 99')
            new.writestr(name, content)
    with pytest.raises(ValueError, match=r"format 99.*upgrade gnnpre"):
        PropertyRegressor(pretrained=path).fit(*_training(20))


def _training(n):
    from gnnpre.datasets import make_emt_property

    return make_emt_property(n, random_state=0)


def test_saved_model_that_started_from_a_name_can_be_fitted_again(tiny, tmp_path, training_set):
    structures, y = training_set
    path = tmp_path / "fitted.gnnpre"
    PropertyRegressor(pretrained="tiny", **FAST).fit(structures, y).save(path)
    loaded = PropertyRegressor.load(path)
    assert loaded.pretrained == "tiny"
    loaded.fit(structures, y)
    # A path is still one of whoever saved the model.
    copy = shutil.copy(tiny, tmp_path / "copy.gnnpre")
    PropertyRegressor(pretrained=str(copy), **FAST).fit(structures, y).save(path)
    with pytest.raises(ValueError, match="came with the file"):
        PropertyRegressor.load(path).fit(structures, y)


def test_elements_that_the_weights_have_never_seen_are_named_at_fit(tiny, training_set):
    structures, y = training_set
    changed = [structure.copy() for structure in structures]
    changed[3].replace(0, "La")
    with pytest.warns(UnseenElementWarning, match=r"never seen: La \(row 3\).*1 of 20 crystals"):
        PropertyRegressor(pretrained="tiny", **FAST).fit(changed, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnseenElementWarning)
        PropertyRegressor(pretrained="tiny", **FAST).fit(structures, y)


@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="a device of Linux")
def test_a_device_is_refused_before_it_is_read():
    with pytest.raises(ValueError, match="'/dev/zero' is a device or a pipe"):
        load_estimator("/dev/zero")
