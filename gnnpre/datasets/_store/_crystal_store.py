"""Crystals in a folder of Parquet files, with the interface of Crystals."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graphs import Crystals, FrameLabels, LazyCrystals, resolve_rows
from ._manifest import Manifest
from ._reader import StoreReader
from ._stored_labels import StoredColumns, StoredLabels

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

__all__ = ["CrystalStore"]

LABELS = ("energy", "forces", "stress")


class CrystalStore(LazyCrystals):
    """Crystals on disk, opened by :func:`open_crystals`; accepted wherever Crystals are.

    The store is indexed like :class:`~gnnpre.Crystals`: an int reads one structure, everything else
    returns a store of some of the crystals and reads nothing. ``fit``, ``predict_to_parquet`` and
    fingerprints read it block by block. All else that needs the crystals at once (splits by
    similarity, leak audits, kernel machines) reads them into memory first.

    Parameters
    ----------
    reader : StoreReader
        Reader of the files.
    rows : slice, ndarray of int or None
        Crystals of this store among those of the files; None for all.
    shuffle_rows : int
        Crystals that a training shuffles together.
    n_threads : int
        Threads that read crystals and build graphs while a training step runs.

    Attributes
    ----------
    labels : StoredLabels or None
        Labels of a force field; ``fit(store)`` takes them if it gets no ``y``.
    info : mapping of str to ndarray
        Columns, targets too, that are read when they are asked for: ``store.info["band_gap"]``.

    See Also
    --------
    write_crystals : Write a store.

    Examples
    --------
    >>> import tempfile
    >>> from gnnpre.datasets import make_emt_property, open_crystals, write_crystals
    >>> from gnnpre.graphs import Crystals
    >>> structures, y = make_emt_property(4, random_state=0)
    >>> folder = tempfile.mkdtemp()
    >>> _ = write_crystals(folder, [(Crystals.from_structures(structures), {"modulus": y})])
    >>> store = open_crystals(folder)
    >>> len(store[1:3]), type(store[0]).__name__
    (2, 'Structure')
    """

    index = None

    def __init__(
        self,
        reader: StoreReader,
        rows: slice | np.ndarray | None,
        shuffle_rows: int,
        n_threads: int,
    ) -> None:
        self._reader = reader
        self._rows = slice(0, int(reader.starts[-1])) if rows is None else rows
        self.shuffle_rows = shuffle_rows
        self.n_threads = n_threads

    def __len__(self) -> int:
        if isinstance(self._rows, slice):
            return self._rows.stop - self._rows.start
        return len(self._rows)

    @property
    def folder(self) -> Path:
        """The folder."""
        return self._reader.folder

    @property
    def n_atoms(self) -> np.ndarray:
        """Number of atoms of each crystal, ``(n,)``."""
        return self._reader.n_atoms[self._rows]

    @property
    def blocks(self) -> np.ndarray:
        """Number of the block that each crystal is read with, ``(n,)``."""
        starts, rows = self._reader.starts, self._rows
        if isinstance(rows, slice):
            bounds = np.clip(starts, rows.start, rows.stop)
            counts = bounds[1:] - bounds[:-1]
            return np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        return np.searchsorted(starts, rows, side="right").astype(np.int32) - 1

    @property
    def digest(self) -> str:
        """Digest of the content."""
        import joblib

        return str(joblib.hash((self._reader.manifest.digest, self._rows)))

    @property
    def labels(self) -> StoredLabels | None:
        """Labels of a force field, or None if no crystal has any."""
        return StoredLabels(self) if self._label_names() else None

    @property
    def info(self) -> Mapping[str, np.ndarray]:
        """Columns that describe the crystals, and targets."""
        return StoredColumns(self._reader.manifest.columns, self.column)

    @property
    def ids(self) -> np.ndarray | None:
        """Names of the crystals, or None; they are read each time."""
        if len(self) == 0 or not all(shard.has_ids for shard in self._reader.manifest.shards):
            return None
        return self.column("immutable_id").astype(str)

    def column(self, name: str) -> np.ndarray:
        """Read one column of the files.

        Parameters
        ----------
        name : str
            Its name, such as that of a target.

        Returns
        -------
        ndarray of shape (n,)
            One value for each crystal; NaN or None where there is none.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        return self._reader.column(name)[self._rows]

    def load(self, rows: Any = None, *, info: bool = True) -> Crystals:
        """Read crystals into memory.

        Parameters
        ----------
        rows : slice, index array or mask, optional
            The crystals, in this order; all by default.
        info : bool
            Whether to read the columns of ``info`` too.

        Returns
        -------
        Crystals
            The crystals.
        """
        return self._gather(rows, labels=False, info=info)[0]

    def _gather(
        self, rows: Any, *, labels: bool, info: bool
    ) -> tuple[Crystals, FrameLabels | None]:
        """Read crystals and labels in the order of ``rows``, an index into this store."""
        key = slice(None) if rows is None else rows
        selected = self._rows_of_files(resolve_rows(key, len(self), "CrystalStore"))
        return self._reader.gather(selected, labels=labels, info=info)

    def _get_one(self, row: int) -> "Structure":
        structure: Structure = self.load(slice(row, row + 1), info=False)[0]
        return structure

    def _get_some(self, rows: slice | np.ndarray) -> "CrystalStore":
        """Return some of the crystals; nothing is read."""
        return CrystalStore(
            self._reader, self._rows_of_files(rows), self.shuffle_rows, self.n_threads
        )

    def _rows_of_files(self, rows: slice | np.ndarray) -> slice | np.ndarray:
        """Return rows of the files for rows of this store."""
        if not isinstance(self._rows, slice):
            return self._rows[rows]
        start = self._rows.start
        if isinstance(rows, slice):
            return slice(start + rows.start, start + rows.stop)
        return rows + start

    def split(self, size: int) -> "list[CrystalStore]":
        """Split into consecutive stores of at most ``size`` crystals; nothing is read.

        Parameters
        ----------
        size : int
            Maximum number of crystals in a piece.

        Returns
        -------
        list of CrystalStore
            The pieces, in order.
        """
        return [self[start : start + size] for start in range(0, len(self), size)]

    @property
    def atomic_numbers(self) -> np.ndarray:
        """Atomic numbers of all atoms, ``(N,)``, read into memory."""
        return self.load(info=False).atomic_numbers

    @property
    def positions(self) -> np.ndarray:
        """Positions of all atoms in Å, ``(N, 3)``, read into memory."""
        return self.load(info=False).positions

    @property
    def cell(self) -> np.ndarray:
        """Cell vectors in Å as rows, ``(n, 3, 3)``, read into memory."""
        return self.load(info=False).cell

    @property
    def pbc(self) -> np.ndarray:
        """Periodic directions, ``(n, 3)``, read into memory."""
        return self.load(info=False).pbc

    @property
    def offsets(self) -> np.ndarray:
        """First atom of each crystal, and the end of the last: ``(n + 1,)``."""
        return np.concatenate([[0], np.cumsum(self.n_atoms)])

    def to_structures(self) -> "list[Structure]":
        """Read all crystals as pymatgen structures.

        Returns
        -------
        list of Structure
            The structures.
        """
        return self.load(info=False).to_structures()

    def to_atoms(self) -> "list[Atoms]":
        """Read all crystals as ASE atoms.

        Returns
        -------
        list of Atoms
            With cell and periodic directions.
        """
        return self.load(info=False).to_atoms()

    def _label_names(self) -> list[str]:
        return [name for name in LABELS if self._reader.manifest.labelled(name)]

    def __repr__(self) -> str:
        manifest = self._reader.manifest
        extras = "".join(
            [
                f", labels={names}" if (names := self._label_names()) else "",
                f", info={columns}" if (columns := manifest.columns) else "",
            ]
        )
        return f"CrystalStore(n={len(self)}, shards={len(manifest.shards)}{extras})"

    def __getstate__(self) -> dict[str, Any]:
        # The blocks that were read stay behind: another process reads its own.
        return {
            "folder": self._reader.folder,
            "manifest": self._reader.manifest,
            "rows": self._rows,
            "shuffle_rows": self.shuffle_rows,
            "n_threads": self.n_threads,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        manifest: Manifest = state["manifest"]
        reader = StoreReader(state["folder"], manifest)
        self.__init__(  # type: ignore[misc]
            reader, state["rows"], state["shuffle_rows"], state["n_threads"]
        )
