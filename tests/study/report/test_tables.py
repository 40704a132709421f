"""The tables of a report: what stands in which cell, and that nothing is dropped."""

import json

import pytest

from gnnpre.inspection import Entry, Table, counted, number, number_with_spread
from gnnpre.study.report import _provenance, _tables
from gnnpre.study.report._read_results import read_results
from gnnpre.study.report._statistics import average_improvements, cells, improvements
from study.report_folder import (
    METHODS,
    all_evaluations,
    evaluation,
    failure_of,
    pretraining,
    provenance,
    write_folder,
    write_json,
)


@pytest.fixture
def records():
    return all_evaluations()


def error_rows(tmp_path, records, **study):
    results = read_results(write_folder(tmp_path, records, **study))
    return texts(_tables.error_table(results, cells(results)))


def improvement_of(tmp_path, records, **study):
    results = read_results(write_folder(tmp_path, records, **study))
    found = improvements(results, n_resamples=50)
    averages = average_improvements(results, found)
    return _tables.improvement_table(results, found, averages, cells(results))


def texts(table):
    return {row[0].text: [entry.text for entry in row[1:]] for row in table.rows}


def without(records, data, strategy, n=3):
    chosen = [r for r in records if (r["data"], r["strategy"]) == (data, strategy)][:n]
    return [record for record in records if record not in chosen]


def test_error_table_has_all_methods_and_data_sets(tmp_path, records):
    results = read_results(write_folder(tmp_path, records))
    table = _tables.error_table(results, cells(results))
    assert table.header == ["", "jdft2d (meV/atom)", "phonons (1/cm)"]
    assert list(texts(table)) == ["mean", "cgcnn scratch", "cgcnn ead", "cgcnn forces"]
    assert all("±" in text for row in texts(table).values() for text in row)


def test_best_complete_cell_of_each_data_set_is_bold(tmp_path, records):
    records_left = without(records, "phonons", "ead", n=1)
    results = read_results(write_folder(tmp_path, records_left, jobs=records))
    table = _tables.error_table(results, cells(results))
    best = {(row[0].text, i) for row in table.rows for i, e in enumerate(row) if e.best}
    assert best == {("cgcnn ead", 1), ("cgcnn forces", 2)}
    assert "**" in table.to_markdown()


def test_missing_cells_say_why(tmp_path, records):
    failed = [r for r in records if (r["data"], r["strategy"]) == ("phonons", "forces")]
    left = without(without(records, "phonons", "forces"), "phonons", "ead", n=1)
    left = without(left, "jdft2d", "mean")
    declared = without(records, "phonons", "mean")
    left = without(left, "phonons", "mean")
    failures = [failure_of(record) for record in failed]
    rows = error_rows(tmp_path, left, jobs=declared, failures=failures)
    assert rows["mean"] == ["— (not run)", "— (not declared)"]
    assert rows["cgcnn forces"][1] == "— (3 failed)"
    assert rows["cgcnn ead"][1].endswith("(2 of 3)")


def test_diverged_run_is_called_so(tmp_path, records):
    records[0]["predictions"][0], records[0]["metrics"]["mae"] = None, None
    assert error_rows(tmp_path, records)["mean"][0] == "diverged"


def test_baselines_that_were_not_declared_are_named(tmp_path, records):
    results = read_results(write_folder(tmp_path, records))
    notes = " ".join(_tables.error_table(results, cells(results)).notes)
    assert "Not declared in this study: ridge, forest, svr, kernel, extra_trees." in notes


def test_leaderboard_stands_beside_whole_data_sets_of_matbench_alone(tmp_path):
    rows = METHODS[1:2]
    records = all_evaluations(protocol="matbench", methods=rows)
    whole = {
        "jdft2d": ("e", "meV/atom", ["Si"] * 636),
        "phonons": ("w", "1/cm", ["Si"] * 1264),  # one row short: other folds
    }
    found = error_rows(tmp_path / "a", records, data=whole, protocol="matbench")
    assert found["MatBench: CGCNN"] == ["49.24", "—"]
    assert "MatBench: MEGNet" not in found
    found = error_rows(tmp_path / "b", records, data=whole, protocol="papers")
    assert list(found) == ["cgcnn scratch"]


