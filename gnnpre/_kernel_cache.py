"""Compiled kernels on disk: compiled when first used, and loaded only if nobody changed them.

A shared library runs with the rights of whoever loads it. So the folder and its files must belong
to the user (or to root) and be writable by nobody else, and the name of each file holds the SHA-256
of its content: a truncated library would end the process by SIGBUS.
"""

import contextlib
import ctypes
import hashlib
import os
import shutil
import stat
import tempfile
import time
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from gnnpre._atomic import replace_file
from gnnpre._home import cache_folder
from gnnpre._warnings import PerformanceWarning, warn_user

from ._compiler import CompilerError, compile_library, describe_compiler

__all__ = ["load_kernel"]

#: Temporary folders of compilations, in the cache and in the system's folder for such.
BUILD_PREFIX = ".build-"
PRIVATE_PREFIX = "gnnpre-kernel-"
#: A killed process leaves its folder behind; after this long nobody can be using it.
STALE_SECONDS = 3600.0


@lru_cache
def load_kernel(
    source: str, constants: tuple[tuple[str, int | str], ...], package: str
) -> ctypes.CDLL:
    """Load a file of ``kernels/`` compiled with some macros; compile it first if need be.

    Compiled kernels are kept in the folder ``kernels`` of ``GNNPRE_HOME``, or of the user's cache.
    Where that folder cannot be used, they are compiled into a private one, for this process.

    Parameters
    ----------
    source : str
        Name of the file, without ``.c``.
    constants : tuple of (str, int or str)
        Macros.
    package : str
        The package whose folder ``kernels`` holds the file.

    Returns
    -------
    ctypes.CDLL
        The loaded library.

    Raises
    ------
    CompilerError
        If there is no C compiler, or it fails, or its result cannot be loaded.
    """
    texts = read_sources(package)
    headers = [text for name, text in sorted(texts.items()) if name.endswith(".h")]
    recipe = (describe_compiler(), constants, headers, texts[f"{source}.c"])
    stem = f"{source}-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:20]}"
    folder = kernel_folder()
    if folder is not None:
        # OSError: a full disk, or one whose files may not be executed.
        with contextlib.suppress(OSError):
            path = _find(folder, stem) or _compile(texts, source, constants, folder, stem)
            return ctypes.CDLL(str(path))
    try:
        return _load_privately(texts, source, constants, stem)
    except OSError as error:
        raise CompilerError(f"{source}.c was compiled but cannot be loaded: {error}") from error


def read_sources(package: str) -> dict[str, str]:
    """Return the texts of all files in the folder ``kernels`` of a package, by name."""
    folder = files(package).joinpath("kernels")
    return {
        item.name: item.read_text(encoding="utf-8")
        for item in folder.iterdir()
        if item.name.endswith((".c", ".h"))
    }


@lru_cache
def kernel_folder() -> Path | None:
    """Return the folder of compiled kernels, None if it cannot be made or is not safe."""
    try:
        folder = cache_folder("kernels")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve()
        reason = _unsafe(folder)
    except (OSError, RuntimeError):  # RuntimeError: ~ of a user without a home
        return None
    if reason:
        warn_user(
            f"The folder {str(folder)!r} of compiled kernels is not used: {reason}, who could "
            "replace them by other code. Kernels are compiled again for this process. Remove the "
            "folder, or set the environment variable GNNPRE_HOME to a folder of your own.",
            PerformanceWarning,
        )
        return None
    return folder


def _unsafe(path: Path) -> str:
    """Return why a file or folder may be changed by other users; nothing if only root may."""
    if not hasattr(os, "geteuid"):  # Windows: the user's profile has an access list of its own
        return ""
    status = path.lstat()
    if status.st_uid not in (os.geteuid(), 0):
        return f"it belongs to the user with id {status.st_uid}"
    if status.st_mode & 0o022:
        return f"its mode {stat.S_IMODE(status.st_mode):o} lets others write to it"
    for parent in path.parents:
        mode = parent.stat().st_mode
        # In a sticky folder, such as /tmp, nobody can rename what belongs to another user.
        if mode & 0o002 and not mode & stat.S_ISVTX:
            return f"{str(parent)!r} above it has mode {stat.S_IMODE(mode):o}: anybody may write"
    return ""


def _find(folder: Path, stem: str) -> Path | None:
    """Return the compiled kernel if it is intact; remove it if it is not."""
    for path in folder.glob(f"{stem}-*.so"):
        if _is_intact(path):
            return path
        with contextlib.suppress(OSError):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    return None


def _is_intact(path: Path) -> bool:
    """Return whether a file is the user's own and has the content that its name promises."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or _unsafe(path):
            return False
        return path.stem.endswith(f"-{hashlib.sha256(path.read_bytes()).hexdigest()}")
    except OSError:
        return False


def _compile(
    texts: dict[str, str],
    source: str,
    constants: tuple[tuple[str, int | str], ...],
    folder: Path,
    stem: str,
) -> Path:
    """Compile a kernel into a folder; return its path."""
    _remove_stale(folder, BUILD_PREFIX)
    with tempfile.TemporaryDirectory(dir=folder, prefix=BUILD_PREFIX) as build:
        content = compile_library(texts, f"{source}.c", constants, Path(build))
        path = folder / f"{stem}-{hashlib.sha256(content).hexdigest()}.so"
        # Others may do the same at this moment: whoever is last replaces equal content.
        with replace_file(path) as new:
            new.write_bytes(content)
            new.chmod(0o700)
    return path


def _load_privately(
    texts: dict[str, str], source: str, constants: tuple[tuple[str, int | str], ...], stem: str
) -> ctypes.CDLL:
    """Compile a kernel for this process alone; its file is removed once it is loaded."""
    _remove_stale(Path(tempfile.gettempdir()), PRIVATE_PREFIX)
    with tempfile.TemporaryDirectory(prefix=PRIVATE_PREFIX, ignore_cleanup_errors=True) as private:
        return ctypes.CDLL(str(_compile(texts, source, constants, Path(private), stem)))


def _remove_stale(folder: Path, prefix: str) -> None:
    """Remove the temporary folders of this user's killed processes."""
    for path in folder.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            old = time.time() - status.st_mtime > STALE_SECONDS
            if old and stat.S_ISDIR(status.st_mode) and not _unsafe(path):
                shutil.rmtree(path, ignore_errors=True)
