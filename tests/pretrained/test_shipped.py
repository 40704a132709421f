"""The models in the package: sound, described, small, and what their cards say."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from gnnpre import (
    ForceField,
    Pretrainer,
    PropertyRegressor,
    describe_pretrained,
    list_pretrained,
)
from gnnpre.calculators import ForceFieldCalculator
from gnnpre.datasets import read_matbench
from gnnpre.model_selection import leak_audit
from gnnpre.pretrained import read_leak_keys, resolve_model
from gnnpre.pretrained._catalogue import FOLDER

NAMES = list_pretrained()
LARGEST = 12e6  # bytes, of all models


def test_models_are_there_and_nothing_else():
    assert {"gnnpre-1", "gnnpre-1-small", "gnnpre-1-forces"} <= set(NAMES)
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {"checksums.json", *(f"{name}.gnnpre" for name in NAMES)}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < LARGEST


@pytest.mark.parametrize("name", NAMES)
def test_card_is_true_to_the_model(name):
    card, model = describe_pretrained(name).metadata, Pretrainer.load(name)
    assert card["name"] == name
    assert card["network"]["backbone"] == " ".join(repr(model.spec_.backbone).split())
    assert card["network"]["weights"] == sum(w.numel() for w in model.net_.module_.parameters())
    assert card["training"]["objective"] == " ".join(repr(model.spec_.objective).split())
    assert card["training"]["epochs"] == len(model.history_)
    assert f"{model.data_['n_train']:,} to train" in card["training"]["structures"]
    from ase.data import atomic_numbers

    assert sorted(atomic_numbers[symbol] for symbol in card["elements"]) == model.elements_
    n = sum(source["n"] for source in card["data"])
    assert n == model.data_["n_crystals"]
    for source in card["data"]:
        assert source["license"]
        assert source["from"]
        assert all(count <= 1_000_000 for count in source["labels"].values())
    for error in card["errors"]:
        assert np.isfinite([error["mae"], error["baseline"]]).all()
    if model.objective is not None and not isinstance(model.objective, ForceField):
        # The keys hold one entry for each structure.
        keys = read_leak_keys(name)
        assert len(keys) == n
        for bit, label in enumerate(keys.labels):
            count = int(((keys.masks >> bit) & 1).sum())
            assert count == card["data"][0]["labels"].get(label, n)


@pytest.mark.parametrize("name", NAMES)
def test_file_names_no_path_of_another_machine(name):
    with zipfile.ZipFile(resolve_model(name)) as archive:
        config = json.loads(archive.read("config.json"))
        text = archive.read("card.json").decode() + json.dumps(config)
    assert "/work" not in text
    assert "/root" not in text
    assert config["parameters"]["checkpoint_dir"] is None
    assert config["spec"]["dtype"] == "float32"


def test_base_model_predicts_what_it_has_learnt():
    # Known values: rock salt and silicon. Wide margins, of several times the errors in the card.
    from pymatgen.core import Lattice, Structure

    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    predictions = Pretrainer.load("gnnpre-1").predict([salt])
    assert np.ravel(predictions["formation_energy_eV_per_atom"])[0] == pytest.approx(-2.1, abs=0.3)
    assert np.ravel(predictions["band_gap_eV"])[0] == pytest.approx(5.0, abs=1.2)


def test_force_field_holds_copper_near_its_lattice_constant():
    calculator = ForceFieldCalculator("gnnpre-1-forces")
    pressures = []
    for a in (3.3, 3.63, 4.0):
        atoms = bulk("Cu", a=a)
        atoms.calc = calculator
        pressures.append(-atoms.get_stress()[:3].mean())
    assert pressures[0] > 0 > pressures[2]
    assert pressures[0] > pressures[1] > pressures[2]


def test_elements_and_seen_crystals_of_the_base_model(data_dir):
    # The benchmark sets that the training left out are reported as unseen.
    for name in ("jdft2d", "phonons"):
        crystals, _ = read_matbench(data_dir / "downstream" / f"{name}.json.gz")
        audit = leak_audit("gnnpre-1", crystals)
        assert audit.counts()["composition"] == 0, name
    crystals, _ = read_matbench(data_dir / "downstream" / "matbench_log_kvrh_10411.json.gz")
    audit = leak_audit("gnnpre-1", crystals[np.arange(2000, 2200)])
    assert audit.seen_labels["log10_K_VRH_GPa"].sum() > 20


def test_models_work_offline(tmp_path):
    code = (
        "import socket\n"
        "def refuse(*args, **kwargs):\n    raise OSError('no network in this test')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
        "from gnnpre import PropertyRegressor\n"
        "from gnnpre.datasets import make_emt_property\n"
        "structures, y = make_emt_property(12, random_state=0)\n"
        "PropertyRegressor(pretrained='gnnpre-1', max_epochs=1).fit(structures, y)\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_package_data_names_the_models():
    root = Path(__file__).parents[2]
    setup = (root / "setup.cfg").read_text(encoding="utf-8")
    assert "gnnpre.pretrained = models/*.gnnpre, models/*.json" in setup
    manifest = (root / "MANIFEST.in").read_text(encoding="utf-8")
    assert "recursive-include gnnpre/pretrained/models *.gnnpre *.json" in manifest


def test_default_settings_fine_tune_the_base_model():
    from gnnpre.datasets import make_emt_property

    structures, y = make_emt_property(40, random_state=0)
    model = PropertyRegressor(pretrained="gnnpre-1", max_epochs=10, random_state=0)
    model.fit(structures[:30], y[:30])
    error = np.abs(model.predict(structures[30:]) - y[30:]).mean()
    assert error < 0.5 * np.abs(y[30:] - np.mean(y[:30])).mean()
