"""Models on disk: round trips, damaged and hostile files, and how a file is replaced."""

import hashlib
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from sklearn.base import BaseEstimator

from gnnpre import CGCNN, ForceField, Pretrainer
from gnnpre.training import (
    CosineSchedule,
    from_spec,
    load_checkpoint,
    save_checkpoint,
    to_spec,
)

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3), "b": torch.ones(0)}
CONFIG = {"kind": "Thing", "cutoff": 5.0, "history": [{"loss": 0.1}]}
FORMS = ["model.gnnpre", "model"]
CLASSES = {c.__name__: c for c in (CGCNN, ForceField, CosineSchedule)}


@pytest.fixture(params=FORMS)
def path(request, tmp_path) -> Path:
    path = tmp_path / request.param
    save_checkpoint(path, WEIGHTS, CONFIG)
    return path


def write(path, config, weights=None):
    """Write a file as it should not be."""
    weights = save(WEIGHTS) if weights is None else weights
    if isinstance(config, dict) and config:
        config = {"weights_sha256": hashlib.sha256(weights).hexdigest(), **config}
    config = config if isinstance(config, bytes) else json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.safetensors", weights)
        archive.writestr("config.json", config)
    return path


def test_round_trip(path):
    weights, config = load_checkpoint(path, "Thing")
    assert config.pop("weights_sha256") == hashlib.sha256(save(WEIGHTS)).hexdigest()
    assert config == {"format": 1, **CONFIG}
    assert weights.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        assert torch.equal(weights[name], value)
        assert weights[name].dtype == value.dtype


def test_strings_are_paths_too(path):
    assert load_checkpoint(str(path), "Thing")[1]["cutoff"] == 5.0


def test_a_suffix_makes_a_file_and_none_a_folder(tmp_path):
    for name in FORMS:
        save_checkpoint(tmp_path / name, WEIGHTS, CONFIG)
    assert zipfile.is_zipfile(tmp_path / "model.gnnpre")
    names = {entry.name for entry in (tmp_path / "model").iterdir()}
    assert names == {"weights.safetensors", "config.json"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model", "model.gnnpre"]


def test_a_checkpoint_is_replaced(path):
    save_checkpoint(path, {"c": torch.ones(1)}, {**CONFIG, "cutoff": 6.0})
    weights, config = load_checkpoint(path, "Thing")
    assert list(weights) == ["c"]
    assert config["cutoff"] == 6.0
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_folder_with_other_files_is_not_overwritten(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"thesis\.tex.*not overwritten"):
        save_checkpoint(folder, WEIGHTS, CONFIG)
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]


def test_a_file_in_the_way_of_a_folder_stays(tmp_path):
    (tmp_path / "model").write_text("something")
    with pytest.raises(OSError, match="model"):
        save_checkpoint(tmp_path / "model", WEIGHTS, CONFIG)
    assert (tmp_path / "model").read_text() == "something"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("moment", ["write", "replace"])
def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "model.gnnpre"
    save_checkpoint(path, WEIGHTS, CONFIG)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    owner, name = (os, "replace") if moment == "replace" else (zipfile.ZipFile, "writestr")
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"c": torch.ones(1)}, CONFIG)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.gnnpre"]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path, part):
    path = tmp_path / "model.gnnpre"
    save_checkpoint(path, WEIGHTS, CONFIG)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ValueError, match=r"model\.gnnpre.*truncated or of another format"):
        load_checkpoint(path, "Thing")


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.99, None])
def test_a_damaged_folder_is_refused(tmp_path, name, part):
    path = tmp_path / "model"
    save_checkpoint(path, WEIGHTS, CONFIG)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: int(len(content) * (part or 0))])
    if part is None:
        (path / name).unlink()
    with pytest.raises(ValueError, match=r"model.*truncated or of another format"):
        load_checkpoint(path, "Thing")


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "model.gnnpre"
    save_checkpoint(path, WEIGHTS, CONFIG)
    content = bytearray(path.read_bytes())
    content[content.index(save(WEIGHTS)) + len(save(WEIGHTS)) - 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="CRC"):
        load_checkpoint(path, "Thing")


@pytest.mark.parametrize("content", [b"plain text", pickle.dumps({"a": 1}), save(WEIGHTS)])
def test_other_formats_are_refused(tmp_path, content):
    path = tmp_path / "model.gnnpre"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="another format"):
        load_checkpoint(path, "Thing")


@pytest.mark.parametrize("config", [b"\xff\xfe", b"{", b""])
def test_a_config_that_is_no_json_is_refused(tmp_path, config):
    with pytest.raises(ValueError, match="another format"):
        load_checkpoint(write(tmp_path / "m.zip", config), "Thing")


@pytest.mark.parametrize("config", [{}, [], "x", 1, {"format": 2, "kind": "Thing"}])
def test_another_format_number_is_refused(tmp_path, config):
    message = r"of format (2, and gnnpre \S+ reads format 1: upgrade|None; this version reads 1)"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(write(tmp_path / "m.zip", config), "Thing")


