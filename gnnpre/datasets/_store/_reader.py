"""Read blocks and columns of a store; the blocks that were read last stay decoded."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre._join_arrays import join_arrays

from ...graphs import Crystals, FrameLabels
from .._arrow import plain_column
from .._parquet_columns import Selection, select_columns
from .._parquet_pieces import iterate_group
from .._parquet_rows import convert_rows
from ._manifest import Manifest, Shard, file_sha256

__all__ = ["StoreReader"]

# Decoded blocks that are kept, in bytes: those that are shuffled together are read by turns.
CACHE_BYTES = 64 * 2**20
# Footers that are kept: one of 128 row groups takes 1.6 MB, and 3 ms to parse again.
CACHED_FOOTERS = 8
Block = tuple[Crystals, FrameLabels | None]


class StoreReader:
    """Reads the shards of a folder, each compared with its checksum once, and if it changes again.

    Threads may share it. Blocks (row groups) are numbered through all shards.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        counts: list[int] = []
        shards: list[int] = []
        groups: list[int] = []
        for number, shard in enumerate(manifest.shards):
            sizes = _group_sizes(shard.rows, manifest.block_rows)
            counts += sizes
            shards += [number] * len(sizes)
            groups += range(len(sizes))
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)  # (n_blocks + 1,)
        self._shard_of, self._group_of = shards, groups
        self._n_atoms: np.ndarray | None = None
        #: Of each shard that was compared with its checksum: size, time and inode of that file.
        self._verified: dict[int, tuple[int, int, int]] = {}
        self._footers: OrderedDict[int, Any] = OrderedDict()
        self._blocks: OrderedDict[tuple[int, bool, bool], Block] = OrderedDict()
        self._lock = threading.Lock()

    def block(self, number: int, *, labels: bool, info: bool) -> Block:
        """Return the crystals of a block, with ids, and with labels and info if asked for."""
        key = (number, labels, info)
        with self._lock:
            # A block that was read with more serves as well.
            for richer in (key, (number, True, info), (number, True, True)):
                if richer in self._blocks:
                    self._blocks.move_to_end(richer)
                    return self._blocks[richer]
        block = self._read(number, labels, info)
        with self._lock:
            self._blocks[key] = block
            while len(self._blocks) > 1 and sum(map(_nbytes, self._blocks.values())) > CACHE_BYTES:
                self._blocks.popitem(last=False)
        return block

    def gather(
        self, rows: slice | np.ndarray, *, labels: bool, info: bool
    ) -> tuple[Crystals, FrameLabels | None]:
        """Return crystals, and labels if asked for, in the order of ``rows``.

        Parameters
        ----------
        rows : slice, or ndarray of int of shape (m,)
            Rows of the files.
        labels, info : bool
            Whether to read the labels and the columns, too.

        Returns
        -------
        crystals : Crystals of shape (m,)
            The crystals.
        labels : FrameLabels or None
            Their labels, if they were asked for and there are any.

        Raises
        ------
        ValueError
            If there are no rows, or a file is not as it was written.
        """
        if isinstance(rows, slice):
            rows = np.arange(rows.start, rows.stop)
        if not len(rows):
            raise ValueError("There are no crystals to read: the selection is empty.")
        # 1. Read block after block, in the order of the files.
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        numbers = np.searchsorted(self.starts, ascending, side="right") - 1
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        crystals, frames = [], []
        for first, last in pairwise(bounds):
            number = int(numbers[first])
            block, block_labels = self.block(number, labels=labels, info=info)
            local = ascending[first:last] - self.starts[number]
            chosen = block[local]
            chosen_labels = None if block_labels is None else block_labels[local]
            if 2 * len(local) < len(block):
                # Copies: a few rows in sequence would be a view that keeps all of the block.
                chosen = Crystals.concatenate([chosen])
                if chosen_labels is not None:
                    chosen_labels = FrameLabels.concatenate([chosen_labels])
            crystals.append(chosen)
            if chosen_labels is not None:
                frames.append(chosen_labels)
        joined = Crystals.concatenate(crystals)
        joined_labels = FrameLabels.concatenate(frames) if frames else None
        # 2. Go back to the order that was asked for.
        if (np.diff(order) == 1).all():
            return joined, joined_labels
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return joined[back], None if joined_labels is None else joined_labels[back]

    def _read(self, number: int, labels: bool, info: bool) -> Block:
        index = self._shard_of[number]
        path = self._path(index)
        footer = self._footer(index)
        schema = footer.schema.to_arrow_schema()
        columns = self.manifest.columns if info else []
        selection = select_columns(schema, path, None, columns, labels)
        first = int(self.starts[number] - self.starts[self._shard_of.index(index)])
        piece = next(self._pieces(path, number, selection, first, footer))
        if len(piece.crystals) != self.starts[number + 1] - self.starts[number]:
            raise _altered(path, f"row group {self._group_of[number]} has another number of rows")
        return piece.crystals, piece.labels

    def _pieces(
        self, path: Path, number: int, selection: Selection, first: int, footer: Any
    ) -> Iterator[Any]:
        import pyarrow as pa

        try:
            group, rows = self._group_of[number], self.manifest.block_rows
            for batch in iterate_group(path, group, selection.names, rows, footer):
                yield convert_rows(batch, selection, str(path), first)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _altered(path, str(error)) from error

    @property
    def n_atoms(self) -> np.ndarray:
        """Number of atoms of each crystal, read once; in 4 bytes, since all of them stay."""
        if self._n_atoms is None:
            self._n_atoms = self.column("nsites").astype(np.int32, copy=False)
        return self._n_atoms

    def column(self, name: str) -> np.ndarray:
        """Read one column of all crystals."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays = []
        for index in range(len(self.manifest.shards)):
            path = self._path(index)
            try:
                # The footer is kept, not parsed again for each column.
                with pq.ParquetFile(path, metadata=self._footer(index)) as file:
                    if name not in file.schema_arrow.names:
                        raise ValueError(
                            f"{path} has no column {name!r}; the store has {self.manifest.columns}."
                        )
                    table = file.read([name], use_threads=False)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise _altered(path, str(error)) from error
            arrays.append(plain_column(table.column(name).combine_chunks()))
        return join_arrays(arrays)

    def _path(self, index: int) -> Path:
        return self.folder / self.manifest.shards[index].file

    def _footer(self, index: int) -> Any:
        """Return the footer of a shard, whose checksum is compared if it is a new file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._lock:
            path = self._path(index)
            self._verify(index, path)
            if index in self._footers:
                self._footers.move_to_end(index)
                return self._footers[index]
            try:
                self._footers[index] = pq.read_metadata(path)
            except (pa.ArrowException, OSError) as error:
                raise _altered(path, str(error)) from error
            if len(self._footers) > CACHED_FOOTERS:
                self._footers.popitem(last=False)
            return self._footers[index]

    def _verify(self, index: int, path: Path) -> None:
        """Compare a shard with its checksum, once in each process for one state of the file."""
        shard = self.manifest.shards[index]
        check_size(path, shard)
        status = path.stat()
        state = status.st_size, status.st_mtime_ns, status.st_ino
        if self._verified.get(index) != state:
            # A store that was written anew meanwhile has other rows at other offsets.
            if file_sha256(path) != shard.sha256:
                raise _altered(path, "its checksum differs")
            self._verified[index] = state


def check_size(path: Path, shard: Shard) -> None:
    """Raise ValueError for a shard that is gone, or has another size than when it was written."""
    if not path.is_file():
        raise ValueError(
            f"The store lacks {path}, a file of {shard.rows} crystals: it was removed. Copy it "
            "back, or call write_crystals again with the same batches, which writes what is gone."
        )
    size = path.stat().st_size
    if size != shard.bytes:
        raise _altered(path, f"it has {size} bytes and was written with {shard.bytes}")


def _altered(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} is not as it was written ({reason.removesuffix('.')}): it is truncated, damaged "
        "or altered. Copy it back, or call write_crystals again with the same batches, which "
        "writes it anew."
    )


def _group_sizes(rows: int, block_rows: int) -> list[int]:
    """Return the number of rows in each row group of a shard."""
    return [min(block_rows, rows - start) for start in range(0, rows, block_rows)]


def _nbytes(block: Block) -> int:
    crystals, labels = block
    return crystals.nbytes + (0 if labels is None else labels.forces.nbytes)
