"""Kernels in C: compiled for this processor at first use, and kept on disk."""

import contextlib
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from gnnpre._atomic import write_file
from gnnpre._home import cache_folder

__all__ = ["CompilerError", "has_compiler", "load_kernel"]

FLAGS = (
    "-std=c11",
    "-O3",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fvisibility=hidden",
)
#: Loops over vectors, and threads where the compiler has them.
OPENMP_FLAGS = ("-fopenmp",), ("-fopenmp-simd",)
#: For this processor alone; compilers that do not know them go without.
NATIVE_FLAGS = ("-march=native", "-mprefer-vector-width=512"), ("-mcpu=native",), ()


class CompilerError(RuntimeError):
    """No kernel, as there is no compiler or it failed."""


def has_compiler() -> bool:
    """Say whether there is a C compiler at hand."""
    try:
        return bool(_compiler())
    except CompilerError:
        return False


@lru_cache
def load_kernel(source: str, constants: tuple[tuple[str, int | str], ...]) -> ctypes.CDLL:
    """Load a file of ``kernels/``, compiled with these macros; compile it if nobody has yet.

    Compiled kernels are kept in the folder ``kernels`` of ``GNNPRE_HOME``, or of the user's cache.

    Parameters
    ----------
    source : str
        Name of the file, without ``.c``.
    constants : tuple of (str, int or str)
        Macros.

    Returns
    -------
    ctypes.CDLL
        The loaded library.

    Raises
    ------
    CompilerError
        If there is no C compiler, or it fails.
    """
    texts = _read_sources()
    command = [*_compiler(), *FLAGS, *(f"-D{name}={value}" for name, value in constants)]
    headers = [text for file, text in sorted(texts.items()) if file.endswith(".h")]
    known = [*command, OPENMP_FLAGS, _processor(), *headers, texts[f"{source}.c"]]
    name = f"{source}-{hashlib.sha256(repr(known).encode()).hexdigest()[:20]}.so"
    path = _folder() / name
    if path.is_file():
        with contextlib.suppress(OSError):  # of a broken file
            return ctypes.CDLL(str(path))
    _compile(texts, source, command, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CompilerError(f"{path} cannot be loaded: {error}") from error


def _read_sources() -> dict[str, str]:
    folder = files(__package__).joinpath("kernels")
    return {
        item.name: item.read_text(encoding="utf-8")
        for item in folder.iterdir()
        if item.name.endswith((".c", ".h"))
    }


@lru_cache
def _compiler() -> tuple[str, ...]:
    """Give the command of a C compiler: that of the environment variable CC, or one at hand."""
    if os.environ.get("CC"):
        return tuple(shlex.split(os.environ["CC"]))
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return (found,)
    raise CompilerError("there is no C compiler: no cc, gcc or clang on PATH, and CC is not set")


@lru_cache
def _processor() -> str:
    """Say what -march=native means here: a home folder may be shared by many machines."""
    return " ".join((*_native_flags(), platform.machine(), _macros(_native_flags()) or ""))


@lru_cache
def _native_flags() -> tuple[str, ...]:
    for flags in NATIVE_FLAGS:
        if _macros(flags) is not None:
            return flags
    return ()


def _macros(flags: Iterable[str]) -> str | None:
    """Give what the compiler defines for the processor, None if it rejects the flags."""
    command = [*_compiler(), *flags, "-dM", "-E", "-x", "c", os.devnull]
    result = _run(command)
    return result.stdout if result.returncode == 0 else None


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CompilerError(f"{command[0]} cannot be run: {error}") from error


@lru_cache
def _folder() -> Path:
    folder = cache_folder("kernels")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:  # a home that cannot be written: for this process alone
        return Path(tempfile.mkdtemp(prefix="gnnpre-"))


def _compile(texts: dict[str, str], source: str, command: list[str], path: Path) -> None:
    """Compile into a file of another name, then give it its own: others may do the same."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as name:
        folder = Path(name)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
        library = folder / path.name
        arguments = [*_native_flags(), str(folder / f"{source}.c"), "-o", str(library), "-lm"]
        for flags in OPENMP_FLAGS:
            result = _run([*command, *flags, *arguments])
            if result.returncode == 0:
                write_file(path, library.read_bytes())
                return
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        reason = next((line for line in lines if "error" in line), lines[-1])
        raise CompilerError(f"{command[0]} failed on {source}.c: {reason}")
