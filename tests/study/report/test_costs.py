"""Error against time of the processor."""

import pytest

from gnnpre.study.report._costs import cost_plot, cost_table, costs, worth_table
from gnnpre.study.report._read_results import read_results
from gnnpre.study.report._record import Method
from gnnpre.study.report._statistics import cells
from study.report_folder import evaluation, write_folder

SECONDS = {"fast": 30.0, "slow": 300.0, "slowest": 3000.0}
#: The test error is not what decides.
SIZES = {"fast": 30.0, "slow": 10.0, "slowest": 20.0}
VALIDATION = {"fast": 30.0, "slow": 20.0, "slowest": 10.0}


def rows(**changes):
    return [
        evaluation(
            "jdft2d",
            "cgcnn",
            name,
            seed=seed,
            size=SIZES[name],
            **{"core_seconds": seconds, "validation": {"mae": VALIDATION[name]}, **changes},
        )
        for name, seconds in SECONDS.items()
        for seed in (111, 112)
    ]


def read(folder, records):
    results = read_results(write_folder(folder, records))
    return results, costs(results, cells(results))


def test_each_budget_buys_the_method_with_the_least_validation_error(tmp_path):
    results, by_cell = read(tmp_path, rows())
    assert by_cell["jdft2d", Method("cgcnn", "slow")].minutes == pytest.approx(5.0)
    (row,) = worth_table(results, by_cell).rows
    names = [entry.text.split("cgcnn ")[1].split(",")[0] for entry in row[1:]]
    assert names == ["fast", "slow", "slowest"]
    mae = by_cell["jdft2d", Method("cgcnn", "slowest")].mae
    assert row[3].text == f"{mae:.2f} (cgcnn slowest, 50)"


def test_a_mean_of_rows_costs_what_its_rows_cost(tmp_path):
    records = rows()
    for seed in (111, 112):
        members = [r["key"] for r in records if r["seed"] == seed and r["strategy"] != "slowest"]
        extra = {"members": members, "core_seconds": 6.0, "role": "ensemble"}
        records.append(evaluation("jdft2d", "cgcnn", "mean2", seed=seed, **extra))
    _, by_cell = read(tmp_path, records)
    assert by_cell["jdft2d", Method("cgcnn", "mean2")].minutes == pytest.approx(5.6)


def test_older_records_have_the_time_on_the_clock_and_their_threads(tmp_path):
    records = rows()
    for record in records:
        del record["core_seconds"]
    _, by_cell = read(tmp_path, records)
    assert by_cell["jdft2d", Method("cgcnn", "fast")].minutes == pytest.approx(60.0)


def test_other_devices_and_unfinished_rows_have_no_cost(tmp_path):
    records = rows(machine={"device": "cuda", "threads": 1})[:2] + rows()[3:]
    results = read_results(write_folder(tmp_path, records, jobs=rows()))
    by_cell = costs(results, cells(results))
    assert list(by_cell) == [("jdft2d", Method("cgcnn", "slowest"))]
    texts = {row[0].text: row[1].text for row in cost_table(results, by_cell).rows}
    assert texts == {"cgcnn fast": "—", "cgcnn slow": "—", "cgcnn slowest": "50"}
    assert cost_plot(results, "jdft2d", by_cell, "c") is None


def test_the_plot_names_methods_and_the_unit(tmp_path):
    results, by_cell = read(tmp_path, rows())
    svg = cost_plot(results, "jdft2d", by_cell, "c")
    for text in ("cgcnn slow", "core-minutes", "meV/atom"):
        assert text in svg
