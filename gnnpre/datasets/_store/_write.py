"""Write a store: batches become shards, by as many processes as joblib has."""

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from gnnpre._atomic import FULL_DISK, remove_stale
from gnnpre._claims import claimed
from gnnpre._processes import this_process
from gnnpre._validation import check_n_jobs, check_number
from gnnpre._warnings import warn_user

from .._extras import import_extra
from .._parameters import check_path
from .._parquet_writer import write_rows
from ._batches import Task, iterate_tasks, read_task, task_digest
from ._manifest import Manifest, Shard, file_sha256, read_manifest

if TYPE_CHECKING:
    from ._crystal_store import CrystalStore

__all__ = ["write_crystals"]

# Crystals in a row group: few enough that a shuffled epoch reads many different ones together.
BLOCK_ROWS = 512
# Tasks of a worker between two notes, where workers return lists.
JOBS_PER_WORKER = 4
LOCK = ".lock"


def write_crystals(
    folder: str | os.PathLike[str],
    batches: Iterable[Any],
    *,
    n_jobs: int | None = None,
    shard_rows: int = 65_536,
) -> "CrystalStore":
    """Write crystals that need not fit into memory to a folder of Parquet files.

    Batches are written as they come, each to a file of its own or several small ones to one file.
    A process that is interrupted, also by ``kill -9``, loses only the files that it was writing:
    the same call goes on where it ended, and files that are there with the right checksum are not
    written again.

    Parameters
    ----------
    folder : str or path-like
        The folder, which is made if it is not there.
    batches : iterable
        Each is a ``Crystals``, a tuple ``(Crystals, labels)`` as readers return it, or a function
        without arguments that returns one of the two, such as
        ``functools.partial(read_aselmdb, path)``. Functions are called by the workers, which then
        share the work of reading. Labels are ``FrameLabels``, or targets: a Series, a DataFrame or
        a dict of arrays.
    n_jobs : int, optional
        Number of processes, as in scikit-learn. Within ``joblib.parallel_config("dask")`` or
        ``("ray")`` the workers of a cluster write, to a folder that all of them see.
    shard_rows : int
        Crystals in a file: batches in memory are joined until there are as many, and larger ones
        are divided.

    Returns
    -------
    CrystalStore
        The store, as :func:`open_crystals` returns it.

    Raises
    ------
    ValueError
        If the folder holds a store of other batches, or a batch has no crystals that can be
        written; the message names it.
    RuntimeError
        If another process is writing to the folder.
    OSError
        If the disk is full. Files that are complete stay, for the same call to go on from.
    ImportError
        If pyarrow, of the extra ``store``, is not installed.

    See Also
    --------
    to_parquet : Write crystals in memory to one file.

    Notes
    -----
    Files have the columns of LeMat-Bulk (see :func:`to_parquet`), so that other tools and
    :func:`read_parquet` can read them. Of ``info``, a store has the columns that all batches have;
    if some batches have no ids, it has none, with a warning.

    Examples
    --------
    >>> import tempfile
    >>> from gnnpre.datasets import make_emt_property, write_crystals
    >>> from gnnpre.graphs import Crystals
    >>> structures, y = make_emt_property(4, random_state=0)
    >>> crystals = Crystals.from_structures(structures)
    >>> batches = ((crystals[rows], {"modulus": y[rows]}) for rows in (slice(0, 2), slice(2, 4)))
    >>> write_crystals(tempfile.mkdtemp(), batches)
    CrystalStore(n=4, shards=1, info=['modulus'])
    """
    from ._open import open_crystals

    import_extra("pyarrow", "store", "write_crystals")
    path = check_path("folder", folder)
    check_number("shard_rows", shard_rows, integer=True)
    if path.exists() and not path.is_dir():
        raise ValueError(f"folder={str(path)!r} is a file; expected a folder, which may be new.")
    path.mkdir(parents=True, exist_ok=True)
    with claimed(path / LOCK, json.dumps(this_process())) as is_ours:
        if not is_ours:
            raise RuntimeError(_describe_writer(path))
        remove_stale(path)
        _write(path, batches, check_n_jobs(n_jobs), int(shard_rows))
    return open_crystals(path)


def _write(folder: Path, batches: Iterable[Any], n_jobs: int | None, shard_rows: int) -> None:
    writing = _Writing(folder, shard_rows)
    # Each finished file is noted at once.
    for result in _run(writing.jobs(batches), n_jobs):
        writing.note(result)
    writing.finish()


def _run(jobs: Iterator[Any], n_jobs: int | None) -> Iterator[Any]:
    """Yield the results of jobs as they are there, by the workers that joblib has."""
    try:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    except ValueError:
        # Ray's workers return lists alone: a few jobs for each of them at a time.
        while some := list(islice(jobs, JOBS_PER_WORKER * effective_n_jobs(n_jobs))):
            yield from Parallel(n_jobs=n_jobs)(some)
        return
    yield from parallel(jobs)


