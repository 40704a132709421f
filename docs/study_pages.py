"""Pages of results, made from the reports beside the records.

No number is typed by hand: ``docs/conf.py`` writes the pages at each build.
"""

from collections.abc import Iterator
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
ADDRESS = "https://github.com/gnnpre/gnnpre/tree/main/benchmarks/results"
#: Sections of a report that the page shows, by the beginning of their titles.
SHOWN = (
    "Mean absolute error",
    "Improvement over scratch",
    "Crystals that pre-training has seen",
    "What a user gets",
    "Core-minutes",
    "Failures",
    "Not run yet",
    "Provenance",
)
INTRODUCTION = """# Results of studies

Errors and gains of the studies in `benchmarks/studies`, as their reports have them. Each folder has
the whole report, with plots and tests, and the records that it was made from; studies by MatBench's
protocol have the predictions of each fold as well. This page is generated from the reports.
"""


def gain_page() -> str:
    """Return the page of gains of the model in the package, with its plot."""
    report = (RESULTS / "pretrained_gain.md").read_text(encoding="utf-8")
    plot = "![Errors over processor time](../benchmarks/results/cost.png)\n"
    return report.replace(
        "## What a user gets for the time\n", f"## What a user gets for the time\n\n{plot}", 1
    )


def study_page() -> str:
    """Return the page of all studies that have a report."""
    reports = sorted(RESULTS.glob("*/report.md"))
    return "\n".join([INTRODUCTION, *(_study(path) for path in reports)])


def _study(path: Path) -> str:
    title, *sections = path.read_text(encoding="utf-8").split("\n## ")
    heading = title.splitlines()[0].removeprefix("# ")
    link = f"[Report, records and predictions]({ADDRESS}/{path.parent.name})"
    blocks = [f"## {heading}\n", *_notes(title), f"{link}.\n"]
    blocks += [f"### {section.rstrip()}\n" for section in sections if section.startswith(SHOWN)]
    return "\n".join(blocks)


def _notes(introduction: str) -> Iterator[str]:
    """Yield the remarks of a study's declaration, a list at the end of the introduction."""
    lines = [line for line in introduction.splitlines() if line.startswith("- ")]
    if lines:
        yield "\n".join(lines) + "\n"
