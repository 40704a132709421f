"""The report of a study: from the records in its folder to Markdown and a page of HTML."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gnnpre._atomic import write_file
from gnnpre.inspection import (
    MIN_CRYSTALS,
    Plot,
    Section,
    Table,
    counted,
    markdown_text,
    page,
    percent_interval,
)

from . import _costs, _curves, _overlap, _plots, _provenance, _tables
from ._bootstrap import N_RESAMPLES
from ._elements import periodic_plot
from ._read_results import read_results
from ._record import Method
from ._results import SCRATCH, StudyResults
from ._statistics import (
    Average,
    Cell,
    Choice,
    Improvement,
    Key,
    average_improvements,
    cells,
    choose_by_validation,
    improvements,
)

__all__ = ["write_report"]

PROTOCOLS = {
    "papers": (
        "Protocol “papers”: for each seed a random split into 60 % training, 20 % validation and "
        "20 % test crystals; split and initial weights change with the seed."
    ),
    "matbench": (
        "Protocol “matbench”: five folds by KFold(5, shuffle=True, random_state=18012019), each "
        "tested once; validation crystals are taken from the training part of the fold. These are "
        "MatBench's own folds where a table has all of MatBench's rows in its order."
    ),
}


class Findings(NamedTuple):
    """All that the tables and plots of a report are made from."""

    results: StudyResults
    cells: dict[Key, Cell]
    improvements: dict[Key, Improvement]
    averages: dict[Method, Average]
    choices: dict[str, Choice]
    costs: dict[Key, _costs.Cost]
    #: On the crystals that no pre-training has seen; None if all were unseen.
    unseen: "Findings | None" = None


def write_report(folder: str | Path) -> list[Path]:
    """Write tables and plots of a study into its folder, finished or not.

    Nothing but the folder is read. The page is one file that loads nothing; it and the Markdown
    are each replaced as a whole, so that a reader never sees half of one.

    Parameters
    ----------
    folder : path
        Where the study was run.

    Returns
    -------
    list of Path
        ``report.md`` and ``report.html``.

    Raises
    ------
    FileNotFoundError
        If the folder is not one of a study.
    ValueError
        If a record is damaged or foreign, or records of one run have different test crystals; the
        message names the file or the data set.
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    read_results : The records themselves, as a table of pandas too.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from gnnpre.study import write_report
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text = json.dumps({"name": "small", "protocol": "papers"})
    ...     _ = Path(folder, "study.json").write_text(text)
    ...     [path.name for path in write_report(folder)]
    ['report.md', 'report.html']
    """
    # Numbers are computed once; the Markdown and the page both show these.
    results = read_results(folder)
    findings = _analyse(results)
    unseen = _overlap.without_seen(results)
    if unseen is not None:
        findings = findings._replace(unseen=_analyse(unseen))
    texts = {
        "report.md": _markdown(findings),
        "report.html": page(results.name, _page_sections(findings)),
    }
    return [_write(results.folder / name, text) for name, text in texts.items()]


def _analyse(results: StudyResults) -> Findings:
    compared = improvements(results)
    by_cell = cells(results)
    return Findings(
        results,
        by_cell,
        compared,
        average_improvements(results, compared),
        {name: choose_by_validation(results, name) for name in results.backbones},
        _costs.costs(results, by_cell),
    )


def _write(path: Path, text: str) -> Path:
    write_file(path, text)
    return path


def _markdown(findings: Findings) -> str:
    blocks = [f"# {markdown_text(findings.results.name)}\n"]
    sections = [_introduction(findings), *_result_sections(findings)]
    for section in [*sections, *_origin_sections(findings.results)]:
        blocks += [f"{markdown_text(text)}\n" for text in section.paragraphs]
        if section.notes:
            blocks.append("\n".join(f"- {markdown_text(note)}" for note in section.notes) + "\n")
        blocks += [table.to_markdown() for table in section.tables]
    return "\n".join(blocks)


def _page_sections(findings: Findings) -> list[Section]:
    """Return all sections, with the plots between the results and their origin."""
    return [
        _introduction(findings),
        *_result_sections(findings),
        *_plot_sections(findings),
        *_origin_sections(findings.results),
    ]


def _result_sections(findings: Findings) -> list[Section]:
    results = findings.results
    tables = [*_result_tables(findings), _overlap.overlap_table(results)]
    if findings.unseen is not None:
        tables += _result_tables(findings.unseen, " on crystals that no pre-training has seen")
    tables += [
        _tables.tests_table(results, findings.improvements),
        _costs.worth_table(results, findings.costs),
        _costs.cost_table(results, findings.costs),
    ]
    return [_table_section(table) for table in tables]


def _origin_sections(results: StudyResults) -> list[Section]:
    """Return the tables that tell where the results come from."""
    tables = [
        _provenance.data_table(results),
        _provenance.pretraining_table(results),
        _provenance.failure_table(results),
        _provenance.open_jobs_table(results),
        _provenance.provenance_table(results),
    ]
    return [_table_section(table) for table in tables]


def _result_tables(findings: Findings, crystals: str = "") -> list[Table]:
    results, by_cell = findings.results, findings.cells
    compared, averages = findings.improvements, findings.averages
    return [
        _tables.error_table(results, by_cell, crystals),
        _tables.improvement_table(results, compared, averages, by_cell, crystals),
    ]


def _table_section(table: Table) -> Section:
    return Section(table.title, tables=[table])


def _introduction(findings: Findings) -> Section:
    results = findings.results
    backbones = results.backbones
    paragraphs = [
        f"{counted(len(results.methods), 'method')} (rows) on "
        f"{counted(len(results.data_names), 'data set')} (columns), with "
        f"{', '.join(backbones) or 'no network'}. A row is a backbone and a "
        f"strategy, {SCRATCH} being the same network trained from random weights; a row without a "
        "backbone is a model without a network.",
        PROTOCOLS.get(results.protocol, f"Protocol: {results.protocol}."),
        f"Intervals are at 95 %, from {N_RESAMPLES} bootstrap resamples of runs and test crystals. "
        "A cell that lacks runs says so, and records that no table has are named.",
        *(_verdict(findings, backbone) for backbone in backbones),
    ]
    notes = [str(note) for note in results.study.get("notes") or []]
    return Section("", paragraphs, notes=notes)


def _verdict(findings: Findings, backbone: str) -> str:
    # Chosen by validation errors, judged by those of the test crystals.
    method, unranked = findings.choices[backbone]
    average = findings.averages.get(method) if method is not None else None
    if method is None or average is None:
        return f"{backbone}: no strategy can be chosen by validation error yet."
    interval = percent_interval(average.percent, average.low, average.high)
    over = counted(len(average.data), "data set")
    if average.missing:
        over = f"{', '.join(average.data)} only (missing: {', '.join(average.missing)})"
    return (
        f"{backbone}: the strategy with the least validation error is {method.strategy}. Its "
        f"average improvement over {SCRATCH} on the test crystals is {interval} %, over {over}."
        + (f" Without all validation errors: {_strategies(unranked)}." if unranked else "")
    )


def _strategies(methods: Iterable[Method]) -> str:
    return ", ".join(method.strategy for method in methods)


def _plot_sections(findings: Findings) -> list[Section]:
    # Data sets that were declared but have no record yet have no plots.
    names = [name for name in findings.results.data_names if name in findings.results.data]
    by_data = [
        Section(f"Plots: {name}", plots=list(_data_plots(findings, name, f"d{number}")))
        for number, name in enumerate(names)
    ]
    overview = Section("Plots: all data sets", plots=list(_study_plots(findings)))
    return [section for section in (overview, *by_data) if section.plots]


def _study_plots(findings: Findings) -> Iterator[Plot]:
    improvement = _plots.improvement_plot(
        findings.results, findings.improvements, findings.averages, "improvement"
    )
    if improvement is not None:
        yield Plot(improvement, "Improvement over scratch, with 95 % bootstrap intervals.")
    pretraining = _curves.pretraining_plot(findings.results, "pretraining")
    if pretraining is not None:
        caption = "Pre-training: validation loss, and thin the training loss, each over its first."
        yield Plot(pretraining, caption)


def _data_plots(findings: Findings, data: str, prefix: str) -> Iterator[Plot]:
    results = findings.results
    learning = _curves.learning_plot(results, data, f"{prefix}-learning")
    if learning is not None:
        caption = "Validation loss: mean over runs and the range between them, as far as all go."
        yield Plot(learning, caption)
    cost = _costs.cost_plot(results, data, findings.costs, f"{prefix}-cost")
    if cost is not None:
        yield Plot(cost, "Mean absolute error of the test crystals against core-minutes of a run.")
    for number, backbone in enumerate(results.backbones):
        pair = [Method(backbone, SCRATCH), findings.choices[backbone].best]
        methods = [m for m in pair if m is not None and _has_finite_errors(results, data, m)]
        if methods:
            yield from _pair_plots(results, data, methods, f"{prefix}-{number}")


def _has_finite_errors(results: StudyResults, data: str, method: Method) -> bool:
    records = results.of(data, method)
    return bool(records) and all(np.isfinite(record.errors).all() for record in records)


def _pair_plots(
    results: StudyResults, data: str, methods: list[Method], prefix: str
) -> Iterator[Plot]:
    chosen = "; right: the strategy with the least validation error" if len(methods) > 1 else ""
    parity = _plots.parity_plot(results, data, methods, f"{prefix}-parity")
    yield Plot(parity, f"Test crystals of all runs{chosen}.")
    reference = methods[0] if len(methods) > 1 else None
    table = periodic_plot(results, data, (methods[-1], reference), f"{prefix}-elements")
    yield Plot(
        table,
        "Mean absolute error over the test crystals that contain an element. Grey: in fewer than "
        f"{MIN_CRYSTALS} test crystals. Colours end at the 95th percentile.",
    )
