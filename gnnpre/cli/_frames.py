"""Frames with labels, from files of each format that the package reads."""

from pathlib import Path
from typing import Any

import click

__all__ = ["read_labelled_frames"]


def read_labelled_frames(source: str, atom_column: str | None = None) -> tuple[Any, Any]:
    """Return crystals and the labels of a force field from a file, or from a folder of files.

    Parameters
    ----------
    source : str
        A file of frames of ASE, MatPES, MPtrj or Alexandria, or a file or folder of extended XYZ,
        Parquet or aselmdb.
    atom_column : str, optional
        A column of atoms to read from Parquet, beside those that
        :func:`~gnnpre.datasets.read_parquet` reads by default.
    """
    from gnnpre.datasets import (
        detect_format,
        read_alexandria,
        read_aselmdb,
        read_frames,
        read_matpes,
        read_mptrj,
        read_parquet,
    )

    path = Path(source)
    if not path.exists():
        raise click.UsageError(f"{source}: there is no such file or folder.")
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".aselmdb":
        return read_aselmdb(path)
    file_format = detect_format(path)
    if file_format == "parquet":
        crystals, labels = read_parquet(path)
        if atom_column is None or atom_column in labels.atom_info:
            return crystals, labels
        # Columns of atoms of files that gnnpre has not written are read if they are named.
        return read_parquet(path, columns=list({**labels.info, atom_column: None}))
    readers: dict[str, Any] = {
        "alexandria": read_alexandria,
        "matpes": read_matpes,
        "mptrj": read_mptrj,
    }
    crystals, labels = readers.get(file_format, read_frames)(source)
    return crystals, labels


def _read_folder(folder: Path) -> tuple[Any, Any]:
    from gnnpre.datasets import read_aselmdb, read_frames, read_parquet

    readers: dict[str, Any] = {
        "*.parquet": read_parquet,
        "*.aselmdb": read_aselmdb,
        "*.extxyz*": read_frames,
    }
    for pattern, read in readers.items():
        files = sorted(folder.glob(pattern))
        if files:
            crystals, labels = read(files)
            return crystals, labels
    raise click.UsageError(
        f"{folder} is a folder without .extxyz, .parquet or .aselmdb files; expected frames with "
        "energies, forces or stresses."
    )
