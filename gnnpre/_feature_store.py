"""Features of atoms on disk, found again by the content of crystals and of the model."""

import hashlib
import io
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ._home import cache_folder
from ._warnings import StorageWarning, warn_user

__all__ = [
    "FeatureStore",
    "array_digest",
    "check_cache",
    "crystal_digests",
    "open_store",
    "read_or_compute",
]

FILE = "features.sqlite"
# Seconds to wait for another process that writes.
TIMEOUT = 60.0
# SQLite takes at most so many parameters in one statement.
MANY = 500


def array_digest(*values: np.ndarray | str) -> str:
    """Return a digest of arrays, by their dtype, shape and content, and of texts."""
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, str):
            digest.update(value.encode())
        else:
            array = np.ascontiguousarray(value)
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def crystal_digests(crystals: Any) -> list[str]:
    """Return a digest of the content of each of some ``Crystals``."""
    offsets, numbers = crystals.offsets, np.asarray(crystals.atomic_numbers)
    positions, cells = np.asarray(crystals.positions), np.asarray(crystals.cell)
    pbc = np.asarray(crystals.pbc)
    atoms = [slice(start, stop) for start, stop in pairwise(offsets)]
    return [
        array_digest(numbers[rows], positions[rows], cells[index], pbc[index])
        for index, rows in enumerate(atoms)
    ]


class FeatureStore:
    """A table from keys to arrays in one SQLite file, which processes and threads may share.

    A file that cannot be read or written costs a warning, and the features are computed: a cache
    never stops a computation. Arrays are stored without pickle.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the arrays that are stored under some of the keys."""
        keys, values = list(keys), {}
        if not (self.folder / FILE).exists():
            return {}
        with self._warn_of_errors(), self._connection() as connection:
            for start in range(0, len(keys), MANY):
                chunk = keys[start : start + MANY]
                marks = ",".join("?" * len(chunk))
                query = f"SELECT key, value FROM features WHERE key IN ({marks})"
                for key, value in connection.execute(query, chunk):
                    values[key] = np.load(io.BytesIO(value), allow_pickle=False)
        return values

    def put(self, values: Mapping[str, np.ndarray]) -> None:
        """Store arrays under keys."""
        rows = []
        for key, value in values.items():
            buffer = io.BytesIO()
            np.save(buffer, value, allow_pickle=False)
            rows.append((key, buffer.getvalue()))
        with self._warn_of_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._connection() as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / FILE, timeout=TIMEOUT)) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, value BLOB)"
            )
            yield connection

    @contextmanager
    def _warn_of_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, ValueError, EOFError) as error:
            warn_user(
                f"The cache of features in {str(self.folder)!r} cannot be used ({error}): they are "
                f"computed. Delete {FILE} there, or pass another folder as cache.",
                StorageWarning,
            )


def check_cache(name: str, cache: Any) -> None:
    """Check that a cache is True, False or a folder."""
    if not isinstance(cache, (bool, str, Path)):
        raise ValueError(f"{name}={cache!r}; expected True, False or the path of a folder.")


def open_store(cache: bool | str | Path) -> FeatureStore | None:
    """Return the store in a folder; True is the cache of gnnpre, False none."""
    if cache is False:
        return None
    return FeatureStore(cache_folder("features") if cache is True else Path(cache))


def read_or_compute(
    store: FeatureStore | None,
    keys: Sequence[Sequence[str]],
    compute: Callable[[np.ndarray], Sequence[Sequence[np.ndarray]]],
) -> list[list[np.ndarray]]:
    """Return the arrays of each crystal: stored ones, and the others computed and then stored.

    Parameters
    ----------
    store : FeatureStore or None
        The store; without one everything is computed.
    keys : sequence of sequence of str
        Keys of the arrays of each crystal.
    compute : callable
        Function from an array of rows to the arrays of these crystals, in the order of their keys.

    Returns
    -------
    list of list of ndarray
        The arrays, in the order of ``keys``.
    """
    arrays = store.get(key for row in keys for key in row) if store else {}
    missing = [row for row, names in enumerate(keys) if any(name not in arrays for name in names)]
    if missing:
        computed = compute(np.array(missing))
        new = {
            name: array
            for row, values in zip(missing, computed, strict=True)
            for name, array in zip(keys[row], values, strict=True)
        }
        if store:
            store.put(new)
        arrays = {**arrays, **new}
    return [[arrays[name] for name in names] for names in keys]
