"""Files that a command reads, none of which it may replace."""

import glob
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

__all__ = ["CONFIG", "refuse_inputs"]

#: Key of the file of ``--config`` in ``click.Context.meta``.
CONFIG = "gnnpre.cli.config"
#: Arguments and options that name files to read.
ARGUMENTS = ("source", "model", "pretraining", "evaluation")
OPTIONS = ("predict", "pretrained", "replay")
TABLES = (".csv", ".csv.gz", ".tsv")
#: Files that are read from a folder, beside those of structures.
FRAMES = (".parquet", ".aselmdb")

#: Device and inode, which are the same under all names of a file.
_File = tuple[int, int]


def refuse_inputs(output: str, targets: Iterable[Path] | None = None) -> None:
    """Raise if a file that would be written or removed is one that the command reads.

    Parameters
    ----------
    output : str
        Value of ``--output``, for the message.
    targets : iterable of Path, optional
        The files; ``output`` itself by default, which may be a folder, too.
    """
    context = click.get_current_context(silent=True)
    files = [Path(output)] if targets is None else list(targets)
    existing = [file for file in files if file.exists()]
    if context is None or not existing:
        return
    inputs = dict(_inputs(context))
    for file in existing:
        name = inputs.get(_identify(file))
        if name is None:
            continue
        if targets is None and _is_same(context, name, file):
            reason = f"--output {output} is {name} itself, which would be overwritten"
        else:
            reason = f"--output {output}: {file} is read for {name}, and would be overwritten"
        raise click.UsageError(f"{reason}; name another file or folder.")


def _identify(path: Path) -> _File:
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_same(context: click.Context, name: str, path: Path) -> bool:
    """Return whether the path is the value of an argument, or the folder of its pattern."""
    value = context.params.get(name.lower())
    source = Path(str(value).partition("*")[0])
    return isinstance(value, str) and source.exists() and source.samefile(path)


def _inputs(context: click.Context) -> Iterator[tuple[_File, str]]:
    """Yield each file and folder that the command reads, with the argument that names it."""
    named: list[tuple[str, Any]] = [(key.upper(), context.params.get(key)) for key in ARGUMENTS]
    named += [(f"--{key}", context.params.get(key)) for key in OPTIONS]
    named.append(("--config", context.meta.get(CONFIG)))
    column = context.params.get("structure_column")
    for name, source in named:
        for path in _files_of(source, column) if isinstance(source, str) and source else ():
            if path.exists():
                yield _identify(path), name


def _files_of(source: str, structure_column: str | None) -> Iterator[Path]:
    path = Path(source)
    # The folder of a pattern such as cifs/*.cif counts, as a folder does.
    yield Path(source.partition("*")[0])
    if path.is_dir():
        yield from _in_folder(path)
        return
    if path.exists():
        yield path
    elif glob.has_magic(source):
        yield from map(Path, glob.glob(source, recursive=True))
    if path.name.lower().endswith(TABLES) and path.is_file():
        yield from _in_table(path, structure_column)


def _in_folder(folder: Path) -> Iterator[Path]:
    """Yield the files of formats that are read, of subfolders too."""
    from gnnpre.datasets import is_structure_file

    seen: set[_File] = set()
    for name, subfolders, files in os.walk(folder, followlinks=True):
        if _identify(Path(name)) in seen:  # a link to a folder around it
            subfolders.clear()
            continue
        seen.add(_identify(Path(name)))
        for file in (Path(name, each) for each in files):
            if is_structure_file(file) or file.suffix.lower() in FRAMES:
                yield file


def _in_table(table: Path, structure_column: str | None) -> list[Path]:
    """Return the files that the rows of a table name; the reader explains errors in it."""
    from gnnpre.datasets import files_of_table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reader issues them, too
        try:
            return files_of_table(table, structure_column)
        except (ValueError, OSError):
            return []
