"""Columns of all types that users have, through every file that gnnpre writes."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase.io import read

from gnnpre.datasets import (
    make_emt_frames,
    read_frames,
    read_parquet,
    to_extxyz,
    to_parquet,
    write_crystals,
)
from gnnpre.exceptions import DataQualityWarning
from gnnpre.graphs import Crystals, FrameLabels

COLUMNS = {
    "nullable text": (pd.Series(["a", pd.NA, "c"], dtype="string"), ["a", None, "c"]),
    "Arrow's text": (pd.Series(["a", None, "c"], dtype="string[pyarrow]"), ["a", None, "c"]),
    "NumPy's text": (np.array(["a", "b", "c"], dtype=np.dtypes.StringDType()), ["a", "b", "c"]),
    "NumPy's text with gaps": (
        np.array(["a", None, "c"], dtype=np.dtypes.StringDType(na_object=None)),
        ["a", None, "c"],
    ),
    "nullable booleans": (pd.Series([True, None, False], dtype="boolean"), [True, None, False]),
    "nullable integers": (pd.Series([1, None, 3], dtype="Int64"), [1, None, 3]),
    "large integers": (np.array([2**60 + 1, 3, 4]), [2**60 + 1, 3, 4]),
    "large nullable integers": (
        pd.Series([2**60 + 1, None, 3], dtype="Int64"),
        [2**60 + 1, None, 3],
    ),
    "big-endian numbers": (np.array([1.5, 2.5, 3.5], dtype=">f8"), [1.5, 2.5, 3.5]),
    "long doubles": (np.array([1.5, 2.5, 3.5], dtype=np.longdouble), [1.5, 2.5, 3.5]),
    "categories": (pd.Series(["a", "b", None], dtype="category"), ["a", "b", None]),
}


def parquet(path, crystals, labels, column):
    to_parquet(path, crystals, labels, targets={"t": column})
    return read_parquet(path, ["t"])[1]["t"]


def extxyz(path, crystals, labels, column):
    to_extxyz(path, crystals, labels, targets={"t": column})
    return read_frames(path, format="extxyz")[1].info["t"]


def label_file(path, crystals, labels, column):
    FrameLabels(labels.n_atoms, info={"t": column}).save(path)
    return FrameLabels.load(path).info["t"]


@pytest.mark.parametrize("write_and_read", [parquet, extxyz, label_file])
@pytest.mark.parametrize("name", list(COLUMNS))
def test_values_come_back(tmp_path, name, write_and_read):
    structures, labels = make_emt_frames(3, random_state=0)
    column, expected = COLUMNS[name]
    values = write_and_read(tmp_path / "file", Crystals.from_structures(structures), labels, column)
    assert [None if pd.isna(value) else value for value in values] == expected


@pytest.mark.parametrize(
    "text",
    ["007", "NaN", "InF", "T", "false", "1e5", "1 2", "_JSON x", '_JSON "x"', "", " a ", "é"],
)
def test_text_of_extended_xyz_stays_text(tmp_path, text):
    structures, labels = make_emt_frames(2, random_state=0)
    crystals = Crystals.from_structures(structures, ids=[text, "b"])
    path = tmp_path / "a.extxyz"
    to_extxyz(path, crystals, labels, targets={"t": [text, "b"]})
    assert read_frames(path)[1].info["t"].tolist() == [text, "b"]
    assert [atoms.info["t"] for atoms in read(path, ":")] == [text, "b"]
    assert [atoms.info["id"] for atoms in read(path, ":")] == [text, "b"]


def test_integers_of_atoms_in_extended_xyz(tmp_path):
    path = tmp_path / "a.extxyz"
    path.write_text(
        '2\nProperties=species:S:1:pos:R:3:Z:I:1:oxidation:I:1 Lattice="4 0 0 0 4 0 0 0 4" '
        "energy=-1.0\nNa 0 0 0 11 1\nCl 2 2 2 17 -1\n"
    )
    labels = read_frames(path)[1]
    assert list(labels.atom_info) == ["oxidation"]
    assert labels.per_atom("oxidation")[0].tolist() == [1, -1]


@pytest.mark.parametrize("item", [pa.int8(), pa.int64(), pa.float32()])
def test_numbers_of_atoms_in_parquet(tmp_path, item):
    structures, labels = make_emt_frames(3, random_state=0)
    path = tmp_path / "a.parquet"
    to_parquet(path, structures, labels)
    table = pq.read_table(path)
    charges = [list(range(n)) for n in labels.n_atoms.tolist()]
    pq.write_table(table.append_column("charge", pa.array(charges, pa.list_(item))), path)
    read_labels = read_parquet(path, columns=["charge"])[1]
    assert [values.tolist() for values in read_labels.per_atom("charge")] == charges


def test_stress_that_is_not_symmetric(tmp_path):
    structures, labels = make_emt_frames(3, random_state=0)
    path = tmp_path / "a.parquet"
    to_parquet(path, structures, labels)
    table = pq.read_table(path)
    stresses = table["stress_tensor"].to_pylist()
    stresses[1][0][1] += 1000.0  # kbar
    place = table.schema.get_field_index("stress_tensor")
    column = pa.array(stresses, table.schema.field(place).type)
    pq.write_table(table.set_column(place, "stress_tensor", column), path)
    with pytest.warns(DataQualityWarning, match="not a symmetric 3x3 matrix in 1 rows"):
        stress = read_parquet(path)[1].stress
    np.testing.assert_allclose(stress[[0, 2]], labels.stress[[0, 2]], rtol=1e-12)
    assert np.isnan(stress[1]).all()


@pytest.mark.parametrize("write", [to_parquet, to_extxyz])
def test_targets_in_another_order(tmp_path, write):
    structures, _ = make_emt_frames(3, random_state=0)
    table = pd.DataFrame({"structure": structures, "t": [1.0, 2.0, 3.0]}, index=["a", "b", "c"])
    path = tmp_path / "x.extxyz"
    for crystals in (table["structure"], Crystals.from_structures(table["structure"])):
        with pytest.warns(DataQualityWarning, match="targets has the index of X in another order"):
            write(path, crystals, targets=table["t"].sort_index(ascending=False))
    with pytest.warns(DataQualityWarning, match="targets has the index of X in another order"):
        write_crystals(tmp_path / "store", [(crystals, table[["t"]].iloc[::-1])])


def test_targets_that_are_tables_without_an_index(tmp_path):
    class Table(dict):
        """A table of polars: iterating it yields columns, not names."""

        columns = ("t",)

        def __iter__(self):
            return iter(self.values())

    structures, _ = make_emt_frames(3, random_state=0)
    to_parquet(tmp_path / "x", structures, targets=Table(t=[1.0, 2.0, 3.0]))
    assert read_parquet(tmp_path / "x", "t")[1].tolist() == [1, 2, 3]
