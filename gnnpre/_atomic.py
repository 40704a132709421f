"""Atomic writing: a file or folder is replaced as a whole, whatever kills the process meanwhile.

The new content is written under a temporary name in the same folder, flushed to disk and renamed.
Temporary names carry the process that made them and a random token, so that neither threads nor
processes nor containers on a shared volume meet; those of processes that have ended are removed by
the next one that writes to the folder.
"""

import contextlib
import errno
import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ._processes import this_process, was_killed

__all__ = [
    "FULL_DISK",
    "finish_folder_swap",
    "remove_stale",
    "replace_file",
    "replace_folder",
    "write_file",
]

#: Numbers of the errors of a disk without space.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
#: Age in seconds from which a temporary file is stale even if its process cannot be checked.
STALE_AFTER = 3600.0
#: Seconds to wait for another process that is swapping a folder.
SWAP_WAIT = 2.0
#: File systems allow 255 bytes; the suffix of a temporary name takes about 60.
_LONGEST_NAME = 180
_TEMPORARY = re.compile(
    r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<tick>\d*)"
    r"\.(?P<token>[0-9a-f]{12})\.(?P<role>new|old)"
)


class _Temporary(NamedTuple):
    """A temporary file or folder, and the information in its name."""

    path: Path
    name: str
    machine: str
    pid: str
    tick: str
    token: str
    role: str  # "new": being written; "old": moved aside to be replaced


def write_file(path: str | Path, content: bytes | str) -> None:
    """Replace a file as a whole; text is encoded as UTF-8."""
    with replace_file(path) as new:
        new.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; the file written there replaces ``path`` when the block ends.

    If the block raises, ``path`` stays as it was and the temporary file is removed. A device or a
    pipe, such as /dev/stdout, gets the content instead of being replaced.

    Raises
    ------
    IsADirectoryError
        If ``path`` is a folder; before the block, which may compute for hours.
    FileNotFoundError
        If its folder does not exist.
    """
    if _is_device(path):
        with _copied_to(path) as new:
            yield new
        return
    target = Path(os.path.realpath(path))
    _check_file_name(path, target)
    remove_stale(target.parent)
    new = _temporary_path(target, uuid.uuid4().hex[:12], "new")
    try:
        yield new
        _flush(new)
        os.replace(new, target)
        _flush(target.parent)
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def _check_file_name(path: str | Path, target: Path) -> None:
    """Raise if no file can be at a path; errors of the system would name the temporary file."""
    if target.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; expected the name of a file.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(Path(path).parent)!r} to write {target.name} in: make it, or "
            "name another one."
        )


def _is_device(path: str | Path) -> bool:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def _copied_to(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path, whose content is written to a device when the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / "content"
        yield new
        with open(new, "rb") as source, open(path, "wb") as device:
            shutil.copyfileobj(source, device)


@contextmanager
def replace_folder(
    path: str | Path, check: Callable[[Path], None] = lambda folder: None
) -> Iterator[Path]:
    """Yield a temporary folder; it replaces ``path`` when the block ends.

    A folder cannot replace another one in a single rename. The old one is moved aside, the new one
    moved in place, and the old one deleted; if the process dies between the two renames,
    :func:`finish_folder_swap` completes them.

    Parameters
    ----------
    path : str or Path
        The folder to replace or make.
    check : callable
        Called with the folder that is about to be replaced; raises to keep it.
    """
    target = Path(os.path.realpath(path))
    finish_folder_swap(target)
    remove_stale(target.parent)
    if target.exists():
        check(target)
    token = uuid.uuid4().hex[:12]
    new, old = (_temporary_path(target, token, role) for role in ("new", "old"))
    new.mkdir()
    in_place = False
    try:
        yield new
        for entry in (*new.rglob("*"), new):
            _flush(entry)
        _swap(new, target, old, check)
        in_place = True
        _flush(target.parent)
    finally:
        # Interrupted between the two renames. After a swap that succeeded the target may be missing
        # too, for a moment: another writer has moved it aside, and the old folder is not to return.
        if not in_place and old.exists() and not target.exists():
            with contextlib.suppress(OSError):  # another writer was faster
                os.rename(old, target)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def _swap(new: Path, target: Path, old: Path, check: Callable[[Path], None]) -> None:
    """Move ``target`` to ``old`` and ``new`` to ``target``, while others may do the same."""
    while True:
        with contextlib.suppress(FileNotFoundError):  # none yet, or moved aside by another writer
            check(target)
            os.rename(target, old)
        try:
            os.rename(new, target)
            return
        except OSError as error:
            if not new.exists() and target.is_dir():
                return  # a reader that found no folder completed the swap
            # The folder that was in the way may have been moved aside in the meantime.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        # Another writer was faster: its folder is replaced like any other.
        shutil.rmtree(old, ignore_errors=True)


def finish_folder_swap(path: str | Path) -> None:
    """Complete the two renames of :func:`replace_folder` where a process died between them."""
    target = Path(os.path.realpath(path))
    deadline = time.monotonic() + SWAP_WAIT
    while not target.exists():
        entries = _temporaries(target.parent, target)
        aside = {entry.token: entry for entry in entries if entry.role == "old"}
        if not aside:
            return
        # A writer that is alive needs microseconds; one on another machine cannot be checked.
        if all(map(_is_stale, aside.values())) or time.monotonic() > deadline:
            with contextlib.suppress(OSError):  # another process does the same
                # A folder is moved aside only once its replacement is complete and flushed.
                complete = [e for e in entries if e.role == "new" and e.token in aside]
                newest = max(complete or aside.values(), key=lambda e: e.path.stat().st_mtime)
                os.rename(newest.path, target)
            return
        time.sleep(0.01)


def remove_stale(folder: str | Path, name: str | None = None) -> None:
    """Remove temporary files and folders of writers that have ended, in ``folder``.

    Stale are those whose process has ended, or, where that cannot be checked, those that have not
    changed for an hour. With ``name``, only those made to replace that entry.
    """
    target = None if name is None else Path(folder, name)
    for entry in _temporaries(Path(folder), target):
        # An old folder without its successor is the only copy: finish_folder_swap needs it.
        is_only_copy = entry.role == "old" and not _target(entry).exists()
        if is_only_copy or _belongs_to_swap(entry) or not _is_stale(entry):
            continue
        with contextlib.suppress(OSError):
            if entry.path.is_dir():
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                entry.path.unlink(missing_ok=True)


def _belongs_to_swap(entry: _Temporary) -> bool:
    """Return whether a new folder is the complete one of a swap that was interrupted."""
    old = entry.path.with_suffix(".old")
    return entry.role == "new" and old.exists() and not _target(entry).exists()


def _target(entry: _Temporary) -> Path:
    return entry.path.with_name(entry.name)


def _temporary_path(target: Path, token: str, role: str) -> Path:
    return target.with_name(f".{_short(target.name)}.{_writer()}.{token}.{role}")


def _short(name: str) -> str:
    """Return a name that leaves room for the suffix: itself, or a digest if it is long."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_NAME else hashlib.sha256(encoded).hexdigest()[:32]