@pytest.mark.parametrize("declared", [{"n_labels": 200}, {"sample": 636}, {"target": "e"}])
def test_leaderboard_does_not_stand_beside_other_labels_or_files(tmp_path, declared):
    records = all_evaluations(protocol="matbench", methods=METHODS[1:2], data=("jdft2d",))
    whole = {"jdft2d": ("e", "meV/atom", ["Si"] * 636)}
    folder = write_folder(tmp_path, records, data=whole, protocol="matbench")
    study = json.loads((folder / "study.json").read_text())
    for fields in ({}, declared):
        write_json(folder / "study.json", {**study, "data": {"jdft2d": fields}})
        results = read_results(folder)
        rows = texts(_tables.error_table(results, cells(results)))
        assert ("MatBench: CGCNN" in rows) is (not fields)


def test_leaderboard_never_is_the_best(tmp_path):
    records = all_evaluations(protocol="matbench", methods=((None, "mean", "baseline", 500.0),))
    whole = {name: ("e", "u", ["Si"] * n) for name, n in (("jdft2d", 636), ("phonons", 1265))}
    folder = write_folder(tmp_path, records, data=whole, protocol="matbench")
    table = _tables.error_table(read_results(folder), cells(read_results(folder)))
    assert [row[0].text for row in table.rows if row[1].best] == ["mean"]
    assert any("leaderboard of MatBench v0.1" in note for note in table.notes)


def test_improvement_table_has_intervals_and_the_average(tmp_path, records):
    table = improvement_of(tmp_path, records)
    assert table.header == ["", "jdft2d", "phonons", "average"]
    assert list(texts(table)) == ["cgcnn ead", "cgcnn forces"]
    assert all("[" in text for row in texts(table).values() for text in row)


def test_average_over_fewer_data_sets_says_which(tmp_path, records):
    table = improvement_of(tmp_path, without(records, "phonons", "ead"), jobs=records)
    row = texts(table)["cgcnn ead"]
    assert row[1] == "— (not run)"
    assert row[2].endswith("(only 1 of 2 sets)")
    assert any("of cgcnn ead is over jdft2d only; it lacks phonons" in n for n in table.notes)


def test_improvement_without_scratch_or_over_fewer_seeds_says_so(tmp_path, records):
    left = without(without(records, "phonons", "scratch"), "jdft2d", "scratch", n=1)
    rows = texts(improvement_of(tmp_path, left, jobs=records))
    assert rows["cgcnn ead"][1] == "— (no scratch)"
    assert rows["cgcnn ead"][0].endswith("(2 of 3)")


def test_average_over_fewer_runs_says_so(tmp_path, records):
    left = without(records, "phonons", "ead", n=1)
    rows = texts(improvement_of(tmp_path, left, jobs=records))
    assert rows["cgcnn ead"][2].endswith("(runs missing)")
    assert rows["cgcnn forces"][2].endswith("]")


def test_tests_table_says_how_small_p_can_be(tmp_path, records):
    results = read_results(write_folder(tmp_path, records))
    table = _tables.tests_table(results, improvements(results, n_resamples=10))
    assert len(table.rows) == 4
    assert any("0.25 with 3 seeds" in note for note in table.notes)
    assert any("4 comparisons" in note for note in table.notes)


def test_pretraining_table(tmp_path):
    results = read_results(write_folder(tmp_path, [pretraining()]))
    ((name, objective, crystals, epochs, loss, hours, key),) = (
        [entry.text for entry in row] for row in _provenance.pretraining_table(results).rows
    )
    assert (name, crystals, epochs, loss, hours) == ("cgcnn forces", "3330", "10", "0.4000", "2.00")
    assert "ForceField" in objective
    assert key == pretraining()["key"]


