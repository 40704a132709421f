"""Frames of JSON records, gathered into crystals and labels block by block."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..graphs import Crystals, FrameLabels, StructureArrays
from ._composition import formula_column
from ._info_columns import info_column, join_atom_columns, join_labels
from ._structure_arrays import pack_arrays

__all__ = ["FrameRecord", "gather_frames", "numbers_of_atoms", "vectors_of_atoms"]

_BLOCK = 4096


class FrameRecord(NamedTuple):
    """One frame: structure, id, labels in our units (NaN where missing), and info."""

    structure: StructureArrays
    id: str
    energy: float
    forces: np.ndarray  # (N, 3)
    stress: np.ndarray  # (3, 3)
    info: dict[str, Any]
    atom_info: dict[str, np.ndarray]  # (N,) each


def vectors_of_atoms(values: Any, n_atoms: int) -> np.ndarray:
    """Return vectors (N, 3), NaN where null or if there are none.

    Parameters
    ----------
    values : list of lists or None
        Three numbers for each atom, some of which may be null.
    n_atoms : int
        Number of atoms.

    Returns
    -------
    ndarray of shape (N, 3)
        The vectors.

    Raises
    ------
    ValueError
        If there are vectors of another shape.
    """
    if not values:
        return np.full((n_atoms, 3), np.nan)
    array = np.array(values, dtype=np.float64)  # None becomes NaN
    if array.shape != (n_atoms, 3):
        raise ValueError(f"forces have shape {array.shape}; expected ({n_atoms}, 3)")
    return array


def numbers_of_atoms(values: Any, n_atoms: int, name: str) -> np.ndarray:
    """Return one number per atom (N,), NaN where null or if there are none.

    Parameters
    ----------
    values : list or None
        One number for each atom, some of which may be null.
    n_atoms : int
        Number of atoms.
    name : str
        Name of the entry, for errors.

    Returns
    -------
    ndarray of shape (N,)
        The numbers.

    Raises
    ------
    ValueError
        If there are numbers of another shape.
    """
    if not values:
        return np.full(n_atoms, np.nan)
    array = np.array(values, dtype=np.float64)  # None becomes NaN
    if array.shape != (n_atoms,):
        raise ValueError(f"{name} has shape {array.shape}; expected ({n_atoms},)")
    return array


def gather_frames(
    items: Iterator[Any], convert: Callable[[Any], FrameRecord], file: str
) -> tuple[Crystals, FrameLabels]:
    """Convert items of a file to crystals and labels.

    Parameters
    ----------
    items : iterator
        Items of the file, such as dictionaries.
    convert : callable
        Returns the frame of an item.
    file : str
        The file, for messages.

    Returns
    -------
    crystals : Crystals
        The structures.
    labels : FrameLabels
        Their labels, with ``formula`` among the columns of ``info``.

    Raises
    ------
    ValueError
        If an item is not a frame (the message has its number), or there are none.
    """
    blocks: list[tuple[Crystals, FrameLabels]] = []
    pending: list[FrameRecord] = []
    number = -1
    for number, item in enumerate(items):
        try:
            pending.append(convert(item))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"it has no entry {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"Frame {number} of {file} cannot be read: {problem}.") from error
        # Arrays replace the parsed objects block by block, which take far more memory.
        if len(pending) == _BLOCK:
            blocks.append(_pack(pending))
            pending = []
    if pending:
        blocks.append(_pack(pending))
    if not blocks:
        raise ValueError(f"There are no frames in {file}.")
    crystals = Crystals.concatenate([block for block, _ in blocks])
    labels = join_labels([labels for _, labels in blocks])
    labels.info["formula"] = formula_column(crystals)
    return crystals, labels


def _pack(frames: list[FrameRecord]) -> tuple[Crystals, FrameLabels]:
    crystals = pack_arrays(
        [frame.structure for frame in frames], ids=[frame.id for frame in frames]
    )
    names = dict.fromkeys(name for frame in frames for name in frame.info)
    labels = FrameLabels(
        crystals.n_atoms,
        energy=np.array([frame.energy for frame in frames]),
        forces=np.concatenate([frame.forces for frame in frames]),
        stress=np.array([frame.stress for frame in frames]),
        info={name: info_column([frame.info.get(name) for frame in frames]) for name in names},
        atom_info=join_atom_columns(
            [frame.atom_info for frame in frames],
            [len(frame.forces) for frame in frames],
        ),
    )
    return crystals, labels
