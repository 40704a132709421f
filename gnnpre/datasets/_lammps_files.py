"""Dump and data files of LAMMPS: whether they name elements, which ASE would make up."""

from pathlib import Path

__all__ = ["check_lammps_elements", "is_lammps"]

_REASON = "types 1 and 2 are no atomic numbers, though ASE would read them as H and He"
_CURE = "Write a dump in text with a column element: dump_modify 1 element Si O"


def is_lammps(file_format: str) -> bool:
    """Return whether a format of ASE is one of LAMMPS."""
    return file_format.startswith("lammps-")


def check_lammps_elements(path: Path, file_format: str) -> None:
    """Check that a dump of LAMMPS names elements, and a data file masses.

    Parameters
    ----------
    path : Path
        The file, uncompressed.
    file_format : str
        ``"lammps-dump-text"``, ``"lammps-dump-binary"`` or ``"lammps-data"``.

    Raises
    ------
    ValueError
        If it has types alone.
    """
    if file_format == "lammps-dump-binary":
        raise ValueError(f"a binary dump names no elements: {_REASON}. {_CURE}")
    with path.open(encoding="utf-8", errors="replace") as file:
        if file_format == "lammps-data":
            if not any(line.split()[:1] == ["Masses"] for line in file):
                raise ValueError(f"it has no section Masses: {_REASON}. Write one")
            return
        for line in file:
            # Of a column of masses some versions of ASE make elements, others read the types.
            if line.startswith("ITEM: ATOMS") and "element" not in line.split():
                raise ValueError(f"its atoms have no column element: {_REASON}. {_CURE}")
