"""``gnnpre study``: run a study or write its report."""

import click

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
            progress=lambda line: click.echo(line, err=True),
            data_home=data_home,
            only=names,
            device=device,
        )
    except KeyboardInterrupt:
        click.echo("The same command goes on with the study.", err=True)
        raise
    if report:
        for path in write_report(folder):
            click.echo(str(path))
    done, skipped, failed = len(finished.done), len(finished.skipped), len(finished.failed)
    click.echo(f"{done} jobs done, {skipped} before, {failed} failed.", err=True)
    for key, error in finished.failed.items():
        click.echo(f"Failed: {finished.folder / 'failures' / key}.json: {error}", err=True)
    return 1 if failed else 0


@command.command("report")
@click.argument("folder")
def report_command(folder: str) -> None:
    """Write tables and page of a folder of results."""
    from gnnpre.study import write_report

    for path in write_report(folder):
        click.echo(str(path))
