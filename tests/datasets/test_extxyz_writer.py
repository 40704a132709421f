"""Extended XYZ that is written: read back exactly, by us and by ASE."""

import gzip

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from gnnpre.datasets import make_emt_frames, read_frames, to_extxyz
from gnnpre.graphs import Crystals, FrameLabels


@pytest.mark.parametrize("name", ["a.extxyz", "a.extxyz.gz"])
def test_round_trip(tmp_path, name):
    structures, labels = make_emt_frames(20, random_state=0)
    crystals = Crystals.from_structures(structures)
    to_extxyz(tmp_path / name, crystals, labels)
    read_crystals, read_labels = read_frames(tmp_path / name)
    for attribute in ("atomic_numbers", "positions", "cell", "pbc", "n_atoms"):
        np.testing.assert_array_equal(
            getattr(read_crystals, attribute), getattr(crystals, attribute)
        )
    np.testing.assert_array_equal(read_labels.energy, labels.energy)
    np.testing.assert_array_equal(read_labels.forces, labels.forces)
    np.testing.assert_allclose(read_labels.stress, labels.stress, rtol=1e-15, atol=1e-18)
    assert read_labels.groups("group").tolist() == labels.groups("group").tolist()
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith("gz")


def test_ase_reads_the_same(tmp_path):
    structures, labels = make_emt_frames(5, random_state=0)
    to_extxyz(tmp_path / "a.extxyz", structures, labels)
    for row, atoms in enumerate(read(tmp_path / "a.extxyz", index=":")):
        # The writer's positions are of fractional coordinates, and so differ in the last digit.
        np.testing.assert_allclose(atoms.positions, structures[row].cart_coords, rtol=1e-13)
        np.testing.assert_array_equal(atoms.cell.array, structures[row].lattice.matrix)
        assert atoms.get_potential_energy() == labels.energy[row]
        np.testing.assert_array_equal(atoms.get_forces(), labels[row].forces)
        np.testing.assert_allclose(atoms.get_stress(voigt=False), labels.stress[row])


def test_columns_of_atoms(tmp_path):
    structures, labels = make_emt_frames(5, random_state=0)
    moments = np.arange(float(labels.n_atoms.sum()))
    moments[0] = moments[-labels.n_atoms[-1] :] = np.nan
    labels.atom_info["magmom"] = moments
    to_extxyz(tmp_path / "a.extxyz", structures, labels)
    read_labels = read_frames(tmp_path / "a.extxyz")[1]
    np.testing.assert_array_equal(read_labels.atom_info["magmom"], moments)
    np.testing.assert_array_equal(read_labels.forces, labels.forces)
    atoms = read(tmp_path / "a.extxyz", index=1)
    atoms.info = {}
    write(tmp_path / "a.traj", atoms)
    read_labels = read_frames(tmp_path / "a.traj")[1]
    expected = labels.per_atom("magmom")[1]
    np.testing.assert_array_equal(next(iter(read_labels.atom_info.values())), expected)


@pytest.mark.parametrize("name", ["forces", "my moment", "a:b"])
def test_names_of_columns_of_atoms(tmp_path, name):
    labels = FrameLabels([1], atom_info={name: [1.0]})
    with pytest.raises(ValueError, match="which no column of this format can be"):
        to_extxyz(tmp_path / "a.extxyz", [bulk("Cu")], labels)


def test_missing_labels_columns_and_odd_text(tmp_path):
    atoms = [bulk("Cu"), Atoms("H2O", np.arange(9.0).reshape(3, 3))]
    texts = ['two words and "quotes"', "back\\slash=1"]
    crystals = Crystals.from_structures(atoms, ids=["a", "b"], info={"note": texts})
    labels = FrameLabels([1, 3], energy=[np.nan, -1.5], info={"flag": [True, False]})
    targets = pd.DataFrame({"K": [1.5, np.nan], "my gap": [0.1, 0.2]})
    to_extxyz(tmp_path / "a.xyz", crystals, labels, targets=targets)
    read_crystals, read_labels = read_frames(tmp_path / "a.xyz")
    np.testing.assert_array_equal(read_crystals.pbc, crystals.pbc)
    np.testing.assert_array_equal(read_labels.energy, [np.nan, -1.5])
    assert np.isnan(read_labels.forces).all()
    assert read_labels.groups("note").tolist() == texts
    assert read_labels.groups("id").tolist() == ["a", "b"]
    assert read_labels.groups("flag").tolist() == [True, False]
    np.testing.assert_array_equal(read_labels.groups("K"), [1.5, np.nan])
    np.testing.assert_array_equal(read_labels.groups("my gap"), [0.1, 0.2])


def test_arguments(tmp_path):
    structures, labels = make_emt_frames(3, random_state=0)
    path = tmp_path / "a.xyz"
    with pytest.raises(ValueError, match="labels are of 2 frames and crystals of 3"):
        to_extxyz(path, structures, labels[:2])
    with pytest.raises(ValueError, match=r"Column 'K' has shape \(2,\)"):
        to_extxyz(path, structures, targets={"K": [1, 2]})
    for name in ("Energy", "energy_unit", "lattice"):
        with pytest.raises(ValueError, match=f"column is named '{name}'"):
            to_extxyz(path, structures, targets={name: [1, 2, 3]})
    with pytest.raises(ValueError, match="text of several lines"):
        to_extxyz(path, structures, targets={"note": ["a\nb", "c", "d"]})
    assert list(tmp_path.iterdir()) == []


def test_real_frames(data_dir, tmp_path):
    source = data_dir / "upstream" / "mpf-alkali-TP.extxyz.gz"
    crystals, labels = read_frames(source)
    to_extxyz(tmp_path / "a.extxyz.gz", crystals, labels)
    read_crystals, read_labels = read_frames(tmp_path / "a.extxyz.gz")
    np.testing.assert_array_equal(read_crystals.positions, crystals.positions)
    np.testing.assert_array_equal(read_labels.forces, labels.forces)
    np.testing.assert_array_equal(read_labels.energy, labels.energy)
    with gzip.open(tmp_path / "a.extxyz.gz", "rt") as stream:
        assert stream.readline().strip() == str(crystals.n_atoms[0])
