"""Locks of jobs, on file systems without locks and on Windows too."""

import errno
import os
from types import SimpleNamespace

import pytest

from gnnpre import _claims
from gnnpre._claims import claimed
from gnnpre.exceptions import StorageWarning


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    def no_locks(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_claims.fcntl, "flock", no_locks)
    lock = claimed(tmp_path / "job.lock", "me")
    with pytest.warns(StorageWarning, match=r"has no locks .* one process at a time"):
        assert lock.__enter__()
    assert (tmp_path / "job.lock").read_text() == "me"
    lock.__exit__(None, None, None)


def test_other_errors_of_the_file_system_are_raised(tmp_path, monkeypatch):
    def fail(descriptor, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(_claims.fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output"), claimed(tmp_path / "job.lock"):
        pass


def test_locks_of_windows(tmp_path, monkeypatch):
    # Each byte of a file is locked by one handle, as by msvcrt.
    locked = {}

    def locking(descriptor, mode, n_bytes):
        key = (os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR))
        if locked.setdefault(key, descriptor) != descriptor:
            raise PermissionError(errno.EACCES, "Permission denied")

    msvcrt = SimpleNamespace(locking=locking, LK_NBLCK=2)
    monkeypatch.setattr(_claims, "fcntl", None)
    monkeypatch.setattr(_claims, "import_module", {"msvcrt": msvcrt}.__getitem__)
    path = tmp_path / "job.lock"
    with claimed(path, "first") as first, claimed(path, "second") as second:
        assert (first, second) == (True, False)
        assert path.read_text() == "first"
