"""Reading the folder of a study: what it holds, and files that cannot be right."""

import json

import numpy as np
import pytest

from gnnpre.study.report._read_results import read_results
from gnnpre.study.report._record import Method
from gnnpre.study.report._report import write_report
from study.report_folder import (
    DATA,
    all_evaluations,
    evaluation,
    failure_of,
    job_of,
    pretraining,
    write_folder,
    write_json,
)

KEY = all_evaluations()[0]["key"]


@pytest.fixture
def folder(tmp_path):
    records = [*all_evaluations(), pretraining()]
    return write_folder(tmp_path / "run", records)


def change(folder, changes):
    path = folder / "records" / f"{KEY}.json"
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})
    return path


def test_reads_records_data_and_failures(tmp_path):
    done = [*all_evaluations(), pretraining()]
    failed = evaluation("jdft2d", "cgcnn", "forces", seed=114)
    jobs = [*done, failed]
    results = read_results(
        write_folder(tmp_path, done, jobs=jobs, failures=[failure_of(failed)], protocol="papers")
    )
    assert len(results.evaluations) == len(done) - 1
    assert [record.method for record in results.pretrainings] == [("cgcnn", "forces")]
    assert [failure.key for failure in results.failures] == [failed["key"]]
    assert results.data_names == list(DATA)
    assert results.data["jdft2d"].unit == "meV/atom"


def test_rows_without_backbone_come_first_and_ensembles_last(tmp_path):
    records = [
        evaluation("jdft2d", "cgcnn", "ead x5", seed=1, role="ensemble"),
        evaluation("jdft2d", "cgcnn", "ead", seed=1),
        evaluation("jdft2d", "cgcnn", "scratch", seed=1, role="scratch"),
        evaluation("jdft2d", "cgcnn", "kernel_head", seed=1, role="kernel"),
        evaluation("jdft2d", None, "mean", seed=1, role="baseline"),
    ]
    methods = read_results(write_folder(tmp_path, records)).methods
    assert [m.strategy for m in methods] == ["mean", "kernel_head", "scratch", "ead", "ead x5"]


def test_rows_are_in_the_order_of_the_numbers_in_their_names(tmp_path):
    names = ["epoch_100", "epoch_12", "epoch", "from_5_kernel", "epoch_3", "from_40_kernel"]
    records = [evaluation("jdft2d", "cgcnn", name, seed=1) for name in names]
    methods = read_results(write_folder(tmp_path, records)).methods
    assert [m.strategy for m in methods] == [
        *("epoch", "epoch_3", "epoch_12", "epoch_100", "from_5_kernel", "from_40_kernel"),
    ]


def test_table_has_a_row_a_record_with_its_numbers(folder):
    frame = read_results(folder).to_frame()
    records = {r["key"]: r for r in all_evaluations()}
    assert set(frame["key"]) == set(records)
    for row in frame.itertuples():
        assert row.mae == records[row.key]["metrics"]["mae"]
        assert (row.seed, row.strategy) == (records[row.key]["seed"], records[row.key]["strategy"])


def test_members_of_an_ensemble_are_no_rows_of_their_own(tmp_path):
    members = [evaluation("jdft2d", "cgcnn", "ead", seed=s, key=f"m{s}", member=s) for s in (1, 2)]
    whole = evaluation("jdft2d", "cgcnn", "ead", seed=1, role="ensemble")
    results = read_results(write_folder(tmp_path, [*members, whole]))
    assert [record.key for record in results.evaluations] == [whole["key"]]
    assert len(results.to_frame()) == 3


def test_null_is_nan(tmp_path):
    record = evaluation("jdft2d", "cgcnn", "ead", seed=1)
    record["predictions"][3] = None
    record["metrics"]["mae"] = None
    (read,) = read_results(write_folder(tmp_path, [record])).evaluations
    assert np.isnan(read.mae)
    assert np.isnan(read.predictions[3])


def test_records_of_no_declared_job_are_strays(tmp_path):
    old, new = (evaluation("jdft2d", "cgcnn", "ead", seed=1, key=key) for key in ("old", "new"))
    results = read_results(write_folder(tmp_path, [old, new], jobs=[new]))
    assert [record.key for record in results.evaluations] == ["new"]
    assert [record.key for record in results.strays] == ["old"]