def test_another_kind_is_refused(path):
    with pytest.raises(ValueError, match="holds a Thing; expected a Pretrainer"):
        load_checkpoint(path, "Pretrainer")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.gnnpre"):
        load_checkpoint(tmp_path / "nowhere.gnnpre", "Thing")


@pytest.fixture
def hostile_module(tmp_path, monkeypatch):
    """A module whose import, and whose class, leave a mark."""
    marker = tmp_path / "executed"
    source = f"""
from sklearn.base import BaseEstimator
open({str(marker)!r}, "w").close()
class Evil(BaseEstimator):
    pass
"""
    (tmp_path / "hostile_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield marker
    assert not marker.exists()
    assert "hostile_module" not in sys.modules


NAMES = ["hostile_module.Evil", "hostile_module:Evil", "Evil", "os.system", "builtins.eval", ""]
NAMES += ["CrystalNet", "Objective", "LossTerm", "BaseEstimator", "Pipeline", None, 3]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["backbone", "objective", "schedule", "nested"])
def test_a_hostile_name_is_refused_and_nothing_is_imported(
    fit, hostile_module, tmp_path, name, place
):
    path = tmp_path / "model.gnnpre"
    fit(max_epochs=1).save(path)
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        weights = archive.read("weights.safetensors")
    evil = {"class": name, "params": {"module": "hostile_module", "path": "hostile_module.Evil"}}
    if place == "nested":
        config["spec"]["backbone"]["params"]["hidden_channels"] = {"list": [evil]}
    elif place == "schedule":
        config["parameters"]["schedule"] = evil
    else:
        config["spec"][place] = evil
    with pytest.raises(ValueError, match=r"names a class|parameters do not fit"):
        Pretrainer.load(write(path, config, weights))


class Marking:
    """Makes a pickle that leaves a mark when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("place", ["weights", "config", "file"])
def test_a_pickle_is_not_loaded(tmp_path, place):
    marker, path = tmp_path / "executed", tmp_path / "model.gnnpre"
    content = pickle.dumps(Marking(marker))
    if place == "file":
        path.write_bytes(content)
    elif place == "weights":
        write(path, {"format": 1, **CONFIG}, content)
    else:
        write(path, content)
    with pytest.raises(ValueError, match="another format"):
        load_checkpoint(path, "Thing")
    assert not marker.exists()


class Nested(BaseEstimator):
    """A config of one's own that holds others."""

    def __init__(self, parts=(), scale=1.0, name=None):
        self.parts = parts
        self.scale = scale
        self.name = name


CONFIGS = [
    CGCNN(16, 2, envelope=None),
    ForceField(500, loss="huber"),
    CosineSchedule(final=0.0),
    Nested(parts=[("a", CGCNN(8), 1.0), ("b", Nested(parts=((1, 2), [3])), 0.1)], name="x"),
    [1, 2.5, None, True, "text", (), []],
    (1, (2, [3, (4,)])),
    {"soft": 2.0, 3: (True, None), "nested": {(1, 2): CGCNN(8)}},
    float("inf"),
]


@pytest.mark.parametrize("value", CONFIGS, ids=lambda value: type(value).__name__)
def test_specs_go_through_json_and_back(value):
    classes = {**CLASSES, "Nested": Nested}
    again = from_spec(json.loads(json.dumps(to_spec(value))), classes)
    assert repr(again) == repr(value)
    assert type(again) is type(value)
    if isinstance(value, BaseEstimator):
        assert again.get_params(deep=False).keys() == value.get_params(deep=False).keys()


def test_numbers_of_numpy_become_those_of_python():
    again = from_spec(to_spec(CGCNN(np.int64(8), smearing_width=np.float32(0.5))), CLASSES)
    assert type(again.hidden_channels) is int
    assert type(again.smearing_width) is float
    assert again.smearing_width == 0.5


def test_specs_hold_no_import_path():
    text = json.dumps(to_spec(Nested(parts=[CGCNN()])))
    assert "gnnpre" not in text
    assert "." not in json.loads(text)["class"]


@pytest.mark.parametrize("value", [{1, 2}, np.ones((2, 2)), lambda: 0, object(), CGCNN])
def test_what_json_cannot_hold_is_named(value):
    with pytest.raises(TypeError, match=r"config\.parts\[1\] is of type .* cannot be written"):
        to_spec(Nested(parts=[1, value]), "config")


def test_unknown_classes_are_named_with_what_to_pass():
    spec = to_spec(Nested())
    with pytest.raises(
        ValueError, match=r"'Nested', which is not defined here.*classes=\[Nested\]"
    ):
        from_spec(spec, CLASSES)


def test_parameters_of_another_version_are_refused():
    spec = {"class": "CGCNN", "params": {"attention": True}}
    with pytest.raises(ValueError, match=r"do not fit CGCNN.*another version"):
        from_spec(spec, CLASSES)
