"""The report as a whole, of finished and unfinished studies."""

import html
import os
import shutil

import pytest

from gnnpre import EAD, FingerprintTargets, ForceField, Mixture
from gnnpre.study.report._read_results import read_results
from gnnpre.study.report._report import write_report
from gnnpre.study.report._statistics import improvements
from gnnpre.training import to_spec
from inspection.test_page import check_self_contained
from study.report_folder import (
    DATA,
    all_evaluations,
    evaluation,
    failure_of,
    pretraining,
    write_folder,
)

NASTY = "<script>alert('x')</script> & $a$"


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """Folder and report of a study with nasty names, a failure and a job that waits."""
    records = all_evaluations()
    other = [evaluation("jdft2d", "et", NASTY, seed=s) for s in (111, 112)]
    failed, waiting, *done = [*other, *records, pretraining()]
    folder = write_folder(
        tmp_path_factory.mktemp("run"),
        done,
        jobs=[*other, *records, pretraining()],
        failures=[failure_of(failed)],
        name=NASTY,
        notes=[f"Only 3 % of the frames. {NASTY}"],
    )
    return folder, write_report(folder), waiting


def test_report_is_markdown_and_a_page_beside_the_records(unfinished):
    folder, paths, _ = unfinished
    assert paths == [folder / "report.md", folder / "report.html"]
    assert not list(folder.glob(".report*"))


def test_page_is_self_contained_and_escaped(unfinished):
    _, (_, page), _ = unfinished
    checker = check_self_contained(page.read_text(encoding="utf-8"))
    assert "".join(checker.text).count(NASTY) >= 5


def test_both_forms_have_all_tables_and_the_notes(unfinished):
    _, (markdown, page), _ = unfinished
    text, html = (path.read_text(encoding="utf-8") for path in (markdown, page))
    for title in (
        *("Mean absolute error", "Improvement over scratch, %", "Paired tests against scratch"),
        *("Data sets", "Pre-training", "Failures", "Not run yet", "Provenance"),
    ):
        assert f"\n## {title}\n" in text
        assert f"<h2>{title}</h2>" in html
    assert "Only 3 % of the frames" in text
    assert "Only 3 % of the frames" in html
    assert text.count("<") == text.count("\\<")


def test_page_has_plots_of_every_kind(unfinished):
    _, (_, page), _ = unfinished
    html = page.read_text(encoding="utf-8")
    for label in (
        *("Improvement over scratch in percent", "Loss of the pre-trainings by epoch"),
        *("Validation loss by epoch on phonons", "Predictions against targets on phonons"),
        "Error by element of cgcnn ead on phonons",
    ):
        assert f'aria-label="{label}' in html


def test_missing_and_failed_jobs_are_visible(unfinished):
    _, (markdown, _), waiting = unfinished
    text = markdown.read_text(encoding="utf-8")
    assert "— (1 failed)" in text
    assert "a \\<bad\\> crystal" in text
    assert f"| 1 | {waiting['seed']} |" in text
    assert "et: no strategy can be chosen by validation error yet." in text


def test_chosen_strategy_stands_with_its_average_and_interval(unfinished):
    _, (markdown, _), _ = unfinished
    text = markdown.read_text(encoding="utf-8")
    assert "cgcnn: the strategy with the least validation error is ead." in text
    average = next(line for line in text.splitlines() if line.startswith("| cgcnn ead | +"))
    assert average.split("|")[-2].strip() in text.split("## ")[0]


def test_report_of_the_same_records_is_the_same(unfinished, tmp_path):
    folder, paths, _ = unfinished
    before = [path.read_bytes() for path in paths]
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("report.*"))
    assert [path.read_bytes() for path in write_report(copy)] == before


def test_study_that_has_not_begun_has_a_report(tmp_path):
    jobs = all_evaluations(data=("jdft2d",))
    markdown, page = write_report(write_folder(tmp_path, [], jobs=jobs, data={}))
    assert "— (not run)" in markdown.read_text(encoding="utf-8")
    check_self_contained(page.read_text(encoding="utf-8"))


def test_study_without_a_list_of_jobs_says_so(tmp_path):
    markdown, _ = write_report(write_folder(tmp_path, [], jobs=[], data={}))
    assert "study.json does not list its jobs" in markdown.read_text(encoding="utf-8")


def test_diverged_runs_leave_a_report(tmp_path):
    records = all_evaluations(data=("jdft2d",))
    for record in records:
        if record["strategy"] in ("scratch", "ead"):
            record["predictions"][0], record["metrics"]["mae"] = None, None
    markdown, _ = write_report(write_folder(tmp_path, records))
    assert "diverged" in markdown.read_text(encoding="utf-8")


