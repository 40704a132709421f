"""Folders for model hubs: written, read, and replaced only where nothing else is lost."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.exceptions import NotFittedError

from gnnpre import CGCNN, PropertyRegressor, load_estimator
from gnnpre.datasets import make_emt_property
from gnnpre.pretrained import ModelCard


@pytest.fixture(scope="module")
def data():
    return make_emt_property(20, max_atoms=4, random_state=0)


@pytest.fixture(scope="module")
def model(data):
    return PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0).fit(*data)


def front_matter(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    start, matter, body = text.split("---\n", 2)
    assert start == ""
    return matter, body


def test_folder_has_the_files_of_a_hub_and_loads(model, data, tmp_path):
    folder = tmp_path / "hub.v1"  # a dot in its name does not make it a file
    model.save_hub_folder(folder, license="CC-BY-4.0")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }
    for load in (PropertyRegressor.load, load_estimator):
        np.testing.assert_array_equal(load(folder).predict(data[0]), model.predict(data[0]))
    assert set(load_file(folder / "model.safetensors")) == set(model.net_.module_.state_dict())
    matter, body = front_matter(folder)
    assert "library_name: gnnpre\n" in matter
    assert 'license: "cc-by-4.0"\n' in matter
    assert '- "cgcnn"\n' in matter
    assert "PropertyRegressor.load" in body
    assert "CGCNN(hidden_channels=8" in body


def test_a_fine_tuning_starts_from_a_hub_folder(model, data, tmp_path):
    model.save_hub_folder(tmp_path / "hub")
    tuned = PropertyRegressor(pretrained=tmp_path / "hub", max_epochs=1, random_state=0)
    assert tuned.fit(*data).transferred_


def test_cards_are_the_text(model, tmp_path):
    card = ModelCard(
        {
            "name": "my-model",
            "summary": "Bulk moduli of alloys.",
            "license": "CC-BY-4.0",
            "network": {"backbone": "CGCNN(8, 1)"},
            "training": {"hours": 0.1},
            "data": [],
            "elements": {"Cu": 10},
            "errors": [],
            "limits": ["Nothing but alloys."],
        }
    )
    model.save_hub_folder(tmp_path / "hub", card=card)
    matter, body = front_matter(tmp_path / "hub")
    assert "# my-model" in body
    assert 'license: "cc-by-4.0"' in matter
    model.save_hub_folder(tmp_path / "hub", card="# Mine")
    assert "# Mine" in front_matter(tmp_path / "hub")[1]
    with pytest.raises(TypeError, match="card is of type int"):
        model.save_hub_folder(tmp_path / "hub", card=3)
    with pytest.raises(TypeError, match="license is of type int"):
        model.save_hub_folder(tmp_path / "hub", license=3)


def test_folders_with_other_files_stay(model, tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / ".git").mkdir()
    with pytest.raises(FileExistsError, match=r"\.git"):
        model.save_hub_folder(tmp_path / "hub")
    with pytest.raises(NotFittedError):
        PropertyRegressor().save_hub_folder(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_changed_weights_are_noticed(model, tmp_path):
    model.save_hub_folder(tmp_path / "hub")
    path = tmp_path / "hub" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="checksum"):
        load_estimator(tmp_path / "hub")
