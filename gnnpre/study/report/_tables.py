"""The tables of a report: errors and improvements."""

from collections.abc import Mapping
from typing import NamedTuple

from gnnpre.inspection import MISSING, Entry, Table, number, number_with_spread, percent_interval

from ._record import Method
from ._results import SCRATCH, StudyResults
from ._statistics import Average, Cell, Improvement, Key

__all__ = ["error_table", "improvement_table", "tests_table"]

#: Rows that every table should have, by the first word of their names.
BASELINES = ("mean", "ridge", "forest", "svr", "kernel", "extra_trees", SCRATCH)


class Leaderboard(NamedTuple):
    """Errors of published models on the official folds of a data set with so many rows."""

    n_rows: int
    errors: dict[str, float]


#: Mean MAE of the five official folds, MatBench v0.1.
MATBENCH = {
    "jdft2d": Leaderboard(
        636, {"MODNet": 33.19, "coGN": 37.17, "ALIGNN": 43.42, "CGCNN": 49.24, "dummy": 67.29}
    ),
    "phonons": Leaderboard(
        1265, {"MEGNet": 28.76, "ALIGNN": 29.54, "coGN": 29.71, "CGCNN": 57.76, "dummy": 323.98}
    ),
    "perovskites": Leaderboard(
        18928, {"coGN": 0.0269, "ALIGNN": 0.0288, "CGCNN": 0.0452, "dummy": 0.5660}
    ),
}
MATBENCH_SOURCE = (
    "Rows named “MatBench” are not runs of this study: mean MAE over the five "
    "official folds from the leaderboard of MatBench v0.1 (repository materialsproject/matbench; "
    "A. Dunn et al., npj Comput. Mater. 6, 138 (2020)), as read in November 2026."
)

ALL_SEEN = "“All seen”: the test crystals of so many runs, none of which is unseen."


def error_table(results: StudyResults, cells: Mapping[Key, Cell], crystals: str = "") -> Table:
    """Tabulate mean absolute errors: methods x data sets.

    ``crystals`` names those that results are restricted to, for the title; no leaderboard is of
    them.
    """
    names, methods = results.data_names, results.methods
    best = {data: _best_method(data, methods, cells) for data in names}
    rows = [
        [Entry(str(m)), *(_error_entry(cells[d, m], best=best[d] == m) for d in names)]
        for m in methods
    ]
    leaderboard = [] if crystals else _leaderboard_rows(results)
    notes = [
        f"Mean ± standard deviation of the mean absolute error over {_runs_word(results)}; "
        "bold: the least error among complete cells. “(2 of 3)”: so many of the declared runs "
        "have finished, and the cell compares with no complete one.",
        *([ALL_SEEN] if results.all_seen else []),
        *_absent_baselines(results),
        *([MATBENCH_SOURCE] if leaderboard else []),
    ]
    return Table(f"Mean absolute error{crystals}", _header(results), rows + leaderboard, notes)


def _header(results: StudyResults) -> list[str]:
    units = {name: results.data[name].unit for name in results.data_names if name in results.data}
    return ["", *(f"{d} ({units[d]})" if units.get(d) else d for d in results.data_names)]


def _best_method(data: str, methods: list[Method], cells: Mapping[Key, Cell]) -> Method | None:
    complete = [m for m in methods if cells[data, m].complete]
    return min(complete, key=lambda m: cells[data, m].mean) if complete else None


def _error_entry(cell: Cell, *, best: bool) -> Entry:
    failed = f"{cell.n_failed} failed" if cell.n_failed else ""
    all_seen = f"{cell.n_all_seen} all seen" if cell.n_all_seen else ""
    if cell.n_records == 0:
        reason = ", ".join(filter(None, [all_seen, failed])) or (
            "not run" if cell.n_expected else "not declared"
        )
        return Entry(f"{MISSING} ({reason})", missing=True)
    counts = f"{cell.n_records} of {cell.n_expected}" if cell.n_records < cell.n_expected else ""
    remark = ", ".join(filter(None, [counts, all_seen, failed]))
    text = number_with_spread(cell.mean, cell.std)
    if text == MISSING:
        text = "diverged"
    return Entry(f"{text} ({remark})" if remark else text, best, missing=bool(remark))


def _absent_baselines(results: StudyResults) -> list[str]:
    present = {
        baseline
        for baseline in BASELINES
        for m in results.methods
        if m.strategy.startswith(baseline)
    }
    absent = [baseline for baseline in BASELINES if baseline not in present]
    return [f"Not declared in this study: {', '.join(absent)}."] if absent else []


def _leaderboard_rows(results: StudyResults) -> list[list[Entry]]:
    if results.protocol != "matbench":
        return []
    boards = {
        data: MATBENCH[data].errors
        for data in results.data_names
        if data in MATBENCH and _is_official(results, data)
    }
    models = dict.fromkeys(model for errors in boards.values() for model in errors)
    return [
        [Entry(f"MatBench: {model}"), *(_board_entry(boards, d, model) for d in results.data_names)]
        for model in models
    ]


def _is_official(results: StudyResults, data: str) -> bool:
    """Return whether a data set has MatBench's folds, and all labels of their training crystals."""
    declared = (results.study.get("data") or {}).get(data) or {}
    # A sub-sample has different folds; a file that the study names has a target of its choice.
    is_whole = all(declared.get(name) is None for name in ("sample", "n_labels", "target"))
    n_rows = len(results.data[data].formulas) if data in results.data else 0
    return is_whole and n_rows == MATBENCH[data].n_rows


