"""ASE's LMDB databases: written here as ase-db-backends writes them, and by it where installed."""

import json
import zlib

import lmdb
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from gnnpre.datasets import _aselmdb, make_emt_frames, read_aselmdb, read_frames

SIX = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]  # xx, yy, zz, yz, xz, xy
MATRIX = [[0.01, 0.06, 0.05], [0.06, 0.02, 0.04], [0.05, 0.04, 0.03]]


def array(values, dtype="float64"):
    values = np.asarray(values)
    return {"__ndarray__": [list(values.shape), dtype, values.ravel().tolist()]}


def row(number, **changes):
    content = {
        "numbers": array([11, 17], "int64"),
        "positions": array([[0.0, 0.0, 0.0], [2.5, 2.5, 2.5]]),
        "cell": array(5.0 * np.eye(3)),
        "pbc": array([True, True, True], "bool"),
        "energy": -float(number),
        "forces": array([[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]]),
        "stress": array(SIX),
        "ctime": 24.0,
        "mtime": 24.0,
        "unique_id": f"id{number}",
        "user": "x",
        "key_value_pairs": {"material": f"mp-{number}"},
        "data": {"step": number, "details": array([1.0, 2.0])},
        "calculator": "unknown",
    }
    return {name: value for name, value in (content | changes).items() if value is not ...}


def pack(content):
    return zlib.compress(json.dumps(content).encode())


@pytest.fixture
def write_rows(tmp_path):
    def write(*rows, deleted=None, name="data.aselmdb", extra=None):
        with (
            lmdb.open(str(tmp_path / name), subdir=False, map_size=2**26, lock=False) as file,
            file.begin(write=True) as transaction,
        ):
            for number, content in enumerate(rows, 1):
                if content is not None:
                    value = content if isinstance(content, bytes) else pack(content)
                    transaction.put(b"%d" % number, value)
            transaction.put(b"nextid", pack(len(rows) + 1))
            transaction.put(b"metadata", pack({"format": "x"}))
            if deleted is not None:
                transaction.put(b"deleted_ids", pack(deleted))
        return tmp_path / name

    return write


def test_rows(write_rows):
    crystals, labels = read_aselmdb(write_rows(*[row(i) for i in range(1, 13)]))
    assert crystals.ids.tolist() == [f"id{i}" for i in range(1, 13)]  # not in the order of text
    np.testing.assert_array_equal(labels.energy, -np.arange(1.0, 13.0))
    np.testing.assert_array_equal(labels.stress[3], MATRIX)
    np.testing.assert_array_equal(labels.forces[:2], [[0.1, 0, 0], [-0.1, 0, 0]])
    np.testing.assert_array_equal(crystals.positions[2:4], [[0, 0, 0], [2.5] * 3])
    np.testing.assert_array_equal(crystals.cell[0], 5 * np.eye(3))
    assert crystals.pbc.all()
    assert labels.groups("material")[0] == "mp-1"
    assert labels.groups("step").tolist() == list(range(1, 13))
    assert labels.groups("formula")[0] == "NaCl"
    assert "details" not in labels.info


def test_missing_labels_and_plain_lists(write_rows):
    rows = [
        row(1, energy=..., forces=..., stress=...),
        row(
            2, energy=None, stress=MATRIX, forces=[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], pbc=[1, 1, 0]
        ),
        row(3, numbers=[11, 17], positions=[[0.0] * 3, [1.0] * 3], key_value_pairs={}, data=...),
    ]
    crystals, labels = read_aselmdb(write_rows(*rows))
    np.testing.assert_array_equal(labels.energy, [np.nan, np.nan, -3.0])
    assert np.isnan(labels.forces[:2]).all()
    np.testing.assert_array_equal(labels.forces[2:4], [[1, 2, 3], [4, 5, 6]])
    assert np.isnan(labels.stress[0]).all()
    np.testing.assert_array_equal(labels.stress[1], MATRIX)
    np.testing.assert_array_equal(crystals.pbc[1], [True, True, False])
    assert labels.groups("material").tolist() == ["mp-1", "mp-2", None]
    np.testing.assert_array_equal(labels.groups("step"), [1, 2, np.nan])


