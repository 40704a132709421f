"""Command line: ``python -m tests.fuzz --inputs 10000 --seed 0``."""

import os

# Before any library reads it: a forked child of a process with threads may hang.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from . import (
    checkpoints,
    commands,
    crystals,
    data_files,
    displays,
    estimators,
    functions,
    labels,
    models,
    stores,
    structure_files,
    structures,
    tensor_files,
)
from .outcomes import FAULTS, OUTCOMES
from .runner import Attack, Case, Report, run_cases, try_case
from .shared import Shared

ATTACKS: dict[str, Attack] = {
    "structures": structures.make_case,
    "labels": labels.make_case,
    "estimators": estimators.make_case,
    "functions": functions.make_case,
    "data_files": data_files.make_case,
    "checkpoints": checkpoints.make_case,
    "tensor_files": tensor_files.make_case,
    "stores": stores.make_case,
    "structure_files": structure_files.make_case,
    "crystals": crystals.make_case,
    "models": models.make_case,
    "commands": commands.make_case,
    "displays": displays.make_case,
}


def main() -> int:
    """Run a campaign or one case; return 1 if something happened that must not."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        files, cases = Path(name) / "files", Path(name) / "cases"
        files.mkdir()
        cases.mkdir()
        shared = Shared(files).prepare()
        if options.case is not None:
            return _repeat(Case(options.attack, options.case, options.seed), shared, cases)
        return _campaign(options, shared, cases)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=1000, help="number of cases, over all attacks"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attack", choices=list(ATTACKS), help="this attack alone")
    parser.add_argument("--case", type=int, help="repeat one case, with its traceback")
    parser.add_argument("--workers", type=int, default=1, help="children at a time")
    parser.add_argument(
        "--log", type=Path, help="file of reports; cases that it holds are not run again"
    )
    return parser


def _repeat(case: Case, shared: Shared, folder: Path) -> int:
    """Try one case in this process, without limits, so that a debugger can follow."""
    (folder / "case").mkdir()
    note = folder / "note.txt"
    os.chdir(folder / "case")
    try:
        report = try_case(case, ATTACKS[case.attack], shared, folder / "case", note, verbose=True)
    finally:
        print(note.read_text() if note.exists() else "the case could not be made", flush=True)
    print(json.dumps(report, indent=1))
    return int(report["outcome"] in FAULTS)


def _campaign(options: argparse.Namespace, shared: Shared, folder: Path) -> int:
    reports = _logged(options.log)
    done = {(report.attack, report.number, report.seed) for report in reports}
    cases = (case for case in _cases(options) if (case.attack, case.number, case.seed) not in done)
    for report in run_cases(cases, ATTACKS, shared, folder, options.workers):
        reports.append(report)
        if options.log:
            with options.log.open("a") as log:
                log.write(json.dumps(asdict(report)) + "\n")
        if report.outcome in FAULTS:
            print(report, flush=True)
    print(table(reports))
    return int(any(report.outcome in FAULTS for report in reports))


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    names = [options.attack] if options.attack else list(ATTACKS)
    for index in range(options.inputs):
        yield Case(names[index % len(names)], index // len(names), options.seed)


def _logged(path: Path | None) -> list[Report]:
    if path is None or not path.exists():
        return []
    return [Report(**json.loads(line)) for line in path.read_text().splitlines()]


def table(reports: list[Report]) -> str:
    """Return a Markdown table of outcomes by attack."""
    counts = Counter((report.attack, report.outcome) for report in reports)
    lines = ["| attack | " + " | ".join(OUTCOMES) + " |", "|---" * (len(OUTCOMES) + 1) + "|"]
    used = [name for name in ATTACKS if any(attack == name for attack, _ in counts)]
    for attack in [*used, "sum"]:
        totals = [
            sum(n for (a, o), n in counts.items() if o == outcome and attack in (a, "sum"))
            for outcome in OUTCOMES
        ]
        lines.append(f"| {attack} | " + " | ".join(map(str, totals)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
