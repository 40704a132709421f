"""Data sets: found, read, sampled."""

import numpy as np
import pandas as pd
import pytest

from gnnpre import Crystals
from gnnpre.datasets import to_parquet
from gnnpre.study import DataSet
from gnnpre.study.plan._data import load_data, locate_data
from gnnpre.study.plan._files import MATBENCH, find_matbench
from study.small_studies import crystals, write_table


def load(path, **declared):
    return load_data(locate_data(DataSet(name="mine", path=path, **declared), None))


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


def test_data_set_may_be_parquet(tmp_path):
    structures, y = crystals(12)
    info = {"K": y, "G": -y}
    to_parquet(tmp_path / "a.parquet", Crystals.from_structures(structures, info=info))
    data = load(tmp_path / "a.parquet", target="G", unit="GPa")
    assert (data.structures, data.target) == (structures, "G")
    np.testing.assert_array_equal(data.y, -y)


def test_only_column_of_numbers_is_the_target(tmp_path):
    structures, y = crystals(12)
    # The file has a column of formulas, too.
    to_parquet(tmp_path / "a.parquet", Crystals.from_structures(structures, info={"K": y}))
    assert load(tmp_path / "a.parquet").target == "K"


@pytest.mark.parametrize("name", ["a.xlsx", "a.CSV.bz2"])
def test_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=r"expected a file that ends in \.json, .* \.tsv"):
        load(tmp_path / name, target="K")


def test_files_that_a_table_names_decide_the_key(tmp_path):
    structures, y = crystals(4)
    for number, structure in enumerate(structures):
        structure.to(str(tmp_path / f"{number}.cif"))
    table = pd.DataFrame({"file": [f"{number}.cif" for number in range(4)], "K": y})
    table.to_csv(tmp_path / "T.CSV", index=False)
    data = DataSet(name="a", path=tmp_path / "T.CSV", target="K")
    np.testing.assert_array_equal(load_data(locate_data(data, None)).y, y)
    before = locate_data(data, None).parameters["sha256"]
    structures[0].scale_lattice(99.0)
    structures[0].to(str(tmp_path / "3.cif"))
    assert locate_data(data, None).parameters["sha256"] != before


def test_missing_target_is_refused(tmp_path):
    path = write_table(tmp_path / "a.json", 3, K=np.array([1.0, np.nan, 2.0]))
    with pytest.raises(ValueError, match=r"in 1 of 3 rows of .*, the first at row 1"):
        load(path)


def test_what_is_in_the_file_decides_the_key(tmp_path):
    path = tmp_path / "a.json"
    first = locate_data(DataSet(name="a", path=write_table(path, 5, seed=0)), None).parameters
    other = locate_data(DataSet(name="a", path=write_table(path, 5, seed=1)), None).parameters
    assert first["sha256"] != other["sha256"]
    assert str(tmp_path) not in str(first)


def test_matbench_table_is_read_from_the_data_home(data_dir):
    data = load_data(locate_data(DataSet(name="few", source="jdft2d", sample=10), data_dir))
    assert (len(data), data.unit) == (10, "meV/atom")


def test_matbench_table_is_downloaded_where_the_data_home_lacks_it(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        "gnnpre.datasets._matbench_download._download",
        lambda name, folder: fetched.append(name) or write_table(tmp_path / "cache.json", 4),
    )
    assert find_matbench("phonons", tmp_path / "empty") == tmp_path / "cache.json"
    assert find_matbench("phonons", None) == tmp_path / "cache.json"
    assert fetched == ["matbench_phonons"] * 2


@pytest.mark.parametrize("place", ["", "downstream/"])
@pytest.mark.parametrize("name", ["matbench_phonons", "phonons"])
def test_another_table_under_the_name_of_matbench_is_refused(tmp_path, place, name):
    write_table(tmp_path / f"{place}{name}.json.gz", 4)
    with pytest.raises(ValueError, match=r"4 rows; MatBench's phonons has 1265.*set path"):
        load_data(locate_data(DataSet(name="phonons"), tmp_path))


def test_units_are_those_of_matbench():
    assert MATBENCH["phonons"].unit == "1/cm"
    assert set(MATBENCH) == {
        "dielectric", "jdft2d", "log_gvrh", "log_kvrh", "mp_e_form", "mp_gap", "perovskites",
        "phonons",
    }  # fmt: skip


def test_environment_variables_in_paths(tmp_path, monkeypatch):
    write_table(tmp_path / "a.json", 6)
    monkeypatch.setenv("MY_CRYSTALS", str(tmp_path))
    assert len(load("$MY_CRYSTALS/a.json")) == len(load("${MY_CRYSTALS}/a.json")) == 6
    monkeypatch.delenv("MY_CRYSTALS")
    with pytest.raises(ValueError, match="variable MY_CRYSTALS is not set"):
        load("$MY_CRYSTALS/a.json")
