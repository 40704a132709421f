"""``gnnpre study``: run a study or write its report."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gnnpre.study import StudyRun

__all__ = ["command"]


@click.group("study")
def command() -> None:
    """Run a study of data sets x networks x strategies x seeds, or report it."""


@command.command("run")
@click.argument("study")
@click.option("--folder", help="Where records and tables go; required without --estimate.")
@click.option("--data-home", help="Folder of the data; the variable GNNPRE_DATA by default.")
@click.option(
    "--only",
    default="",
    help="What to run: names of data sets, backbones or strategies, seed=111, fold=0.",
)
@click.option("--threads", type=int, default=1, show_default=True, help="Threads of a job.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--estimate", is_flag=True, help="Print core-hours, run nothing.")
@click.option("--report", is_flag=True, help="Write tables and page at the end.")
def run(
    study: str,
    folder: str | None,
    data_home: str | None,
    only: str,
    threads: int,
    device: str,
    estimate: bool,
    report: bool,
) -> int:
    """Run a study, or go on with it.

    STUDY is a TOML file, or a Python file that defines study = Study(...).
    """
    from gnnpre.study import estimate_study, load_study, run_study, write_report

    # Also for an estimate: errors of the declaration come first.
    declared = load_study(study)
    names = [name for name in only.split(",") if name]
    if estimate:
        table = estimate_study(
            declared, folder, threads=threads, data_home=data_home, only=names, device=device
        )
        click.echo(str(table))
        return 0
    if folder is None:
        raise click.UsageError("--folder is missing; expected the folder to run the study in.")
    try:
        finished = run_study(
            declared,
            folder,
            threads=threads,
            progress=_say,
            data_home=data_home,
            only=names,
            device=device,
        )
    except KeyboardInterrupt:
        _say("The same command goes on with the study.")
        raise
    if report:
        for path in write_report(folder):
            click.echo(str(path))
    return _conclude(finished)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _conclude(finished: "StudyRun") -> int:
    """List the failed jobs, and return the exit code."""
    done, skipped, failed = len(finished.done), len(finished.skipped), len(finished.failed)
    _say(f"{done} jobs done, {skipped} before, {failed} failed.")
    for key, error in finished.failed.items():
        _say(f"Failed: {finished.folder / 'failures' / key}.json: {error}")
    return 1 if failed else 0


@command.command("report")
@click.argument("folder")
def report_command(folder: str) -> None:
    """Write tables and page of a folder of results."""
    from gnnpre.study import write_report

    for path in write_report(folder):
        click.echo(str(path))