class _Writing:
    """The progress of one call of :func:`write_crystals`."""

    def __init__(self, folder: Path, shard_rows: int) -> None:
        self.folder, self.shard_rows = folder, shard_rows
        self.before = read_manifest(folder) or Manifest(BLOCK_ROWS, complete=False)
        self.shards = {shard.file: shard for shard in self.before.shards}
        self.n_tasks = 0
        # Whether batches in memory have ids: those of one file are joined, with ids if all have.
        self.with_ids: set[bool] = set()
        self.failure: Exception | None = None

    def jobs(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield a job for each task that is not written yet."""
        try:
            for number, task in enumerate(iterate_tasks(batches, self.shard_rows)):
                self.n_tasks = number + 1
                self.with_ids |= {item[0].ids is not None for item in task if not callable(item)}
                source = task_digest(task)
                if not _is_written(self.folder, self.before, number, source):
                    sizes = self.before.block_rows, self.shard_rows
                    yield delayed(_write_task)(self.folder, number, task, source, *sizes)
        except Exception as error:
            # joblib asks for jobs in a thread of its own, where an error would be lost.
            self.failure = error

    def note(self, result: list[Shard] | OSError) -> None:
        """Enter the files of a task into the manifest, in place of those that it had before."""
        if isinstance(result, OSError):
            raise _full_disk(self.folder, len(self.shards), result) from result
        if not result:  # a batch without crystals
            return
        for file in [f for f, shard in self.shards.items() if shard.task == result[0].task]:
            del self.shards[file]
        self.shards.update({shard.file: shard for shard in result})
        self.before.with_shards(self.shards.values()).save(self.folder)

    def finish(self) -> None:
        """Mark the store as complete."""
        if self.failure is not None:
            raise self.failure
        surplus = [shard for shard in self.before.shards if shard.task >= self.n_tasks]
        if surplus:  # they would be lost
            raise ValueError(
                f"{self.folder} holds a store of more batches than the {self.n_tasks} of this "
                f"call: {surplus[0].file} and others. Write to another folder, or delete that one."
            )
        if not self.shards:
            raise ValueError("batches has no crystals: there is nothing to write.")
        if len(self.with_ids | {shard.has_ids for shard in self.shards.values()}) > 1:
            warn_user(
                "Some batches have ids and others have none: the store has no ids, and files that "
                "were joined from both kinds lose them. Give all batches ids, by "
                "Crystals(..., ids=...) or Crystals.from_structures(structures, ids=...)."
            )
        self.before.with_shards(self.shards.values(), complete=True).save(self.folder)


def _is_written(folder: Path, manifest: Manifest, number: int, source: str) -> bool:
    """Return whether all shards of a task are there; raise ValueError if they hold other data."""
    shards = [shard for shard in manifest.shards if shard.task == number]
    if any(shard.source != source for shard in shards):
        raise ValueError(
            f"{folder} holds a store of other batches: {shards[0].file} was not written from batch "
            f"{number} of this call (counted after small ones are joined up to shard_rows). Pass "
            "the same batches and shard_rows, write to another folder, or delete that one."
        )
    paths = [folder / shard.file for shard in shards]
    return bool(shards) and all(
        path.is_file() and file_sha256(path) == shard.sha256
        for path, shard in zip(paths, shards, strict=True)
    )


def _write_task(
    folder: Path, number: int, task: Task, source: str, block_rows: int, shard_rows: int
) -> list[Shard] | OSError:
    """Write the shards of a task; a full disk is returned, so that others are still noted."""
    name = f"Batch {number}"
    try:
        crystals, labels, targets = read_task(task, name)
        shards = []
        for start in range(0, len(crystals), shard_rows):
            rows = slice(start, min(start + shard_rows, len(crystals)))
            path = folder / f"shard-{number:06d}-{start // shard_rows:04d}.parquet"
            columns = write_rows(
                path,
                crystals[rows],
                None if labels is None else labels[rows],
                {key: values[rows] for key, values in targets.items()},
                block_rows,
            )
            shard = Shard(
                file=path.name,
                task=number,
                source=source,
                rows=rows.stop - rows.start,
                bytes=path.stat().st_size,
                sha256=file_sha256(path),
                labels={} if labels is None else _count_labels(labels[rows]),
                columns=[column for column in columns if column != "immutable_id"],
                has_ids=crystals.ids is not None,
            )
            shards.append(shard)
        return shards
    except OSError as error:
        if error.errno in FULL_DISK:
            return OSError(error.errno, str(error))
        raise
    except (ValueError, TypeError) as error:
        if str(error).startswith(name):
            raise
        raise type(error)(f"{name}: {error}") from error


def _count_labels(labels: Any) -> dict[str, int]:
    """Return how many frames have each label."""
    has_forces = np.logical_or.reduceat(np.isfinite(labels.forces).any(axis=1), labels.offsets[:-1])
    return {
        "energy": int(np.isfinite(labels.energy).sum()),
        "forces": int(has_forces.sum()),
        "stress": int(np.isfinite(labels.stress).any(axis=(1, 2)).sum()),
    }


def _full_disk(folder: Path, n_finished: int, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"The disk of {folder} is full ({os.strerror(error.errno or 0)}). {n_finished} files are "
        "complete, and no other is left behind: free some space and call write_crystals again, "
        "which goes on from there.",
    )


def _describe_writer(folder: Path) -> str:
    try:
        owner = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        writer = f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        writer = "another process"
    return (
        f"{folder} is being written by {writer}. Wait for it to end, or write to another folder; a "
        "store has one writer, whose n_jobs share the work."
    )