def test_failures_and_open_jobs_are_listed(tmp_path, records):
    failed, *waiting = records[:3]
    results = read_results(
        write_folder(tmp_path, records[3:], jobs=records, failures=[failure_of(failed)])
    )
    ((job, error, _, file),) = (
        [entry.text for entry in row] for row in _provenance.failure_table(results).rows
    )
    assert job == f"evaluation jdft2d mean seed {failed['seed']}"
    assert error == "ValueError: a <bad> crystal"
    assert file == f"failures/{failed['key']}.json"
    table = _provenance.open_jobs_table(results)
    assert [entry.text for entry in table.rows[0]] == [
        *("evaluation", "jdft2d", "mean", "2"),
        ", ".join(str(record["seed"]) for record in waiting),
    ]
    assert "Of 24 declared jobs 21 finished, 1 failed, 2 not started." in table.notes


def test_records_of_no_declared_job_are_named(tmp_path, records):
    results = read_results(write_folder(tmp_path, records, jobs=records[1:]))
    (_, note) = _provenance.open_jobs_table(results).notes
    assert records[0]["key"] in note


def test_provenance_adds_up_core_hours_and_counts_versions(tmp_path, records):
    records[0]["commit"] = "fedcba9-dirty"
    records[1]["machine"] = {**provenance()["machine"], "device": "cuda"}
    records[2]["finished"] = "2026-11-20T01:00:00+00:00"
    rows = texts(_provenance.provenance_table(read_results(write_folder(tmp_path, records))))
    assert rows["commit"] == ["0123abc (23 records); fedcba9-dirty (1 record)"]
    # 23 jobs of half an hour on two threads, and one on the other device.
    assert rows["time"] == ["23.0 core-hours (seconds × threads), 0.500 hours on cuda"]
    assert rows["finished"] == ["2026-11-20T01:00:00+00:00 to 2026-11-21T10:33:00+00:00"]


def test_study_without_records_has_tables_too(tmp_path):
    results = read_results(write_folder(tmp_path, [], data={}))
    tables = [
        _tables.error_table(results, cells(results)),
        _tables.tests_table(results, {}),
        *(
            getattr(_provenance, name)(results)
            for name in _provenance.__all__  # every table there is
        ),
    ]
    assert all(table.to_markdown() for table in tables)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0437123, "0.04371"),
        (47.619, "47.62"),
        (323.98, "324.0"),
        (12345.6, "12346"),
        (0.0, "0.000"),
        (-2.0, "-2.000"),
        (float("nan"), "—"),
        (None, "—"),
    ],
)
def test_numbers_have_four_significant_digits(value, text):
    assert number(value) == text


def test_spread_has_the_decimals_of_the_mean():
    assert number_with_spread(47.619, 3.0) == "47.62 ± 3.00"
    assert number_with_spread(0.0437123, 0.00123) == "0.04371 ± 0.00123"


def test_markdown_escapes_what_would_be_markup():
    row = [Entry("a|b<c>_d*"), Entry("x\ny", best=True)]
    lines = Table("T", ["", "n"], [row], ["`note`"]).to_markdown().splitlines()
    assert r"| a\|b\<c\>\_d\* | **x y** |" in lines
    assert r"- \`note\`" in lines


def test_ensemble_is_a_row_compared_with_scratch(tmp_path, records):
    records += [
        evaluation(r["data"], "cgcnn", "ead x5", seed=r["seed"], role="ensemble", size=20.0)
        for r in records
        if r["strategy"] == "ead"
    ]
    rows = texts(improvement_of(tmp_path, records))
    assert list(rows) == ["cgcnn ead", "cgcnn forces", "cgcnn ead x5"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.602e-19, "1.602e-19"),
        (-3.2e-7, "-3.200e-07"),
        (4.2e12, "4.200e+12"),
        (0.00123, "0.001230"),
        (0.0, "0.000"),
    ],
)
def test_numbers_of_any_size_keep_their_digits(value, text):
    assert number(value) == text


def test_spread_has_the_exponent_of_the_mean():
    assert number_with_spread(1.6e-19, 2e-21) == "(1.600 ± 0.020)e-19"


def test_nouns_follow_their_number():
    assert [counted(n, "data set") for n in (0, 1, 2)] == [
        "0 data sets",
        "1 data set",
        "2 data sets",
    ]
