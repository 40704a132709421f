"""Which process does a job: the one that holds its lock."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ._warnings import StorageWarning, warn_user

__all__ = ["claimed"]

fcntl: Any = None if find_spec("fcntl") is None else import_module("fcntl")  # None on Windows

_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
# Lustre without -o flock, and NFS without its lock daemon.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
# On Windows nobody else reads what is locked: a byte behind all that the file holds.
_LOCKED_BYTE = 2**30


@contextmanager
def claimed(path: Path, owner: str = "") -> Iterator[bool]:
    """Try to take a lock, and yield whether this process has it.

    The kernel frees the lock when the process ends, however it ends. ``owner`` is written to the
    file, for others to read who has it. The file stays: to remove it would let two processes lock
    two files of one name. Where the file system has no locks, each process gets it, with a
    warning.
    """
    with open(path, "a+", encoding="utf-8") as file:
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno in _HELD:
                yield False
                return
            if error.errno not in _NO_LOCKS:
                raise
            warn_user(
                f"The file system of {str(path.parent)!r} has no locks ({error.strerror}): run one "
                "process at a time in this folder, or take one on another disk.",
                StorageWarning,
            )
        file.truncate(0)
        file.write(owner)
        file.flush()
        yield True


def _lock(descriptor: int) -> None:
    """Lock a file until it is closed; an OSError if another process has the lock."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    msvcrt: Any = import_module("msvcrt")
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
