"""Write crystals and labels as extended XYZ."""

import gzip
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

import numpy as np

from gnnpre._atomic import replace_file
from gnnpre._validation import check_path

from ..graphs import Crystals, FrameLabels
from ._extxyz_comment import JSON_PREFIX, parse_value
from ._stated_units import is_unit_entry
from ._written_columns import check_labels_of, written_columns

__all__ = ["to_extxyz"]

_RESERVED = {"lattice", "properties", "pbc", "energy", "forces", "stress"}
_RESERVED_COLUMNS = {"species", "pos", "forces", "z"}
_COLUMN = re.compile(r"\w+")
_PLAIN = re.compile(r"[^\s\"'={}\[\],\\]+")


def to_extxyz(
    path: str | os.PathLike[str],
    crystals: Any,
    labels: FrameLabels | None = None,
    *,
    targets: Any = None,
) -> None:
    """Write crystals and labels to an extended XYZ file, as ASE and other codes read it.

    Parameters
    ----------
    path : str or path-like
        The file, which is replaced as a whole; compressed if its name ends in ``.gz``.
    crystals : Crystals or list of structures
        The crystals; ``ids`` are written as ``id``.
    labels : FrameLabels, optional
        Energies (eV), forces (eV/Å) and stresses (eV/Å^3, positive in tension); those that are
        missing are left out. Columns of ``info`` and ``atom_info`` are written, too.
    targets : Series, DataFrame or dict of arrays, optional
        Columns of targets.

    Raises
    ------
    ValueError
        If the arguments differ in length, or a column has the name of one that is written or
        looks like a unit.

    See Also
    --------
    read_frames : Read such a file.
    to_parquet : A format that is faster to read.

    Notes
    -----
    Numbers are written with all digits, so that they are read back exactly. Text that this format
    would take for a number, a missing value or a boolean ("007", "NaN", "T") is written as a JSON
    string behind ``_JSON``, which :func:`read_frames` and ASE read back as text.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gnnpre.datasets import make_emt_frames, read_frames, to_extxyz
    >>> structures, labels = make_emt_frames(3, random_state=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "emt.extxyz.gz"
    >>> to_extxyz(path, structures, labels)
    >>> crystals, read_labels = read_frames(path)
    >>> bool((read_labels.forces == labels.forces).all())
    True
    """
    if not isinstance(crystals, Crystals):
        crystals = Crystals.from_structures(crystals)
    target = check_path("path", path)
    check_labels_of(crystals, labels)
    _check_atom_columns({} if labels is None else labels.atom_info)
    columns = {
        name: values.tolist()
        for name, values in written_columns(crystals, labels, targets, "id", _is_reserved).items()
    }
    with replace_file(target) as new, _open(new, target.name) as stream:
        for text in _frames(crystals, labels, columns):
            stream.write(text)


def _check_atom_columns(names: Iterable[str]) -> None:
    for name in names:
        if not _COLUMN.fullmatch(name) or name.lower() in _RESERVED_COLUMNS:
            raise ValueError(
                f"A column of atom_info is named {name!r}, which no column of this format can "
                "be: rename it, with letters, digits and underscores alone."
            )


def _open(new: Any, path: str) -> TextIO:
    if path.endswith(".gz"):
        return gzip.open(new, "wt", encoding="utf-8", newline="\n")
    return open(new, "w", encoding="utf-8", newline="\n")


def _is_reserved(name: str) -> bool:
    return name.lower() in _RESERVED or is_unit_entry(name)


def _frames(
    crystals: Crystals, labels: FrameLabels | None, columns: Mapping[str, list[Any]]
) -> Iterator[str]:
    from ase.data import chemical_symbols

    offsets = crystals.offsets.tolist()
    symbols = np.array(chemical_symbols)[crystals.atomic_numbers].tolist()
    for row in range(len(crystals)):
        atoms = slice(offsets[row], offsets[row + 1])
        entries, numbers = [], [crystals.positions[atoms]]
        # 1. columns of atoms, without those that are missing for the whole frame
        properties = "species:S:1:pos:R:3"
        if crystals.cell[row].any():
            entries.append(f'Lattice="{_join(crystals.cell[row])}"')
        if labels is not None:
            forces = labels.forces[atoms]
            if not np.isnan(forces).all():
                numbers.append(forces)
                properties += ":forces:R:3"
            entries += _label_entries(labels, row)
            for name, values in labels.atom_info.items():
                if not np.isnan(values[atoms]).all():
                    numbers.append(values[atoms, None])
                    properties += f":{name}:R:1"
        # 2. the comment line
        entries.insert(0, f"Properties={properties}")
        entries += [
            f"{_quote(name)}={_value(values[row], name)}"
            for name, values in columns.items()
            if not _is_missing(values[row])
        ]
        pbc = " ".join("T" if flag else "F" for flag in crystals.pbc[row])
        entries.append(f'pbc="{pbc}"')
        # 3. one line for each atom; repr keeps all digits of a float
        lines = [
            f"{symbol} {' '.join(map(repr, values))}"
            for symbol, values in zip(symbols[atoms], np.hstack(numbers).tolist(), strict=True)
        ]
        yield "\n".join([str(len(lines)), " ".join(entries), *lines, ""])


def _label_entries(labels: FrameLabels, row: int) -> list[str]:
    entries = []
    if np.isfinite(labels.energy[row]):
        entries.append(f"energy={float(labels.energy[row])!r}")
    if not np.isnan(labels.stress[row]).all():
        entries.append(f'stress="{_join(labels.stress[row])}"')
    return entries


def _join(matrix: np.ndarray) -> str:
    return " ".join(map(repr, matrix.ravel().tolist()))


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def _value(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, (int, float)):
        is_long = isinstance(value, int) and isinstance(parse_value(repr(value)), str)
        return _quote(f"{JSON_PREFIX}{value}") if is_long else repr(value)
    text = str(value)
    if "\n" in text or "\r" in text:
        raise ValueError(f"Column {name!r} has text of several lines, which extended XYZ has not.")
    # ASE takes the next entry for an empty text.
    if not text or text.startswith(JSON_PREFIX) or not isinstance(parse_value(text), str):
        text = JSON_PREFIX + json.dumps(text, ensure_ascii=False)
    return _quote(text)


def _quote(text: str) -> str:
    """Return text in quotes where it is not one plain word."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
