"""Results as files, whole or not at all."""

import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import click

from gnnpre._atomic import write_file

__all__ = ["check_folder", "check_writable", "prepare_folder", "write_table"]

SPREADSHEETS = (".xlsx", ".xls", ".ods")


def check_writable(output: str) -> None:
    """Raise before any work is done if a file could not be written in the end."""
    parent = Path(output).parent
    if output != "-" and not parent.is_dir():
        raise click.UsageError(f"--output {output}: there is no folder {str(parent)!r}.")
    if output != "-" and Path(output).is_dir():
        raise click.UsageError(f"--output {output} is a folder; expected the name of a file.")
    if Path(output).suffix.lower() in SPREADSHEETS:
        raise click.UsageError(
            f"--output {output}: spreadsheets are not written; name a .csv or .parquet file."
        )
    if output != "-":
        try:
            with TemporaryFile(dir=parent):
                pass
        except OSError as error:
            raise click.UsageError(f"--output {output} cannot be written: {error}") from error


def check_folder(output: str) -> None:
    """Raise before any work is done if a folder could not be made in the end."""
    if "\0" in output:
        raise click.UsageError("--output holds a NUL character, which no path may.")
    path = Path(output).absolute()
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    # Permissions alone do not tell: file systems may be read-only, too.
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise click.UsageError(f"--output {output} cannot be made: {error}") from error
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def prepare_folder(output: str) -> Path:
    """Make the folder of the results."""
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--output {output} cannot be made: {error}") from error
    return folder


def write_table(table: Any, output: str) -> None:
    """Write a table as CSV or Parquet by the suffix, or as CSV to stdout for ``"-"``."""
    if output == "-":
        table.to_csv(sys.stdout)
    elif Path(output).suffix == ".parquet":
        write_file(output, table.to_parquet())
    else:
        write_file(output, table.to_csv())
    if output != "-":
        click.echo(f"Wrote {len(table)} rows to {output}.", err=True)