def _board_entry(boards: Mapping[str, Mapping[str, float]], data: str, model: str) -> Entry:
    value = boards.get(data, {}).get(model)
    return Entry(MISSING) if value is None else Entry(str(value))


def _runs_word(results: StudyResults) -> str:
    return "folds" if results.protocol == "matbench" else "seeds"


def improvement_table(
    results: StudyResults,
    compared: Mapping[Key, Improvement],
    averages: Mapping[Method, Average],
    cells: Mapping[Key, Cell],
    crystals: str = "",
) -> Table:
    """Tabulate improvements over ``scratch`` of the same backbone: methods x data sets."""
    names = results.data_names
    methods = [m for m in results.methods if m.backbone is not None and m.strategy != SCRATCH]
    rows = [
        _with_average(
            m, [_improvement_entry(results, compared, cells, d, m) for d in names], averages.get(m)
        )
        for m in methods
    ]
    notes = [
        "100 (scratch - method) / scratch of the mean absolute errors, in percent; positive is "
        f"better than {SCRATCH}, the same backbone trained from random weights with the same "
        "budget. In brackets the 95 % bootstrap interval: runs are resampled, and within each the "
        "test crystals. The average is unweighted over data sets. “Not comparable”: a run "
        "diverged, or the two share no seed or fold.",
        *_interval_caveats(results),
        *_averages_over_fewer(averages),
    ]
    header = ["", *names, "average"]
    return Table(f"Improvement over scratch{crystals}, %", header, rows, notes)


def _improvement_entry(
    results: StudyResults,
    compared: Mapping[Key, Improvement],
    cells: Mapping[Key, Cell],
    data: str,
    method: Method,
) -> Entry:
    item = compared.get((data, method))
    if item is None:
        return Entry(f"{MISSING} ({_why_not_compared(cells, data, method)})", missing=True)
    expected = cells[data, method].n_expected
    records = min(len(results.of(data, m)) for m in (method, Method(method.backbone, SCRATCH)))
    remark = f" ({records} of {expected})" if records < expected else ""
    text = percent_interval(item.percent, item.low, item.high)
    return Entry(text + remark, missing=bool(remark))


def _why_not_compared(cells: Mapping[Key, Cell], data: str, method: Method) -> str:
    reference = cells.get((data, Method(method.backbone, SCRATCH)))
    if reference is None or not reference.n_records:
        return "all seen" if reference is not None and reference.n_all_seen else "no scratch"
    return "not comparable" if cells[data, method].n_records else "not run"


def _with_average(method: Method, entries: list[Entry], average: Average | None) -> list[Entry]:
    if average is None:
        return [Entry(str(method)), *entries, Entry(MISSING, missing=True)]
    remark = ""
    if average.missing:
        remark = f" (only {len(average.data)} of {len(entries)} sets)"
    elif any(entry.missing for entry in entries):
        remark = " (runs missing)"
    text = percent_interval(average.percent, average.low, average.high)
    return [Entry(str(method)), *entries, Entry(text + remark, missing=bool(remark))]


def _interval_caveats(results: StudyResults) -> list[str]:
    if results.protocol == "matbench":
        return [
            "The five folds share most of their training crystals, so that the intervals are "
            "somewhat narrow."
        ]
    return [
        "With three to five seeds, whose random test parts overlap, a bootstrap interval is too "
        "narrow: take it as a lower bound of the uncertainty."
    ]


def _averages_over_fewer(averages: Mapping[Method, Average]) -> list[str]:
    return [
        f"The average of {method} is over {', '.join(average.data)} only; it lacks "
        f"{', '.join(average.missing)}, and compares with no other average."
        for method, average in averages.items()
        if average.missing
    ]


def tests_table(results: StudyResults, compared: Mapping[Key, Improvement]) -> Table:
    """Tabulate the paired tests of each improvement."""
    rows = [
        [
            Entry(str(method)),
            Entry(data),
            Entry(f"{item.percent:+.1f}"),
            Entry(number(item.p_runs, 2)),
            Entry(str(item.n_runs)),
            Entry(number(item.p_crystals, 2) if item.p_crystals >= 1e-4 else "< 0.0001"),
            Entry(str(item.n_crystals)),
        ]
        for (data, method), item in compared.items()
    ]
    run = _runs_word(results)
    header = ["", "data set", "%", f"p over {run}", run, "p over crystals", "crystals"]
    notes = _smallest_p(compared, run) if rows else ["There is no pair to compare yet."]
    return Table("Paired tests against scratch", header, rows, notes)


def _smallest_p(compared: Mapping[Key, Improvement], run: str) -> list[str]:
    counts = sorted({item.n_runs for item in compared.values()})
    smallest = ", ".join(f"{2.0 ** (1 - n):.4g} with {n}" for n in counts)
    return [
        f"p over {run}: exact sign-flip permutation test, two-sided, of the differences of the "
        f"MAE. The smallest p that it can give is {smallest} {run}: a larger number than 0.05 "
        "there says that there were few runs, not that there is no effect.",
        "p over crystals: Wilcoxon signed-rank test, two-sided, of the absolute errors of each "
        f"test crystal (averaged over the {run} that test it). It says nothing of how the result "
        "varies with the training run.",
        f"{len(compared)} comparisons, p not corrected for their number.",
    ]
