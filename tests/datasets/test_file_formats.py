"""Formats are recognised by their first bytes, whatever the name."""

import gzip
import pickle

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from cases import extxyz
from gnnpre.datasets import read_frames

SIX = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) / 100
ASE_ORDER = np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3]]) / 100

VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <kpoints><varray name="kpointlist"><v>0 0 0</v></varray>
  <varray name="weights"><v>1</v></varray></kpoints>
 <atominfo>
  <atoms> 1 </atoms><types> 1 </types>
  <array name="atoms"><set><rc><c>Cu</c><c>1</c></rc></set></array>
 </atominfo>
 <structure name="initialpos"><crystal><varray name="basis">
  <v>2.0 0 0</v><v>0 2.0 0</v><v>0 0 2.0</v></varray></crystal>
  <varray name="positions"><v>0 0 0</v></varray></structure>
 <calculation>
  <scstep><energy><i name="e_fr_energy">-3.5</i><i name="e_wo_entrp">-3.5</i>
   <i name="e_0_energy">-3.5</i></energy></scstep>
  <structure><crystal><varray name="basis">
   <v>2.0 0 0</v><v>0 2.0 0</v><v>0 0 2.0</v></varray></crystal>
   <varray name="positions"><v>0 0 0</v></varray></structure>
  <varray name="forces"><v>0.1 0.2 0.3</v></varray>
  <varray name="stress"><v>16.02 0 0</v><v>0 16.02 0</v><v>0 0 16.02</v></varray>
  <energy><i name="e_fr_energy">-3.5</i><i name="e_wo_entrp">-3.5</i>
   <i name="e_0_energy">-3.5</i></energy>
 </calculation>
</modeling>
"""


@pytest.fixture
def copper():
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0, forces=[[0, 0, 0.5]], stress=SIX)
    return atoms


@pytest.mark.parametrize("name", ["run.traj", "run.dat", "frames.extxyz"])
def test_trajectory_of_ase(tmp_path, copper, name):
    write(tmp_path / name, [copper, copper], format="traj")
    _, labels = read_frames(tmp_path / name, stress_order="vasp")
    np.testing.assert_array_equal(labels.energy, [-3.0, -3.0])
    np.testing.assert_array_equal(labels.forces, [[0, 0, 0.5]] * 2)
    np.testing.assert_allclose(labels.stress[1], ASE_ORDER)  # a calculator's order is ASE's
    assert read_frames(tmp_path / name, index=slice(1, None))[1].shape == (1,)


@pytest.mark.parametrize("name", ["data.db", "data.json"])
def test_database_of_ase_with_its_columns(tmp_path, copper, name):
    with connect(tmp_path / name) as database:
        database.write(copper, material="fcc", gap=0.5)
        database.write(copper, material="other")
    (tmp_path / name).rename(tmp_path / "renamed")
    structures, labels = read_frames(tmp_path / "renamed")
    np.testing.assert_array_equal(labels.energy, [-3.0, -3.0])
    assert labels.groups("material").tolist() == ["fcc", "other"]
    np.testing.assert_array_equal(labels.groups("gap"), [0.5, np.nan])
    assert structures.atomic_numbers.tolist() == [29, 29]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_output_of_vasp(tmp_path, compress):
    path = tmp_path / "calculation"
    path.write_bytes(compress(VASPRUN.encode()))
    structures, labels = read_frames(path)
    assert labels.energy == [-3.5]
    np.testing.assert_array_equal(labels.forces, [[0.1, 0.2, 0.3]])
    np.testing.assert_allclose(labels.stress[0], -0.01 * np.eye(3), rtol=1e-3)
    np.testing.assert_array_equal(structures.cell[0], 2 * np.eye(3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1" + bytes(20), "read_parquet"),
        (bytes(16) + b"\xde\xc0\xef\xbe" + bytes(20), "read_aselmdb"),
        (b"PK\x03\x04" + bytes(20), "read_structures"),
        (b"\x89HDF\r\n", "HDF5"),
        (pickle.dumps([1]), "a pickle, which gnnpre does not read because it can run code"),
        (b"data_Cu\n_cell_length_a 3.6\n", r"a CIF file, which has no labels: .*read_structures"),
        (b"Cu\n1.0\n2 0 0\n0 2 0\n0 0 2\nCu\n1\nDirect\n0 0 0\n", r"POSCAR .*read_structures"),
        (b"1\n1.0\n2 0 0\n0 2 0\n0 0 2\n1\nDirect\n0 0 0\n", r"POSCAR .*read_structures"),
        (b'{"index": [0], "columns": ["structure", "K"], "data": []}', "read_matbench"),
        (b'[{"matpes_id": "x"}]', "read_matpes"),
        (b'{"mp-1": {"a": {"uncorrected_total_energy": 1}}}', "read_mptrj"),
        (b'{"entries": []}', "read_alexandria"),
        (b'{"@module": "pymatgen.core.structure"}', "read_structures"),
        (b"hello\nworld\n", r"no format that is recognised .*b'hello.*read_frames takes format="),
        (b"\x00\x01\x02", "no format that is recognised"),
        (b"\x1f\x8b\x08\x00truncated", "truncated or damaged"),
    ],
)
def test_the_right_reader_is_named(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"file .*{message}"):
        read_frames(path)
    if not content.startswith(b"\x1f\x8b"):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match=rf"file .*{message}"):
            read_frames(path)


def test_folders(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder: .*read_structures"):
        read_frames(tmp_path)


def test_a_format_that_is_stated(tmp_path, write_frames):
    with pytest.raises(ValueError, match="cannot be read with format='traj'"):
        read_frames(write_frames(extxyz("energy=1")), format="traj")
    with pytest.raises(ValueError, match=r"Frame 0 of .* begins with 'hello'.*format="):
        read_frames(write_frames("hello\nworld\n"), format="extxyz")
    with pytest.raises(FileNotFoundError):
        read_frames(tmp_path / "none.traj", format="traj")


def test_damaged_databases_and_trajectories(tmp_path, copper):
    write(tmp_path / "cut.traj", [copper] * 3)
    raw = (tmp_path / "cut.traj").read_bytes()
    (tmp_path / "cut.traj").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match=r"cut.traj cannot be read with format='traj'"):
        read_frames(tmp_path / "cut.traj")
    (tmp_path / "cut.db").write_bytes(b"SQLite format 3\x00" + bytes(100))
    with pytest.raises(ValueError, match=r"cut.db cannot be read with format='db'"):
        read_frames(tmp_path / "cut.db")


def test_missing_values_of_other_kinds(tmp_path):
    import pandas as pd

    from gnnpre.datasets._info_columns import info_column, is_missing

    assert is_missing(pd.NA)
    assert is_missing(np.ma.masked)
    np.testing.assert_array_equal(info_column([1, pd.NA, 3.5]), [1, np.nan, 3.5])
    assert info_column(["a", pd.NA]).tolist() == ["a", None]
