"""Predictions of folds, and MatBench's own format."""

import gzip
import json

import numpy as np
import pytest
from sklearn.model_selection import KFold

from gnnpre import CGCNN
from gnnpre.study import DataSet, Network, Strategy, Study, run_study
from gnnpre.study.plan._files import MATBENCH
from study.small_studies import crystals, write_table


def read(path):
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.fixture(scope="module", autouse=True)
def _small_tables():
    """MatBench's tables have 30 rows here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("jdft2d", "phonons"):
            patch.setitem(MATBENCH, name, MATBENCH[name]._replace(n_rows=30))
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    for name in ("jdft2d", "phonons"):
        path = write_table(folder / f"downstream/{name}.json")
        (folder / f"downstream/{name}.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    return folder


@pytest.fixture(scope="module")
def folder(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    data = ["jdft2d", DataSet(name="part", source="phonons", sample=20)]
    study = Study(name="folds", data=data, protocol="matbench", baselines=["mean"])
    run_study(study, folder, data_home=home)
    return folder


def test_predictions_are_those_of_the_official_folds(folder):
    content = read(folder / "jdft2d_mean_predictions.json.gz")
    y = crystals(30)[1]
    folds = list(KFold(5, shuffle=True, random_state=18012019).split(y))
    for number, (train, test) in enumerate(folds):
        assert content["test_indices"][number] == test.tolist()
        np.testing.assert_allclose(content["folds"][number], y[train].mean())
        np.testing.assert_allclose(content["targets"][number], y[test])
    errors = [np.abs(y[test] - y[train].mean()).mean() for train, test in folds]
    np.testing.assert_allclose(content["fold_mae"], errors)
    assert content["mae"] == pytest.approx(np.mean(errors))


def test_submission_has_the_form_of_the_matbench_package(folder):
    content = read(folder / "jdft2d_mean_matbench.json.gz")
    assert (content["@module"], content["@class"]) == ("matbench.bench", "MatbenchBenchmark")
    assert content["benchmark_name"] == "matbench_v0.1"
    task = content["tasks"]["matbench_jdft2d"]
    assert set(task) == {"@module", "@class", "benchmark_name", "dataset_name", "results"}
    assert list(task["results"]) == [f"fold_{number}" for number in range(5)]
    first = task["results"]["fold_0"]
    assert set(first) == {"data", "parameters", "scores"}
    # MatBench counts from 1, with as many digits as the number of rows has.
    indices = read(folder / "jdft2d_mean_predictions.json.gz")["test_indices"][0]
    assert list(first["data"]) == [f"mb-jdft2d-{index + 1:02d}" for index in indices]
    assert set(first["scores"]) == {"mae", "rmse", "mape", "max_error"}


def test_only_whole_official_sets_are_submitted(folder):
    assert (folder / "part_mean_predictions.json.gz").is_file()
    assert not (folder / "part_mean_matbench.json.gz").exists()
    _, note = json.loads((folder / "study.json").read_text())["notes"]
    assert "Folds of part are made as MatBench's, of other rows" in note


def test_row_that_lacks_a_fold_has_no_file(home, tmp_path, monkeypatch):
    study = Study(name="folds", data=["jdft2d"], protocol="matbench", baselines=["mean"])
    done = run_study(study, tmp_path, data_home=home).done
    (tmp_path / "records" / f"{done[2]}.json").unlink()
    monkeypatch.setattr("gnnpre.study.run._runner.evaluate", lambda *_: 1 / 0)
    assert len(run_study(study, tmp_path, data_home=home).failed) == 1
    # Those of all folds before are not those of the records any more.
    assert not list(tmp_path.glob("*.json.gz"))


def test_seeds_have_files_of_their_own(home, tmp_path):
    study = Study(
        name="folds", data=["jdft2d"], protocol="matbench", baselines=["mean"], seeds=[0, 1]
    )
    run_study(study, tmp_path, data_home=home)
    names = {path.name for path in tmp_path.glob("*_predictions.json.gz")}
    assert names == {f"jdft2d_mean_seed{seed}_predictions.json.gz" for seed in (0, 1)}


def test_ours_agrees_with_the_leaderboards_dummy(data_dir, tmp_path, monkeypatch):
    for name, n_rows in (("jdft2d", 636), ("phonons", 1265)):
        monkeypatch.setitem(MATBENCH, name, MATBENCH[name]._replace(n_rows=n_rows))
    study = Study(name="dummy", data=["jdft2d", "phonons"], protocol="matbench", baselines=["mean"])
    run_study(study, tmp_path, data_home=data_dir)
    for name, mae in (("jdft2d", 67.2851), ("phonons", 323.9822)):
        content = read(tmp_path / f"{name}_mean_predictions.json.gz")
        assert content["mae"] == pytest.approx(mae, abs=5e-5)


def test_fewer_labels_are_noted_and_not_submitted(home, tmp_path):
    data = [DataSet(name="jdft2d", n_labels=20)]
    study = Study(name="folds", data=data, protocol="matbench", baselines=["mean"])
    run_study(study, tmp_path, data_home=home)
    assert not (tmp_path / "jdft2d_mean_matbench.json.gz").exists()
    notes = " ".join(json.loads((tmp_path / "study.json").read_text())["notes"])
    assert "jdft2d (20 labels) are MatBench's with fewer crystals to train on" in notes
    assert "of other rows" not in notes


def test_submission_of_an_older_declaration_is_removed(home, tmp_path):
    shape = {"name": "folds", "protocol": "matbench", "baselines": ["mean"]}
    run_study(Study(data=["jdft2d"], **shape), tmp_path, data_home=home)
    assert (tmp_path / "jdft2d_mean_matbench.json.gz").exists()
    fewer = [DataSet(name="jdft2d", n_labels=20)]
    run_study(Study(data=fewer, **shape), tmp_path, data_home=home)
    names = [path.name for path in tmp_path.glob("*.json.gz")]
    assert names == ["jdft2d_mean_predictions.json.gz"]


def test_rows_whose_predictions_would_have_one_file_are_refused(home, tmp_path):
    networks = [Network(name=name, backbone=CGCNN(8, 1)) for name in ("tiny", "tiny_x2")]
    study = Study(
        name="folds",
        data=["jdft2d"],
        protocol="matbench",
        backbones=networks,
        strategies=[
            Strategy(name="scratch"),
            Strategy(name="three", members=3, backbones=["tiny_x2"]),
            Strategy(name="x2_three", members=3, backbones=["tiny"]),
        ],
        baselines=[],
    )
    message = r"'x2_three' of tiny on jdft2d and of 'three' of tiny_x2 on jdft2d would have one"
    with pytest.raises(ValueError, match=message):
        run_study(study, tmp_path, data_home=home)
    assert not list(tmp_path.iterdir())
