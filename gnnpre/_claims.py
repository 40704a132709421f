"""Which process does a job: the one that holds its lock."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["claimed"]


@contextmanager
def claimed(path: Path, owner: str = "") -> Iterator[bool]:
    """Try to take a lock, and yield whether this process has it.

    The kernel frees the lock when the process ends, however it ends. ``owner`` is written to the
    file, for others to read who has it. The file stays: to remove it would let two processes lock
    two files of one name.
    """
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        file.truncate(0)
        file.write(owner)
        file.flush()
        yield True
