"""Units that Parquet files state: others than those that are read are an error."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gnnpre.datasets import make_emt_frames, read_parquet, to_parquet

N = 2


@pytest.fixture
def path(tmp_path):
    """Two frames, with a gap."""
    structures, labels = make_emt_frames(N, random_state=0)
    to_parquet(tmp_path / "emt.parquet", structures, labels, targets={"gap": [1.5, 1.5]})
    return tmp_path / "emt.parquet"


def with_column(path, name, values, metadata=None):
    table = pq.read_table(path)
    field = pa.field(name, pa.array(values).type, metadata=metadata)
    position = table.schema.get_field_index(name)
    table = (
        table.append_column(field, [values])
        if position < 0
        else table.set_column(position, field, [values])
    )
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("name", "unit", "message"),
    [
        (
            "energy_unit",
            "Ry",
            r"Rows 0 to 1 of .*'energy_unit' states 'Ry' for energy; expected eV",
        ),
        ("energy_units", "eV/atom", "states 'eV/atom' for energy"),
        ("stress_unit", "GPa", "states 'GPa' for stress; expected kbar"),
        ("forces_unit", "eV/nm", "states 'eV/nm' for forces"),
        ("position_unit", "bohr", "states 'bohr' for length; expected angstrom"),
        ("stress_unit", "furlong", "'furlong' is not a known unit of stress"),
        ("units", "hartree", "states the unit 'hartree' of no named quantity"),
    ],
)
def test_a_column_of_another_unit(path, name, unit, message):
    with_column(path, name, ["", unit])
    with pytest.raises(ValueError, match=message):
        read_parquet(path)


def test_columns_of_our_units_and_of_other_quantities(path):
    expected = read_parquet(path)[1].energy
    units = {"energy_unit": "eV", "stress_unit": "kB", "units": "ASE", "gap_unit": "Ry"}
    for name, unit in units.items():
        with_column(path, name, [unit, None])
    np.testing.assert_array_equal(read_parquet(path)[1].energy, expected)
    # Where labels are not read, their unit does not matter.
    with_column(path, "energy_unit", ["Ry", "Ry"])
    assert read_parquet(path, "gap")[1].tolist() == [1.5, 1.5]


def test_units_in_metadata(path):
    with_column(path, "energy", [-6.5, -6.0], {"unit": "kcal/mol"})
    with pytest.raises(ValueError, match="metadata of column 'energy' states 'kcal/mol'"):
        read_parquet(path)
    structures, labels = make_emt_frames(2, random_state=0)
    for name, unit, message in (
        ("energy", "Ry", "states 'Ry' for energy"),
        ("stress_tensor", "kbar, positive in tension", "Change its sign"),
    ):
        to_parquet(path, structures, labels)
        table = pq.read_table(path)
        stated = json.loads(table.schema.metadata[b"gnnpre.units"]) | {name: unit}
        table = table.replace_schema_metadata({b"gnnpre.units": json.dumps(stated)})
        pq.write_table(table, path)
        with pytest.raises(ValueError, match=message):
            read_parquet(path)


def test_labels_in_other_letters(path):
    table = pq.read_table(path)
    names = ["Energy" if name == "energy" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), path)
    with pytest.raises(ValueError, match=r"has a column 'Energy'; expected 'energy'"):
        read_parquet(path)
    assert len(read_parquet(path, "Energy")[1]) == N


def test_target_that_is_a_label_has_its_unit_checked(path):
    with_column(path, "energy_unit", ["Hartree"] * N)
    with pytest.raises(ValueError, match=r"column 'energy_unit' states 'Hartree' for energy"):
        read_parquet(path, "energy")
    # The unit of an energy says nothing about another target.
    assert read_parquet(path, "gap")[1].tolist() == [1.5, 1.5]