def test_a_component_that_is_null_is_missing(write_rows):
    forces = array([[0.1, None, 0.0], [-1, 0.0, 0.0]], "object")
    _, labels = read_aselmdb(write_rows(row(1, forces=forces), row(2)))
    np.testing.assert_array_equal(
        labels.forces, [[0.1, np.nan, 0], [-1, 0, 0], [0.1, 0, 0], [-0.1, 0, 0]]
    )


@pytest.mark.parametrize("deleted", [1.5, "12", [[1]], {"a": 1}, [1, None]])
def test_deleted_ids_of_another_type(write_rows, deleted):
    with pytest.raises(ValueError, match="deleted_ids that are not a list of row numbers"):
        read_aselmdb(write_rows(row(1), row(2), deleted=deleted))


def test_a_row_of_a_huge_number(write_rows):
    path = write_rows(row(1))
    with (
        lmdb.open(str(path), subdir=False, map_size=2**26, lock=False) as file,
        file.begin(write=True) as transaction,
    ):
        transaction.put(b"9" * 15, pack(row(2)))
    # In no time: all numbers below would take petabytes.
    with pytest.raises(ValueError, match="lacks 999999999999997 of its rows"):
        read_aselmdb(path)


def test_deleted_rows_and_index(write_rows):
    rows = [row(1), None, row(3), row(4), None]
    path = write_rows(*rows, deleted=[2, 4, 5])
    crystals, _ = read_aselmdb(path)
    assert crystals.ids.tolist() == ["id1", "id3"]
    assert read_aselmdb(path, index=slice(1, None))[0].ids.tolist() == ["id3"]
    with pytest.raises(TypeError, match="index must be a slice"):
        read_aselmdb(path, index=1)
    with pytest.raises(ValueError, match="lacks 1 of its rows, which are not among the deleted"):
        read_aselmdb(write_rows(row(1), None, row(3), name="lost.aselmdb"))


def test_folders_and_many_blocks(write_rows, tmp_path):
    write_rows(*[row(i) for i in range(1, 600)], name="a.aselmdb")
    write_rows(row(1000), name="b.aselmdb")
    crystals, labels = read_aselmdb(tmp_path)
    np.testing.assert_array_equal(-labels.energy, [*range(1, 600), 1000])
    assert len(crystals) == 600
    assert labels.groups("file")[-1] == str(tmp_path / "b.aselmdb")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zlib", r"Row 2 of .*data.aselmdb is damaged"),
        (zlib.compress(b"{no json"), r"Row 2 of .*data.aselmdb is damaged"),
        (row(2, numbers=...), "Row 2 of .* cannot be read.*numbers"),
        (row(2, positions=array([[0.0, 0.0, 0.0]])), "Row 2 of .* cannot be read"),
        (row(2, positions=array([[0.0, 0.0, None], [0, 0, 0]])), "Row 2 of .* cannot be read"),
        (row(2, forces=array([[0.0, 0.0, 0.0]])), "Row 2 of .* cannot be read"),
        (row(2, stress=array([1.0, 2.0])), "Row 2 of .* cannot be read"),
        (row(2, numbers=array([11, 500], "int64")), "Row 2 of .* cannot be read"),
    ],
)
def test_damaged_rows_are_named(write_rows, content, message):
    with pytest.raises(ValueError, match=message):
        read_aselmdb(write_rows(row(1), content, row(3)))


def test_a_row_that_is_a_decompression_bomb(write_rows, monkeypatch):
    monkeypatch.setattr(_aselmdb, "_LARGEST_VALUE", 2**20)
    monkeypatch.setattr(_aselmdb, "_SAFE_COMPRESSED", 2**10)
    with pytest.raises(ValueError, match=r"Row 2 of .* unpacks to more than 1048576 bytes"):
        read_aselmdb(write_rows(row(1), zlib.compress(b" " * 2**23)))


def test_damaged_files(write_rows, tmp_path):
    path = write_rows(*[row(i) for i in range(1, 300)])
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match=r"data.aselmdb has \d+ bytes where .*truncated"):
        read_aselmdb(path)
    (tmp_path / "text.aselmdb").write_text("no database")
    with pytest.raises(ValueError, match=r"text.aselmdb cannot be read .*not an aselmdb file"):
        read_aselmdb(tmp_path / "text.aselmdb")
    with pytest.raises(ValueError, match="There are no rows in"):
        read_aselmdb(write_rows(name="empty.aselmdb"))
    with pytest.raises(FileNotFoundError):
        read_aselmdb(tmp_path / "none.aselmdb")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"no .aselmdb files in .*folder"):
        read_aselmdb(tmp_path / "folder")