def test_two_records_of_one_run_are_refused(tmp_path):
    twice = [evaluation("jdft2d", "cgcnn", "ead", seed=1, key=key) for key in ("a", "b")]
    folder = write_folder(tmp_path, twice)
    with pytest.raises(ValueError, match=r"two records of cgcnn ead on jdft2d.*a\.json and b\.j"):
        read_results(folder)


def test_files_that_are_just_written_are_left_alone(folder):
    (folder / "records" / ".abc.json").write_text("{", encoding="utf-8")
    (folder / "records" / "abc.json.partial-12").write_text("{", encoding="utf-8")
    assert len(read_results(folder).records) == len(all_evaluations()) + 1


def test_folder_without_study_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no study\.json.*Run the study first"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema is 2, expected 1"),
        ({"kind": "meal"}, "kind is 'meal'"),
        ({"key": "other"}, "not the name of the file"),
        ({"predictions": [1.0]}, "and 1 predictions"),
        ({"test_indices": [], "targets": [], "predictions": []}, "one at least"),
        ({"metrics": {"mae": 0.1}}, "metrics say mae = 0.1"),
        ({"seed": None}, "seed and its fold are both null"),
        ({"metrics": 3}, "cannot be read"),
        ({"history": 3}, "cannot be read"),
    ],
)
def test_damaged_record_is_an_error_that_names_the_file(folder, changes, message):
    path = change(folder, changes)
    with pytest.raises(ValueError, match=message) as raised:
        read_results(folder)
    assert str(path) in str(raised.value)


def test_error_that_is_not_that_of_the_predictions_is_refused(folder):
    path = folder / "records" / f"{KEY}.json"
    mae = json.loads(path.read_text(encoding="utf-8"))["metrics"]["mae"]
    change(folder, {"metrics": {"mae": mae * 1.0001}})  # rounding
    read_results(folder)
    change(folder, {"metrics": {"mae": mae * 1.01}})
    with pytest.raises(ValueError, match="its predictions"):
        read_results(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00", '{"schema": 1}'])
@pytest.mark.parametrize("place", ["records", "failures", "data"])
def test_foreign_file_is_an_error_that_names_the_file(folder, place, text):
    path = folder / place / "foreign.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="damaged or of another program") as raised:
        read_results(folder)
    assert str(path) in str(raised.value)


def test_lacking_field_is_named(folder):
    path = folder / "records" / f"{KEY}.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    del raw["targets"], raw["role"]
    write_json(path, raw)
    with pytest.raises(ValueError, match="it lacks role, targets"):
        read_results(folder)


def test_indices_beyond_the_data_are_refused(folder):
    (folder / "data" / "jdft2d.json").write_text(
        json.dumps({"name": "jdft2d", "target": "e", "unit": "eV", "formulas": ["Si"]}),
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match="'jdft2d' has 1 rows"):
        read_results(folder)


def test_record_of_unknown_data_is_refused(folder):
    (folder / "data" / "phonons.json").unlink()
    with pytest.raises(FileNotFoundError, match="'phonons', which has no file in"):
        read_results(folder)


def test_declared_jobs_without_records_still_name_rows(tmp_path):
    jobs = [evaluation("jdft2d", "cgcnn", "ead", seed=1)]
    results = read_results(write_folder(tmp_path, [], jobs=jobs))
    assert results.methods == [Method("cgcnn", "ead")]
    assert job_of(jobs[0]) == results.jobs[0]


def test_records_of_an_older_declaration_are_no_rows_of_the_table(tmp_path):
    old, new = (evaluation("jdft2d", "cgcnn", "ead", seed=1, key=key) for key in ("old", "new"))
    frame = read_results(write_folder(tmp_path, [old, new], jobs=[new])).to_frame()
    assert frame["key"].tolist() == ["new"]


def test_data_sets_that_are_not_declared_any_more_are_in_no_table(tmp_path):
    records = all_evaluations()
    declared = [record for record in records if record["data"] == "phonons"]
    folder = write_folder(tmp_path, records, jobs=declared)
    assert read_results(folder).data_names == ["phonons"]
    write_report(folder)
    tables = (folder / "report.md").read_text().split("## Not run yet")[0]
    assert "jdft2d" not in tables
    assert "only 1 of 2 sets" not in tables
