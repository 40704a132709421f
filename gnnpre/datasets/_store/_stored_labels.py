"""Labels of a store: FrameLabels that are read when they are needed."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graphs import FrameLabels, LazyLabels

if TYPE_CHECKING:
    from ._crystal_store import CrystalStore

__all__ = ["StoredColumns", "StoredLabels"]


class StoredColumns(Mapping[str, np.ndarray]):
    """Columns of a store by name, each of which is read when it is asked for."""

    def __init__(self, names: list[str], read: Callable[[str], np.ndarray]) -> None:
        self._names = names
        self._read = read

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(f"There is no column {name!r}; the store has {self._names}.")
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"StoredColumns({self._names})"


class StoredLabels(LazyLabels):
    """Energies, forces and stresses of the crystals in a store; nothing is read yet.

    It is passed as ``y`` as ``FrameLabels`` are. scikit-learn splits it, and each of its parts
    reads nothing before it is used.

    Parameters
    ----------
    crystals : CrystalStore
        The crystals that the labels belong to.
    """

    def __init__(self, crystals: "CrystalStore") -> None:
        self._crystals = crystals

    @property
    def n_atoms(self) -> np.ndarray:
        """Number of atoms of each frame, ``(n,)``."""
        return self._crystals.n_atoms

    @property
    def digest(self) -> str:
        """Digest of the content."""
        return self._crystals.digest

    @property
    def info(self) -> Mapping[str, np.ndarray]:
        """Columns that describe the frames."""
        return self._crystals.info

    def has(self, name: str) -> bool:
        """Return whether some frame of the whole store has a label.

        Parameters
        ----------
        name : {"energy", "forces", "stress"}
            The label.

        Returns
        -------
        bool
            Whether there is one.
        """
        return self._crystals._reader.manifest.labelled(name) > 0

    def load(self, rows: Any = None, *, info: bool = True) -> FrameLabels:
        """Read labels into memory.

        Parameters
        ----------
        rows : slice, index array or mask, optional
            The frames, in this order; all by default.
        info : bool
            Whether to read the columns of ``info`` too.

        Returns
        -------
        FrameLabels
            Their labels.
        """
        labels = self._crystals._gather(rows, labels=True, info=info)[1]
        if labels is None:  # a store always has labels where this object is made
            raise RuntimeError("The store was read without its labels.")
        return labels

    def groups(self, key: str) -> np.ndarray:
        """Return one column, for splitters that keep groups together.

        Parameters
        ----------
        key : str
            Name of the column.

        Returns
        -------
        ndarray of shape (n,)
            The column.
        """
        return self.info[key]

    def __getitem__(self, key: Any) -> "StoredLabels":
        if isinstance(key, (int, np.integer)):
            key = [key]
        return StoredLabels(self._crystals[key])

    def __repr__(self) -> str:
        names = [name for name in ("energy", "forces", "stress") if self.has(name)]
        return f"StoredLabels(n={len(self)}, labels={names}, info={list(self.info)})"

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            "StoredLabels holds forces of ragged shape and is not an array: pass the object itself "
            "as y, or read it with .load()."
        )
