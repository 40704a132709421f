"""Results as files, whole or not at all."""

import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import click

from gnnpre._atomic import write_file

from ._inputs import refuse_inputs

__all__ = [
    "check_folder",
    "check_table",
    "check_writable",
    "prepare_folder",
    "write_table",
]

# A name without a suffix, such as /dev/stdout, gets CSV.
TABLES = (".csv", ".parquet", "")


def check_writable(output: str, *, device: bool = False) -> None:
    """Raise before any work is done if a file, or a device, could not be written in the end."""
    _check_name(output)
    if output == "-" and not device:
        raise click.UsageError(
            "--output -: tables alone go to stdout; expected the name of a file."
        )
    parent = Path(output).parent
    if output != "-" and not parent.is_dir():
        raise click.UsageError(f"--output {output}: there is no folder {str(parent)!r}.")
    if output != "-" and Path(output).is_dir():
        raise click.UsageError(f"--output {output} is a folder; expected the name of a file.")
    refuse_inputs(output)
    # A pipe or a device is written to, and needs no other file beside it.
    is_device = Path(output).exists() and not Path(output).is_file()
    if is_device and not device:
        raise click.UsageError(f"--output {output} is a device; expected the name of a file.")
    if output != "-" and not is_device:
        try:
            with TemporaryFile(dir=parent):
                pass
        except OSError as error:
            raise click.UsageError(
                f"--output {output}: no file can be made there ({error.strerror}); name another "
                "folder."
            ) from error


def check_table(output: str, *suffixes: str) -> None:
    """Raise before any work is done if a table, or a file of other suffixes, cannot be written."""
    check_writable(output, device=True)
    if output != "-" and Path(output).suffix not in (*TABLES, *suffixes):
        allowed = " or ".join((*TABLES[:-1], *suffixes))
        raise click.UsageError(f"--output {output}: expected a name that ends in {allowed}.")


def check_folder(name: str, option: str = "--output") -> None:
    """Raise before any work is done if a folder could not be made in the end."""
    _check_name(name, option)
    if name == "-":
        raise click.UsageError(f"{option} -: tables alone go to stdout; expected another name.")
    path = Path(name).absolute()
    if path.exists() and not path.is_dir():
        raise click.UsageError(f"{option} {name} is a file; expected the name of a folder.")
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    # Permissions alone do not tell: file systems may be read-only, too.
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise click.UsageError(
            f"{option} {name}: no file can be made there ({error.strerror}); name another folder."
        ) from error
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def _check_name(name: str, option: str = "--output") -> None:
    if not name.strip() or "\0" in name:
        raise click.UsageError(f"{option} {name!r}: expected the name of a file or folder.")


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
        sys.stdout.write(table.to_csv())  # all of it or, if it cannot be encoded, nothing
    elif Path(output).suffix == ".parquet":
        write_file(output, table.to_parquet())
    else:
        write_file(output, table.to_csv())
    if output != "-":
        click.echo(f"Wrote {len(table)} rows to {output}.", err=True)
