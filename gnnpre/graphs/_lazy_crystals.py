"""Crystals and labels that stay on disk until they are needed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ._crystal_rows import CrystalRows
from ._crystals import Crystals
from ._frame_labels import FrameLabels

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["LazyCrystals", "LazyLabels"]


class LazyLabels(ABC):
    """Labels of n frames that are read when they are needed."""

    @property
    @abstractmethod
    def n_atoms(self) -> np.ndarray:
        """Number of atoms of each frame, ``(n,)``."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Digest of the content."""

    @property
    @abstractmethod
    def info(self) -> Mapping[str, np.ndarray]:
        """Columns that describe the frames; each is read when it is asked for."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether some frame has an ``"energy"``, ``"forces"`` or ``"stress"``."""

    @abstractmethod
    def load(self, rows: Any = None, *, info: bool = True) -> FrameLabels:
        """Read the labels of some frames, in this order; all by default."""

    @abstractmethod
    def __getitem__(self, key: Any) -> "LazyLabels":
        """Return some of the frames; nothing is read."""

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def shape(self) -> tuple[int]:
        """Shape ``(n,)``, which scikit-learn reads from a y."""
        return (len(self),)


class LazyCrystals(CrystalRows):
    """n crystals that are read when they are needed, block by block."""

    #: Crystals of several blocks that are shuffled together in training.
    shuffle_rows: int
    #: Threads that read crystals and build graphs ahead of a training step.
    n_threads: int

    @property
    @abstractmethod
    def n_atoms(self) -> np.ndarray:
        """Number of atoms of each crystal, ``(n,)``."""

    @property
    @abstractmethod
    def blocks(self) -> np.ndarray:
        """Number of the block that each crystal is read with, ``(n,)``."""

    @property
    @abstractmethod
    def labels(self) -> LazyLabels | None:
        """Labels of a force field, or None if there are none."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Digest of the content, which names a training to resume."""

    @abstractmethod
    def load(self, rows: Any = None, *, info: bool = True) -> Crystals:
        """Read some crystals, in this order, into memory; all by default."""

    def __len__(self) -> int:
        return len(self.n_atoms)

    def pieces(self, size: int) -> Iterator[Crystals]:
        """Read consecutive pieces of the crystals, one after the other.

        Parameters
        ----------
        size : int
            Crystals in a piece, at most.

        Yields
        ------
        Crystals
            The next piece.
        """
        for start in range(0, len(self), size):
            yield self.load(slice(start, start + size), info=False)

    def __iter__(self) -> "Iterator[Structure]":
        return (structure for piece in self.pieces(1024) for structure in piece)
