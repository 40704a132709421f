"""Frames of a file in flat arrays, together with the text around them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["FrameBlock"]


@dataclass(frozen=True)
class FrameBlock:
    """Consecutive frames of one file that have the same columns.

    Attributes
    ----------
    file : str
        The file, as error messages name it.
    frame_numbers : list of int
        Number of each frame in its file.
    n_atoms : ndarray of shape (n,)
        Atoms of each frame.
    atomic_numbers : ndarray of shape (N,)
        Elements, atom after atom.
    positions : ndarray of shape (N, 3)
        In the file's unit of length, which is Å unless a frame states another one.
    cells : ndarray of shape (n, 3, 3)
        Cell vectors as rows, zero where a frame has none.
    pbc : ndarray of shape (n, 3)
        Periodic directions.
    entries : list of dict
        Entries of the comment line of each frame.
    columns : dict of ndarray (N, 3)
        Columns of three numbers per atom, which may be forces.
    atom_columns : dict of ndarray (N,)
        Columns of one number per atom, such as magnetic moments.
    other_columns : tuple of str
        Names of the columns that are neither atoms nor of three numbers.
    has_unnamed_columns : bool
        Whether there are further columns that the file does not name.
    """

    file: str
    frame_numbers: list[int]
    n_atoms: np.ndarray
    atomic_numbers: np.ndarray
    positions: np.ndarray = field(repr=False)
    cells: np.ndarray = field(repr=False)
    pbc: np.ndarray = field(repr=False)
    entries: list[dict[str, Any]] = field(repr=False)
    columns: dict[str, np.ndarray] = field(repr=False)
    atom_columns: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    other_columns: tuple[str, ...] = ()
    has_unnamed_columns: bool = False

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def offsets(self) -> np.ndarray:
        """Atoms ``offsets[i]:offsets[i + 1]`` are those of frame i; shape (n + 1,)."""
        return np.concatenate([[0], np.cumsum(self.n_atoms)])

    def where(self, row: int) -> str:
        """Return the name of a frame for error messages."""
        return f"frame {self.frame_numbers[row]} of {self.file}"
