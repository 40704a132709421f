"""The command line."""

import argparse
import sys
from collections.abc import Sequence

from .declare._toml import load_study
from .run._run_study import StudyRun, run_study

__all__ = ["main"]

DESCRIPTION = "Run a study of data sets x networks x strategies x seeds, or report it."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status.

    0: all is done; 1: a job failed; 2: the study or a file is not as expected; 130: interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (ValueError, TypeError, OSError, ImportError) as error:
        # One line, however long the message is.
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command continues the study.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gnnpre.study", description=DESCRIPTION)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="run a study, or continue it")
    run.add_argument("study", help="TOML file, or Python file that defines study = Study(...)")
    run.add_argument("--folder", help="where records and tables go; required without --estimate")
    run.add_argument("--data-home", help="folder of the data (default: GNNPRE_DATA)")
    run.add_argument("--only", default="", help="data sets, backbones, strategies: a,b,c")
    run.add_argument("--threads", type=int, default=1, help="threads of a job (default: 1)")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    run.add_argument("--estimate", action="store_true", help="print core-hours, run nothing")
    run.add_argument("--report", action="store_true", help="write tables and page at the end")
    run.set_defaults(command=_run)
    report = commands.add_parser("report", help="write tables and page of a folder")
    report.add_argument("folder")
    report.set_defaults(command=_report)
    return parser


def _run(options: argparse.Namespace) -> int:
    study = load_study(options.study)
    # 1. the declaration
    only = [name for name in options.only.split(",") if name]
    common = {"data_home": options.data_home, "only": only, "device": options.device}
    # 2. only an estimate
    if options.estimate:
        from .run._estimate import estimate_study

        print(estimate_study(study, options.folder, threads=options.threads, **common))
        return 0
    # 3. the study itself
    if options.folder is None:
        raise ValueError("--folder is missing; expected the folder to run the study in.")
    run = run_study(study, options.folder, threads=options.threads, progress=_print, **common)
    if options.report:
        _write_report(options.folder)
    return _conclude(run)


def _print(line: str) -> None:
    print(line, flush=True)


def _conclude(run: StudyRun) -> int:
    print(f"{len(run.done)} jobs done, {len(run.skipped)} before, {len(run.failed)} failed.")
    # The traceback is in the file: one line for each here.
    for key, error in run.failed.items():
        print(f"failed: {run.folder / 'failures' / key}.json: {error}")
    return 1 if run.failed else 0


def _report(options: argparse.Namespace) -> int:
    _write_report(options.folder)
    return 0


def _write_report(folder: str) -> None:
    from .report._report import write_report

    for path in write_report(folder):
        print(path)