def _writer() -> str:
    """Return the text that identifies this process in a temporary name."""
    started = this_process()["started"]
    tick = "" if started is None else started.rpartition("/")[2]
    return f"{_machine()}-{os.getpid()}-{tick}"


def _machine() -> str:
    """Return a digest of machine, boot and container: process ids mean nothing outside of it."""
    try:
        # Containers of one machine count their processes separately.
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    started = this_process()["started"] or ""
    identity = f"{platform.node()}/{started.rpartition('/')[0]}/{namespace}"
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def _temporaries(folder: Path, target: Path | None = None) -> list[_Temporary]:
    """List the temporary files and folders in ``folder``, perhaps only those of one target."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith((".new", ".old"))]
    except OSError:
        return []
    entries = []
    for name in names:
        if match := _TEMPORARY.fullmatch(name):
            entries.append(_Temporary(folder / name, **match.groupdict()))
    return [entry for entry in entries if target is None or entry.name == _short(target.name)]


def _is_stale(entry: _Temporary) -> bool:
    """Return whether nobody will complete a temporary file or folder."""
    if entry.machine == _machine():
        started = this_process()["started"]
        boot = "" if started is None else started.rpartition("/")[0]
        tick = f"{boot}/{entry.tick}" if entry.tick and boot else None
        owner = {"host": platform.node(), "pid": int(entry.pid), "started": tick}
        # Without the time it started, a running process may be another one of the same number.
        if was_killed(owner) or tick is not None:
            return was_killed(owner)
    try:
        newest = max(
            path.stat().st_mtime
            for path in (entry.path, *(entry.path.iterdir() if entry.path.is_dir() else ()))
        )
    except OSError:
        return False
    return time.time() - newest > STALE_AFTER


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    if path.is_dir():
        # Windows cannot open folders, and some network file systems cannot flush them.
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