def test_failed_writing_leaves_the_old_report_and_no_rest(tmp_path, monkeypatch):
    folder = write_folder(tmp_path, [], data={})
    old = [path.read_bytes() for path in write_report(folder)]

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(folder)
    assert [(folder / f"report.{form}").read_bytes() for form in ("md", "html")] == old
    assert not list(folder.glob(".report*"))


def test_missing_matplotlib_is_an_error_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    folder = write_folder(tmp_path, all_evaluations(data=("jdft2d",)))
    with pytest.raises(ImportError, match=r"pip install 'gnnpre\[plot\]'"):
        write_report(folder)
    assert not (folder / "report.md").exists()


def test_objectives_are_written_in_words_and_in_full(tmp_path):
    objective = Mixture(
        [
            (f"{name}{number}", part, 0.5)
            for number in range(4)
            for name, part in (
                ("forces", ForceField(forces=500.0)),
                ("ead", FingerprintTargets(EAD(L=1, rs=(2.0, 3.0)))),
            )
        ]
    )
    record = pretraining(parameters={"objective": to_spec(objective)})
    markdown, page = write_report(write_folder(tmp_path, [record, *all_evaluations()]))
    expected = (
        "Mixture(parts=[('forces0', ForceField(forces=500.0), 0.5), "
        "('ead0', FingerprintTargets(fingerprint=EAD(L=1, rs=(2.0, 3.0))), 0.5), "
    )
    for path in (markdown, page):
        text = html.unescape(path.read_text(encoding="utf-8").replace("\\", ""))
        assert expected in text
        assert "('ead3', FingerprintTargets(" in text
        assert "…" not in text
        assert "params" not in text


def test_one_data_set_is_singular(tmp_path):
    records = all_evaluations(data=["jdft2d"])
    text = write_report(write_folder(tmp_path, records, data={"jdft2d": DATA["jdft2d"]}))[0]
    introduction = text.read_text(encoding="utf-8")
    assert "4 methods (rows) on 1 data set (columns)" in introduction
    assert "1 data sets" not in introduction


@pytest.mark.parametrize("name", ["lone \ud800 surrogate", "nul \x00 letter", "bell \x07"])
def test_letters_that_no_file_can_hold_are_replaced(tmp_path, name):
    records = [*all_evaluations(), evaluation("jdft2d", "cgcnn", name, seed=111)]
    folder = write_folder(tmp_path, records, name=name, notes=[name])
    for path in write_report(folder):
        text = path.read_text(encoding="utf-8")
        assert "\ufffd" in text
        assert not set(text) & {"\ud800", "\x00", "\x07"}


@pytest.mark.parametrize("field", ["fold", "seed", "member"])
def test_text_in_place_of_a_number_is_refused_with_the_file(tmp_path, field):
    record = evaluation("jdft2d", "cgcnn", "scratch", seed=111)
    folder = write_folder(tmp_path, [{**record, field: "one"}])
    with pytest.raises(ValueError, match=rf"{record['key']}.json .*its {field} is 'one'"):
        write_report(folder)


def test_the_unit_of_the_target_changes_no_statistic(tmp_path):
    """Energies in J are 1e-19 times those in eV: no absolute floor may decide anything."""
    reports = []
    for scale in (1.0, 1e-21):
        records = []
        for record in all_evaluations():
            arrays = {n: [x * scale for x in record[n]] for n in ("targets", "predictions")}
            metrics = {n: value * scale for n, value in record["metrics"].items()}
            records.append({**record, **arrays, "metrics": metrics})
        write_report(write_folder(tmp_path / str(scale), records))
        results = read_results(tmp_path / str(scale))
        reports.append(improvements(results))
    for key, one in reports[0].items():
        other = reports[1][key]
        assert (one.p_runs, one.p_crystals) == pytest.approx((other.p_runs, other.p_crystals))
        assert one.percent == pytest.approx(other.percent)
    text = (tmp_path / "1e-21" / "report.md").read_text(encoding="utf-8")
    assert "e-20" in text


def test_a_wrong_error_in_small_units_is_refused(tmp_path):
    record = evaluation("jdft2d", "cgcnn", "scratch", seed=111)
    arrays = {n: [x * 1e-21 for x in record[n]] for n in ("targets", "predictions")}
    metrics = {name: value * 2e-21 for name, value in record["metrics"].items()}
    with pytest.raises(ValueError, match="its metrics say mae"):
        write_report(write_folder(tmp_path, [{**record, **arrays, "metrics": metrics}]))
