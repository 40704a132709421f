"""Columns and keys of many crystals: nothing changes its kind, and nothing is taken for another."""

import numpy as np
import pytest

from gnnpre._join_arrays import join_arrays
from gnnpre.datasets import (
    formula_column,
    make_emt_property,
    read_parquet,
    reduced_formula,
    to_extxyz,
    to_parquet,
    write_crystals,
)
from gnnpre.graphs import Crystals


@pytest.fixture(scope="module")
def crystals():
    return Crystals.from_structures(make_emt_property(4, random_state=0)[0])


def with_info(crystals, **info):
    columns = {name: np.asarray(values) for name, values in info.items()}
    return Crystals.from_structures(crystals.to_structures(), info=columns)


@pytest.mark.parametrize(
    ("arrays", "joined"),
    [
        ([["a"], [np.nan]], ["a", None]),
        ([[True, False], [2, 3]], [True, False, 2, 3]),
        ([[1, 2], [0.5]], [1.0, 2.0, 0.5]),
        ([["a"], ["bcd"]], ["a", "bcd"]),
        ([[], ["a"]], ["a"]),
    ],
)
def test_values_keep_their_kind(arrays, joined):
    result = join_arrays([np.array(values) for values in arrays]).tolist()
    assert result == joined
    assert list(map(type, result)) == list(map(type, joined))


def test_missing_text_of_one_file_stays_missing(crystals, tmp_path):
    to_parquet(tmp_path / "a.parquet", with_info(crystals, xc=["pbe"] * 4))
    to_parquet(tmp_path / "b.parquet", with_info(crystals, xc=[np.nan] * 4))
    read, labels = read_parquet([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert read.info["xc"].tolist() == labels.info["xc"].tolist() == ["pbe"] * 4 + [None] * 4


@pytest.mark.parametrize("write", [to_parquet, to_extxyz])
def test_target_with_the_name_of_another_column(crystals, tmp_path, write):
    old = with_info(crystals, gap=[1.0, 2.0, 3.0, np.nan])
    write(tmp_path / "a", old, targets={"gap": [1.0, 2.0, 3.0, np.nan]})
    with pytest.raises(ValueError, match=r"Column 'gap' is in targets and in .* other values"):
        write(tmp_path / "b", old, targets={"gap": [10.0, 20.0, 30.0, np.nan]})


def test_files_without_ids_are_reported(crystals, tmp_path):
    structures = crystals.to_structures()
    to_parquet(tmp_path / "a.parquet", Crystals.from_structures(structures, ids=list("abcd")))
    to_parquet(tmp_path / "b.parquet", crystals)
    with pytest.warns(UserWarning, match="The id of 4 rows is null"):
        read_parquet([tmp_path / "a.parquet", tmp_path / "b.parquet"])


def test_nothing_to_write(crystals, tmp_path):
    with pytest.raises(ValueError, match="crystals is empty"):
        to_parquet(tmp_path / "a.parquet", crystals[:0])


def test_compositions_are_told_apart(crystals):
    """Sums of random numbers of 12 digits were equal for some pairs of ternaries."""
    rng = np.random.default_rng(1)
    numbers = [
        np.repeat(rng.choice(np.arange(1, 93), 3, False), rng.integers(1, 5, 3)) for _ in "ab"
    ]
    numbers += [np.repeat([68, 4, 41], [1, 1, 4]), np.repeat([39, 72, 42], [4, 1, 1])]
    numbers += [np.repeat([29, 79], [6, 2]), np.repeat([79, 29], [1, 3])]
    counts = [len(each) for each in numbers]
    many = Crystals(
        atomic_numbers=np.concatenate(numbers),
        positions=np.arange(3.0 * sum(counts)).reshape(-1, 3),
        cell=[30 * np.eye(3)] * len(counts),
        n_atoms=counts,
    )
    assert formula_column(many).tolist() == [reduced_formula(each) for each in numbers]


def test_functions_that_bring_other_values_write_another_store(crystals, tmp_path):
    def batch(rows):
        return lambda: crystals[rows]

    write_crystals(tmp_path / "store", [batch([0, 1])])
    write_crystals(tmp_path / "store", [batch([0, 1])])
    with pytest.raises(ValueError, match="holds a store of other batches"):
        write_crystals(tmp_path / "store", [batch([2, 3])])