def test_read_frames_names_this_reader(write_rows):
    with pytest.raises(ValueError, match=r"data.aselmdb is an LMDB file .*read_aselmdb"):
        read_frames(write_rows(row(1)))


def test_a_stress_of_the_opposite_sign_is_reported(write_rows):
    structures, labels = make_emt_frames(150, random_state=0)
    rows = []
    for i, structure in enumerate(structures):
        content = row(i, stress=array(-labels.stress[i]), forces=..., energy=...)
        content["numbers"] = array(structure.atomic_numbers, "int64")
        content["positions"] = array(structure.cart_coords)
        content["cell"] = array(structure.lattice.matrix)
        rows.append(content)
    with pytest.warns(UserWarning, match="opposite sign"):
        read_aselmdb(write_rows(*rows))


def test_a_database_of_ase_db_backends(tmp_path):
    pytest.importorskip("ase_db_backends")
    from ase.db import connect

    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-14.0, forces=np.ones((4, 3)), stress=SIX)
    with connect(tmp_path / "x.aselmdb", type="aselmdb") as database:
        for number in range(3):
            database.write(atoms, number=number)
    with connect(tmp_path / "x.aselmdb", type="aselmdb") as database:
        database.delete([2])
    crystals, labels = read_aselmdb(tmp_path / "x.aselmdb")
    assert labels.groups("number").tolist() == [0, 2]
    np.testing.assert_array_equal(labels.stress[0], MATRIX)
    np.testing.assert_array_equal(crystals.positions[:4], atoms.positions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stress": [1.0, 2.0, 3.0]}, r"its stress has shape \(3,\); a stress is 3x3, nine or six"),
        ({"stress": [[0, 1, 0], [0, 0, 0], [0, 0, 0]]}, "its stress is not symmetric"),
        ({"positions": array(np.zeros((3, 2)))}, r"shape \[3, 2\]; expected rows of 3 numbers"),
        ({"numbers": [11.5, 17]}, "11.5 is not an atomic number"),
        ({"pbc": ["False"] * 3}, "pbc has 'False'; expected true and false"),
        ({"energy": True}, "energies has <class 'bool'>; expected numbers"),
        ({"pbc": ...}, "it has no 'pbc'"),
        ({"key_value_pairs": {"energy_unit": "Ry"}}, "'energy_unit' states 'Ry' for energy"),
        ({"data": {"stress_unit": "GPa"}}, r"states 'GPa' for stress; expected eV/angstrom\^3"),
    ],
)
def test_rows_of_other_shapes_and_units_are_named(write_rows, changes, message):
    # Three alike: numbers of three stresses would make a whole one.
    path = write_rows(row(1), *[row(number, **changes) for number in (2, 3, 4)])
    with pytest.raises(ValueError, match=rf"Row 2 of .*data.aselmdb cannot be read: .*{message}"):
        read_aselmdb(path)


def test_a_stress_is_symmetric_but_for_rounding(write_rows):
    rounded = np.array(MATRIX)
    rounded[0, 1] += 2e-3 * np.abs(MATRIX).max()
    _, labels = read_aselmdb(write_rows(row(1), row(2, stress=array(rounded))))
    np.testing.assert_array_equal(labels.stress, labels.stress.transpose(0, 2, 1))
    np.testing.assert_allclose(labels.stress[1], (rounded + rounded.T) / 2)


def test_rows_that_are_lost_at_the_end(write_rows):
    path = write_rows(row(1), row(2), None, None)  # nextid is 5
    with pytest.raises(ValueError, match="lacks 2 of its rows"):
        read_aselmdb(path)
    assert len(read_aselmdb(write_rows(row(1), None, deleted=[2], name="deleted.aselmdb"))[0]) == 1


def test_atomic_numbers_may_be_written_as_floats(write_rows):
    crystals, _ = read_aselmdb(write_rows(row(1, numbers=[11.0, 17.0])))
    assert crystals.atomic_numbers.tolist() == [11, 17]
