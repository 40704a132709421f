"""Parquet with LeMat's columns: round trips, missing and malformed values, real files."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.build import bulk

from gnnpre.datasets import make_emt_frames, read_frames, read_parquet, to_parquet
from gnnpre.datasets._parquet_pieces import iterate_parquet
from gnnpre.exceptions import DataQualityWarning
from gnnpre.graphs import Crystals, FrameLabels

KBAR = 1602.1766208
# Columns and types of LeMat-Bulk, as its data card lists them.
LEMAT_TYPES = {
    "elements": pa.list_(pa.string()),
    "nsites": pa.int32(),
    "lattice_vectors": pa.list_(pa.list_(pa.float64())),
    "immutable_id": pa.string(),
    "cartesian_site_positions": pa.list_(pa.list_(pa.float64())),
    "species": pa.string(),
    "species_at_sites": pa.list_(pa.string()),
    "dimension_types": pa.list_(pa.int8()),
    "last_modified": pa.string(),
    "stress_tensor": pa.list_(pa.list_(pa.float64())),
    "energy": pa.float64(),
    "magnetic_moments": pa.list_(pa.float64()),
    "forces": pa.list_(pa.list_(pa.float64())),
    "dos_ef": pa.float64(),
    "functional": pa.string(),
    "cross_compatibility": pa.bool_(),
    "space_group_it_number": pa.int32(),
}
DIAGONAL = [[16.0, 0.0, 0.0], [0.0, 32.0, 0.0], [0.0, 0.0, 48.0]]


def lemat_row(number=0, **changes):
    row = {
        "elements": ["Cl", "Na"],
        "nsites": 2,
        "lattice_vectors": (5.0 * np.eye(3)).tolist(),
        "immutable_id": f"agm{number}",
        "cartesian_site_positions": [[0.0, 0.0, 0.0], [2.5, 2.5, 2.5]],
        "species": "[]",
        "species_at_sites": ["Na", "Cl"],
        "dimension_types": [1, 1, 1],
        "last_modified": "2024-01-01",
        "stress_tensor": DIAGONAL,
        "energy": -6.5,
        "magnetic_moments": [0.0, 0.0],
        "forces": [[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]],
        "dos_ef": 1.5,
        "functional": "pbe",
        "cross_compatibility": True,
        "space_group_it_number": 221,
    }
    return row | changes


@pytest.fixture
def write_rows(tmp_path):
    def write(*rows, name="lemat.parquet", **options):
        columns = {key: [row.get(key) for row in rows] for key in LEMAT_TYPES if key in rows[0]}
        arrays = {key: pa.array(values, LEMAT_TYPES[key]) for key, values in columns.items()}
        pq.write_table(pa.table(arrays), tmp_path / name, **options)
        return tmp_path / name

    return write


def write_species(path, *rows):
    """Write rows of OPTIMADE, whose species have any names."""
    item = {"name": pa.string(), "chemical_symbols": pa.list_(pa.string())}
    item |= {"concentration": pa.list_(pa.float64()), "mass": pa.list_(pa.float64())}
    types = {**LEMAT_TYPES, "species": pa.list_(pa.struct(item))}
    contents = [lemat_row(species_at_sites=["C", "K1"], species=species) for species in rows]
    columns = {name: pa.array([row[name] for row in contents], types[name]) for name in types}
    pq.write_table(pa.table(columns), path)
    return path


def test_species_say_which_elements_their_names_are(tmp_path):
    named = [
        {"name": "C", "chemical_symbols": ["Co"], "concentration": [1.0]},
        {"name": "K1", "chemical_symbols": ["K"], "concentration": [1.0]},
    ]
    path = write_species(tmp_path / "a.parquet", named, named)
    for targets in (None, "energy"):
        crystals, _ = read_parquet(path, targets)
        assert crystals.atomic_numbers.tolist() == [27, 19, 27, 19]
    alloy = [named[1], {**named[0], "chemical_symbols": ["C", "N"], "concentration": [0.5, 0.5]}]
    path = write_species(tmp_path / "b.parquet", named, alloy)
    with pytest.raises(ValueError, match=r"Row 1 of .*b.parquet: the species 'C' is disordered"):
        read_parquet(path)


def test_a_row_of_lemat(write_rows):
    crystals, labels = read_parquet(write_rows(lemat_row()))
    assert crystals.ids.tolist() == ["agm0"]
    assert crystals.atomic_numbers.tolist() == [11, 17]
    np.testing.assert_array_equal(crystals.positions, [[0, 0, 0], [2.5, 2.5, 2.5]])
    np.testing.assert_array_equal(crystals.cell, [5 * np.eye(3)])
    assert labels.energy.tolist() == [-6.5]
    np.testing.assert_array_equal(labels.forces, [[0.1, 0, 0], [-0.1, 0, 0]])
    # kbar, positive in compression, becomes eV/Å^3, positive in tension.
    np.testing.assert_allclose(labels.stress[0], -np.diag([16.0, 32.0, 48.0]) / KBAR)
    assert labels.groups("functional").tolist() == ["pbe"]
    assert labels.groups("immutable_id").tolist() == ["agm0"]
    assert set(crystals.info) == {
        *("dos_ef", "functional", "cross_compatibility", "space_group_it_number")
    }


def test_missing_and_malformed_labels(write_rows):
    rows = [
        lemat_row(0),
        lemat_row(1, forces=[], stress_tensor=[], energy=None),
        lemat_row(2, forces=None, stress_tensor=None),
        lemat_row(3, forces=[[1.0, 2.0, 3.0]], stress_tensor=[[1.0, 2.0], [3.0, 4.0]]),
        lemat_row(4, forces=[[1.0, 2.0, 3.0], [4.0, None, 6.0]], stress_tensor=[1 * [1.0]] * 9),
        lemat_row(5, forces=[[0.0] * 3] * 2, stress_tensor=[[0.0] * 3] * 3),
    ]
    with pytest.warns(UserWarning, match=r"is not .* in \d rows") as record:
        _, labels = read_parquet(write_rows(*rows))
    messages = sorted(str(item.message) for item in record)
    assert len(messages) == 2
    assert messages[0].startswith("forces is not three numbers per atom in 1 rows")
    assert messages[1].startswith("stress_tensor is not a symmetric 3x3 matrix in 2 rows")
    assert {item.filename for item in record} == {__file__}
    np.testing.assert_array_equal(np.isnan(labels.energy), [False, True] + [False] * 4)
    is_missing = np.isnan(labels.forces).reshape(6, 2, 3)
    np.testing.assert_array_equal(is_missing[:4].all(axis=(1, 2)), [False, True, True, True])
    np.testing.assert_array_equal(labels.forces[8:10], [[1, 2, 3], [4, np.nan, 6]])
    np.testing.assert_array_equal(labels.forces[10:], np.zeros((2, 3)))
    stress_missing = np.isnan(labels.stress).all(axis=(1, 2))
    np.testing.assert_array_equal(stress_missing, [False, True, True, True, True, False])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"species_at_sites": ["Na", "Qq"]}, "Rows 0 to 1 .*'Qq' is not a chemical element"),
        ({"species_at_sites": ["Na"]}, r"Row 1 \(immutable_id agm1\) .*has 1 species_at_sites"),
        ({"species_at_sites": []}, "Row 1 .*has 0 species_at_sites"),
        ({"cartesian_site_positions": [[0.0, 0.0], [1.0, 1.0]]}, "Row 1 .*do not fit"),
        ({"cartesian_site_positions": None}, "Row 1 .*do not fit"),
        ({"cartesian_site_positions": [[0.0, 0.0, None], [0.0] * 3]}, "Rows 0 to 1 .*not finite"),
        ({"lattice_vectors": [[1.0, 0.0, 0.0]] * 2}, "Row 1 .*do not fit"),
        ({"dimension_types": [1, 1]}, "Rows 0 to 1 .*dimension_types should be three"),
    ],
)
def test_rows_without_a_structure_are_named(write_rows, change, message):
    with pytest.raises(ValueError, match=rf"{message}"):
        read_parquet(write_rows(lemat_row(0), lemat_row(1, **change)))


def test_columns_that_a_file_lacks_are_named(write_rows):
    row = lemat_row()
    path = write_rows(row)
    with pytest.raises(ValueError, match=r"lemat.parquet has no column 'K', 'G'; it has \['elem"):
        read_parquet(path, ["K", "G"])
    with pytest.raises(ValueError, match="has no column 'nope'"):
        read_parquet(path, columns=["nope"])
    del row["lattice_vectors"], row["species_at_sites"]
    with pytest.raises(ValueError, match="no column 'species_at_sites', 'lattice_vectors'"):
        read_parquet(write_rows(row))


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("dimension_types", ["111"], "lists of 0 and 1"),
        ("species_at_sites", [[1, 2]], "lists of symbols"),
        ("lattice_vectors", [[1.0, 2.0, 3.0]], "lists of lists of numbers"),
        ("cartesian_site_positions", [None], "lists of lists of numbers"),
        ("energy", ["-3.5 eV"], "numbers"),
        ("energy", [True], "numbers"),
        ("forces", [[["a"] * 3] * 2], "lists of lists of numbers"),
        ("stress_tensor", [{"xx": 1.0}], "lists of lists of numbers"),
    ],
)
def test_columns_of_other_types_are_refused(write_rows, name, values, expected):
    path = write_rows(lemat_row())
    table = pq.read_table(path)
    number = table.column_names.index(name)
    pq.write_table(table.set_column(number, name, pa.array(values)), path)
    with pytest.raises(ValueError, match=f"Column '{name}' of .* expected {expected}"):
        read_parquet(path)


@pytest.mark.parametrize("name", ["energy", "forces", "stress_tensor"])
def test_a_column_of_nulls_holds_no_labels(write_rows, name):
    path = write_rows(lemat_row())
    table = pq.read_table(path)
    number = table.column_names.index(name)
    pq.write_table(table.set_column(number, name, pa.nulls(1)), path)
    _, labels = read_parquet(path)
    values = getattr(labels, name.removesuffix("_tensor"))
    assert np.isnan(values).all()


def test_columns_of_one_name_are_refused(write_rows, tmp_path):
    table = pq.read_table(write_rows(lemat_row()))
    table = table.append_column("energy", table.column("energy"))
    pq.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match="several columns named 'energy'"):
        read_parquet(tmp_path / "twice.parquet")


def test_targets_are_a_table_with_the_ids(write_rows):
    path = write_rows(lemat_row(0), lemat_row(1, dos_ef=None))
    crystals, y = read_parquet(path, "dos_ef", columns=["functional"])
    expected = pd.Series([1.5, np.nan], index=["agm0", "agm1"], name="dos_ef")
    pd.testing.assert_series_equal(y, expected, check_index_type=False)
    assert set(crystals.info) == {"functional"}
    _, table = read_parquet(path, ["dos_ef", "energy"])
    assert list(table.columns) == ["dos_ef", "energy"]


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"row_group_size": 7}])
def test_files_of_several_row_groups_and_encodings(write_rows, tmp_path, options):
    rows = [lemat_row(i, energy=-float(i)) for i in range(40)]
    write_rows(*rows[:30], name="a.parquet", **options)
    write_rows(*rows[30:], name="b.parquet", **options)
    crystals, labels = read_parquet(tmp_path)
    assert crystals.ids.tolist() == [f"agm{i}" for i in range(40)]
    assert labels.energy.tolist() == [-float(i) for i in range(40)]
    pieces = list(iterate_parquet(tmp_path, batch_rows=5))
    assert max(len(piece.crystals) for piece in pieces) == 5


def test_damaged_files(tmp_path, write_rows):
    path = write_rows(*[lemat_row(i) for i in range(50)])
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match=r"lemat.parquet cannot be read after 0 rows"):
        read_parquet(path)
    damaged = bytearray(raw)
    damaged[50:300] = bytes(250)
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match=r"lemat.parquet"):
        read_parquet(path)
    with pytest.raises(FileNotFoundError):
        read_parquet(tmp_path / "none.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no .parquet files in .*empty"):
        read_parquet(tmp_path / "empty")


def test_a_stress_of_the_wrong_sign_or_unit_is_reported(tmp_path):
    structures, labels = make_emt_frames(150, random_state=0)
    crystals = Crystals.from_structures(structures)
    for factor, message in ((-1.0, "opposite sign"), (1602.0, "bulk modulus|eV/Å")):
        scaled = FrameLabels(labels.n_atoms, stress=factor * labels.stress)
        to_parquet(tmp_path / "scaled.parquet", crystals, scaled)
        with pytest.warns(UserWarning, match=message):
            read_parquet(tmp_path / "scaled.parquet")
    to_parquet(tmp_path / "right.parquet", crystals, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_parquet(tmp_path / "right.parquet")


def test_round_trip(tmp_path):
    atoms = [bulk("Cu"), Atoms("H2O", np.arange(9.0).reshape(3, 3)), bulk("NaCl", "rocksalt", 5.6)]
    crystals = Crystals.from_structures(atoms, ids=["a", "b", "c"], info={"gap": [1.0, np.nan, 2]})
    forces = np.arange(18.0).reshape(6, 3)
    forces[1:4] = np.nan
    labels = FrameLabels(
        [1, 3, 2],
        energy=[-1.0, np.nan, -3.0],
        forces=forces,
        stress=[np.eye(3), np.full((3, 3), np.nan), -np.eye(3)],
        info={"run": ["x", None, "z"]},
    )
    to_parquet(tmp_path / "a.parquet", crystals, labels, targets={"K": [1.5, 2.5, np.nan]})
    read_crystals, read_labels = read_parquet(tmp_path / "a.parquet")
    for name in ("atomic_numbers", "positions", "cell", "pbc", "n_atoms", "ids"):
        np.testing.assert_array_equal(getattr(read_crystals, name), getattr(crystals, name))
    np.testing.assert_array_equal(read_labels.energy, labels.energy)
    np.testing.assert_array_equal(read_labels.forces, labels.forces)
    np.testing.assert_allclose(read_labels.stress, labels.stress, rtol=1e-15)
    np.testing.assert_array_equal(read_labels.groups("gap"), [1.0, np.nan, 2.0])
    assert read_labels.groups("run").tolist() == ["x", None, "z"]
    _, y = read_parquet(tmp_path / "a.parquet", "K")
    np.testing.assert_array_equal(y, [1.5, 2.5, np.nan])


def test_written_columns_are_those_of_lemat(tmp_path):
    structures, labels = make_emt_frames(3, random_state=0)
    to_parquet(tmp_path / "a.parquet", structures, labels)
    schema = pq.read_schema(tmp_path / "a.parquet")
    for name in set(schema.names) & set(LEMAT_TYPES):
        assert schema.field(name).type == LEMAT_TYPES[name], name
    table = pq.read_table(tmp_path / "a.parquet").to_pylist()
    for row, structure in zip(table, structures, strict=True):
        assert row["nsites"] == len(structure)
        assert row["elements"] == sorted({site.specie.symbol for site in structure})
        assert row["chemical_formula_reduced"] == structure.composition.reduced_formula
        assert row["species_at_sites"] == [site.specie.symbol for site in structure]
    np.testing.assert_allclose(table[0]["stress_tensor"], -KBAR * labels.stress[0])


def test_arguments_of_the_writer(tmp_path):
    structures, labels = make_emt_frames(3, random_state=0)
    path = tmp_path / "a.parquet"
    with pytest.raises(ValueError, match="labels are of 2 frames and crystals of 3"):
        to_parquet(path, structures, labels[:2])
    with pytest.raises(ValueError, match=r"Column 'K' has shape \(2,\); expected \(3,\)"):
        to_parquet(path, structures, targets={"K": [1, 2]})
    with pytest.raises(ValueError, match="A column is named 'forces'"):
        to_parquet(path, structures, targets={"forces": [1, 2, 3]})
    assert not path.exists()


def test_real_structures(data_dir):
    path = data_dir / "structures" / "mp_155k.parquet"
    crystals, y = read_parquet(path, ["band_gap_eV", "log10_K_VRH_GPa"], columns=[])
    assert len(crystals) == len(y) == 154925
    assert np.isfinite(y["band_gap_eV"]).sum() == 93854
    assert np.isfinite(y["log10_K_VRH_GPa"]).sum() == 10411
    n_sites = pq.read_table(path, columns=["nsites"])["nsites"].to_numpy()
    np.testing.assert_array_equal(crystals.n_atoms, n_sites)
    assert y.index[0] == crystals.ids[0] == "mp-1"
    # An independent reading of some rows.
    rows = pq.ParquetFile(path).read_row_group(3).slice(100, 20).to_pylist()
    start = sum(pq.ParquetFile(path).metadata.row_group(i).num_rows for i in range(3)) + 100
    for row, expected in enumerate(rows, start):
        atoms = slice(crystals.offsets[row], crystals.offsets[row + 1])
        positions = expected["cartesian_site_positions"]
        np.testing.assert_array_equal(crystals.positions[atoms], positions)
        np.testing.assert_array_equal(crystals.cell[row], expected["lattice_vectors"])
        symbols = [site.specie.symbol for site in crystals[row]]
        assert symbols == expected["species_at_sites"]


def test_real_frames_round_trip(data_dir, tmp_path):
    crystals, labels = read_frames(data_dir / "upstream" / "mpf-TP.extxyz.gz")
    to_parquet(tmp_path / "a.parquet", crystals, labels)
    read_crystals, read_labels = read_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(read_crystals.positions, crystals.positions)
    np.testing.assert_array_equal(read_labels.forces, labels.forces)
    np.testing.assert_allclose(read_labels.stress, labels.stress, rtol=1e-14)
    assert read_labels.groups("internal_id").tolist() == labels.groups("internal_id").tolist()


def test_crystals_that_were_read_can_be_written_again(tmp_path):
    structures, labels = make_emt_frames(3, random_state=0)
    to_parquet(tmp_path / "a.parquet", Crystals.from_structures(structures), labels)
    crystals, read_labels = read_parquet(tmp_path / "a.parquet")
    assert "chemical_formula_reduced" in crystals.info
    to_parquet(tmp_path / "b.parquet", crystals, read_labels)
    assert read_parquet(tmp_path / "b.parquet")[0].info.keys() == crystals.info.keys()
    with pytest.raises(ValueError, match="chemical_formula_reduced"):
        to_parquet(tmp_path / "c.parquet", crystals, targets={"chemical_formula_reduced": [0] * 3})


class TestColumnsOfAtoms:
    def test_round_trip(self, tmp_path):
        structures, labels = make_emt_frames(6, random_state=0)
        moments = np.arange(float(labels.n_atoms.sum()))
        moments[: labels.n_atoms[0]] = moments[-1] = np.nan
        labels.atom_info["magmom"] = moments
        to_parquet(tmp_path / "a.parquet", structures, labels)
        read_labels = read_parquet(tmp_path / "a.parquet")[1]
        np.testing.assert_array_equal(read_labels.atom_info["magmom"], moments)
        np.testing.assert_array_equal(read_labels.forces, labels.forces)

    def write(self, tmp_path, moments):
        rows = [lemat_row(number, magnetic_moments=m) for number, m in enumerate(moments)]
        table = pa.Table.from_pylist(rows, schema=pa.schema(list(LEMAT_TYPES.items())))
        pq.write_table(table, tmp_path / "lemat.parquet")
        return tmp_path / "lemat.parquet"

    def test_those_of_other_files_are_read_if_they_are_named(self, tmp_path):
        path = self.write(tmp_path, [[0.5, 1.5], None, [np.inf, 2.0]])
        assert read_parquet(path)[1].atom_info == {}
        _, labels = read_parquet(path, columns=["magnetic_moments", "functional"])
        expected = [0.5, 1.5, np.nan, np.nan, np.nan, 2.0]
        np.testing.assert_array_equal(labels.atom_info["magnetic_moments"], expected)
        assert sorted(labels.info) == ["functional"]

    def test_other_lengths_are_refused_by_row(self, tmp_path):
        path = self.write(tmp_path, [[0.5, 1.5], [0.5]])
        with pytest.raises(ValueError, match=r"'magnetic_moments' has 1 values in its row 1"):
            read_parquet(path, columns=["magnetic_moments"])

    def test_names_of_other_columns_are_refused(self, tmp_path):
        for name in ("forces", "group"):
            structures, labels = make_emt_frames(2, random_state=0)
            labels.atom_info[name] = np.zeros(labels.n_atoms.sum())
            with pytest.raises(ValueError, match=f"atom_info is named '{name}'"):
                to_parquet(tmp_path / "a.parquet", structures, labels)


def test_ids_that_are_null_in_some_rows(write_rows):
    path = write_rows(lemat_row(0), lemat_row(1, immutable_id=None), lemat_row(2), row_group_size=1)
    with pytest.warns(DataQualityWarning, match=r"id of 1 rows is null .*after row 1 of"):
        crystals, _ = read_parquet(path)
    assert crystals.ids is None


def test_pages_that_were_altered(tmp_path):
    structures, labels = make_emt_frames(50, random_state=0)
    path = tmp_path / "frames.parquet"
    to_parquet(path, structures, labels)
    content = bytearray(path.read_bytes())
    group = pq.read_metadata(path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    energy = next(column for column in columns if column.path_in_schema == "energy")
    content[energy.dictionary_page_offset + 60] ^= 1  # one bit of a number, behind a header
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"frames.parquet cannot be read after 0 rows"):
        read_parquet(path)


@pytest.mark.parametrize(
    "column",
    [[None, None, "a", "b"], [1, 2, 2.5, None], [None, None, True, False]],
    ids=["late text", "integers before other numbers", "late truth"],
)
def test_type_of_a_column_is_that_of_all_rows(tmp_path, monkeypatch, column):
    monkeypatch.setattr("gnnpre.datasets._parquet_writer._GROUP_ROWS", 2)
    info = {"column": np.array(column, dtype=object)}
    crystals = Crystals.from_structures(make_emt_frames(4, random_state=0)[0], info=info)
    to_parquet(tmp_path / "a.parquet", crystals)
    read = read_parquet(tmp_path / "a.parquet")[0].info["column"].tolist()
    assert [None if value != value else value for value in read] == column


@pytest.mark.parametrize("column", [[1, 2, "x", None], [True, False, None, 2.0]])
def test_column_of_several_types_is_named(tmp_path, column):
    targets = {"mixed": np.array(column, dtype=object)}
    with pytest.raises(ValueError, match=r"Column 'mixed' holds values of several types"):
        to_parquet(tmp_path / "a.parquet", make_emt_frames(4, random_state=0)[0], targets=targets)
    assert not list(tmp_path.iterdir())
