"""Data sets: found, read, sampled."""

import gzip
import re

import numpy as np
import pytest

from gnnpre.study import DataSet
from gnnpre.study.plan._data import find_data, load_data
from gnnpre.study.plan._known_data import KNOWN_DATA
from study.small_studies import crystals, write_table


def load(path, **declared):
    return load_data(find_data(DataSet(name="mine", path=path, **declared), None))


def test_rows_are_in_the_order_of_the_file(tmp_path):
    data = load(write_table(tmp_path / "a.json", 12), unit="GPa")
    np.testing.assert_allclose(data.y, crystals(12)[1])
    assert data.structures == crystals(12)[0]
    assert (data.target, data.unit, data.rows.tolist()) == ("K", "GPa", list(range(12)))


def test_sample_takes_rows_of_the_file_by_its_seed(tmp_path):
    path = write_table(tmp_path / "a.json", 30)
    one, again, other = (load(path, sample=10, sample_seed=seed) for seed in (0, 0, 1))
    assert one.rows.tolist() == again.rows.tolist() != other.rows.tolist()
    assert len(set(one.rows.tolist())) == 10
    np.testing.assert_array_equal(one.y, crystals(30)[1][one.rows])
    assert one.structures == [crystals(30)[0][row] for row in one.rows]
    assert one.summary()["n"] == len(one.summary()["formulas"]) == 10


def test_sample_of_more_than_there_are_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"sample of data set 'mine' is 50.* 30 crystals"):
        load(write_table(tmp_path / "a.json", 30), sample=50)


def test_several_targets_need_a_name(tmp_path):
    path = write_table(tmp_path / "a.json", 4, K=np.ones(4), G=np.arange(4.0))
    with pytest.raises(ValueError, match=r"targets \['K', 'G'\]: name one"):
        load(path)
    assert load(path, target="G").y.tolist() == [0, 1, 2, 3]


def test_missing_target_is_refused(tmp_path):
    path = write_table(tmp_path / "a.json", 3, K=np.array([1.0, np.nan, 2.0]))
    with pytest.raises(ValueError, match="in 1 of 3 rows, the first row 1 "):
        load(path)


def test_what_is_in_the_file_decides_the_key(tmp_path):
    path = tmp_path / "a.json"
    first = find_data(DataSet(name="a", path=write_table(path, 5, seed=0)), None).parameters
    other = find_data(DataSet(name="a", path=write_table(path, 5, seed=1)), None).parameters
    assert first["sha256"] != other["sha256"]
    assert str(tmp_path) not in str(first)


@pytest.mark.parametrize("name", KNOWN_DATA)
def test_known_data_set_has_its_target_in_the_data_folder(data_dir, name):
    found = find_data(DataSet(name=name), data_dir)
    with gzip.open(found.path, "rt") as file:
        columns = re.search(r'"columns":\s*\[(.*?)\]', file.read(600_000)).group(1)
    assert f'"{found.target}"' in columns if found.target else columns.count(",") == 1


def test_known_data_set_is_read(data_dir):
    data = load_data(find_data(DataSet(name="few", source="jdft2d", sample=10), data_dir))
    assert (len(data), data.unit) == (10, "meV/atom")
