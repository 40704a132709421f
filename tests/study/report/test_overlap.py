"""Results on the crystals that no pre-training has seen."""

import numpy as np
import pytest

from gnnpre.study.report._overlap import overlap_table, without_seen
from gnnpre.study.report._read_results import read_results
from gnnpre.study.report._record import Method
from gnnpre.study.report._report import write_report
from gnnpre.study.report._statistics import cells
from study.report_folder import (
    FORMULAS,
    all_evaluations,
    key_of,
    pretraining,
    write_folder,
    write_json,
)

SEEN = {"forces": range(0, 60), "ead": range(50, 100)}


@pytest.fixture
def folder(tmp_path):
    """Two pre-trainings have seen crystals of phonons, none of jdft2d."""
    trained = [pretraining(name) for name in SEEN]
    records = all_evaluations()
    for record in records:
        if record["strategy"] in SEEN:
            record["pretraining"] = key_of("pretraining", record["strategy"])
    write_folder(tmp_path, [*records, *trained])
    for name, rows in SEEN.items():
        for data, seen in (("phonons", list(rows)), ("jdft2d", [])):
            content = {"data": data, "key": key_of("pretraining", name), "pretraining": name}
            content |= {"n_pretraining": 3330, "seen": seen, "labels": {"energy": seen[:7]}}
            write_json(tmp_path / "leaks" / f"{data}-{name}.json", content)
    return tmp_path


def test_every_row_keeps_the_crystals_that_none_has_seen(folder):
    results = read_results(folder)
    rest = without_seen(results)
    assert list(rest.data_names) == ["phonons"]
    for method in results.methods:
        before, after = results.of("phonons", method), rest.of("phonons", method)
        assert [record.seed for record in after] == [record.seed for record in before]
        for old, new in zip(before, after, strict=True):
            kept = old.test_indices >= 100
            assert 0 < kept.sum() < len(kept)
            np.testing.assert_array_equal(new.test_indices, old.test_indices[kept])
            assert new.mae == pytest.approx(old.errors[kept].mean())
    mean = cells(rest)["phonons", Method("cgcnn", "ead")].mean
    maes = [record.mae for record in rest.of("phonons", Method("cgcnn", "ead"))]
    assert mean == pytest.approx(np.mean(maes))


def test_table_counts_crystals_and_labels(folder):
    table = overlap_table(read_results(folder))
    texts = [[entry.text for entry in row] for row in table.rows]
    assert ["phonons", "forces", "3330", "60 of 120", "energy 7"] in texts
    assert ["jdft2d", "ead", "3330", "0 of 120", "—"] in texts
    assert len(texts) == 4


def test_an_audit_of_a_pretraining_that_is_not_declared_does_not_count(folder):
    write_json(
        folder / "leaks" / "jdft2d-old.json",
        {"data": "jdft2d", "key": "0" * 16, "pretraining": "old", "n_pretraining": 9}
        | {"seen": [0, 1], "labels": {}},
    )
    results = read_results(folder)
    assert list(without_seen(results).data_names) == ["phonons"]
    assert "old" not in overlap_table(results).to_markdown()


def test_without_overlap_there_is_one_table_of_each(folder):
    for path in (folder / "leaks").glob("phonons-*"):
        path.unlink()
    results = read_results(folder)
    assert without_seen(results) is None
    note = "Not audited, as the records are of an earlier version: cgcnn ead on phonons; cgcnn forc"
    assert note in " ".join(overlap_table(results).notes)
    write_report(folder)
    assert "no pre-training has seen" not in (folder / "report.md").read_text()


def test_a_run_whose_test_crystals_are_all_seen_is_missing(folder):
    results = read_results(folder)
    run = results.of("phonons", Method("cgcnn", "ead"))[0]
    content = {"data": "phonons", "key": key_of("pretraining", "ead"), "pretraining": "ead"}
    content |= {"n_pretraining": 1, "seen": run.test_indices.tolist(), "labels": {}}
    write_json(folder / "leaks" / "phonons-ead.json", content)
    cell = cells(without_seen(read_results(folder)))["phonons", Method("cgcnn", "ead")]
    assert (cell.n_records, cell.n_expected) == (2, 3)


def test_tables_say_where_all_test_crystals_are_seen(folder):
    seen = list(range(len(FORMULAS)))
    for name in SEEN:
        content = {"data": "phonons", "key": key_of("pretraining", name), "pretraining": name}
        content |= {"n_pretraining": 1, "seen": seen, "labels": {}}
        write_json(folder / "leaks" / f"phonons-{name}.json", content)
    write_report(folder)
    text = (folder / "report.md").read_text()
    errors, improved = (
        table.split("\n## ")[0] for table in text.split(" on crystals that no ")[1:]
    )
    assert errors.count("— (3 all seen)") == 4
    assert improved.count("— (all seen)") == 2
    assert "not run" not in errors + improved
