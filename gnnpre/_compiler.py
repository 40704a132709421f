"""The C compiler of this machine: which one it is, and how it is called."""

import os
import platform
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

__all__ = ["CompilerError", "compile_library", "describe_compiler", "has_compiler"]

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
#: Flags for threads and vectorised loops, or for the latter alone where OpenMP is missing.
OPENMP_FLAGS = ("-fopenmp",), ("-fopenmp-simd",)
#: Flags for this very processor; the first that the compiler accepts.
NATIVE_FLAGS = ("-march=native", "-mprefer-vector-width=512"), ("-mcpu=native",), ()

#: Limits for a command that is not a compiler: CC may name anything.
COMPILE_SECONDS = 180.0
PROBE_SECONDS = 30.0
OUTPUT_BYTES = 2_000_000


class CompilerError(RuntimeError):
    """No kernel: there is no compiler, or it failed, or its result cannot be used."""


def has_compiler() -> bool:
    """Return whether there is a C compiler: one that CC names, or cc, gcc or clang."""
    try:
        return bool(_compiler())
    except CompilerError:
        return False


def describe_compiler() -> tuple[str, ...]:
    """Return all that a compiled file depends on, but for its sources and macros.

    The macros of the compiler show the meaning of -march=native: a home folder may be shared by
    machines with different processors.
    """
    flags = _native_flags()
    openmp = (" ".join(option) for option in OPENMP_FLAGS)
    return (*_compiler(), *FLAGS, *openmp, *flags, platform.machine(), _macros(flags) or "")


def compile_library(
    texts: Mapping[str, str],
    source: str,
    constants: tuple[tuple[str, int | str], ...],
    folder: Path,
) -> bytes:
    """Compile a kernel.

    Parameters
    ----------
    texts : mapping of str to str
        All sources and headers, by name.
    source : str
        Name of the file to compile.
    constants : tuple of (str, int or str)
        Macros.
    folder : Path
        An empty folder for the files that this takes.

    Returns
    -------
    bytes
        The shared library.

    Raises
    ------
    CompilerError
        If there is no compiler, or it fails, takes too long, or writes no file.
    OSError
        If the folder cannot be written.
    """
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    library = folder / "library.so"
    macros = [f"-D{name}={value}" for name, value in constants]
    command = [*_compiler(), *FLAGS, *macros]
    arguments = [*_native_flags(), str(folder / source), "-o", str(library), "-lm"]
    for flags in OPENMP_FLAGS:
        code, output = _run([*command, *flags, *arguments], COMPILE_SECONDS, folder)
        if code == 0:
            return _read_library(library, command[0], source)
    lines = output.strip().splitlines() or [f"exit status {code}"]
    reason = next((line for line in lines if "error" in line), lines[-1])
    raise CompilerError(f"{command[0]} failed on {source}: {reason[:300]}")


def _read_library(library: Path, compiler: str, source: str) -> bytes:
    try:
        content = library.read_bytes()
    except FileNotFoundError:
        content = b""
    if not content:
        raise CompilerError(
            f"{compiler} wrote no library for {source}, although it reported no error; expected "
            "the command of a C compiler in the environment variable CC"
        )
    return content


@lru_cache
def _compiler() -> tuple[str, ...]:
    """Return the command of the compiler: that in the environment variable CC, or one on PATH."""
    text = os.environ.get("CC", "")
    try:
        command = tuple(shlex.split(text))
    except ValueError as error:
        raise CompilerError(f"CC={text!r} is not a command: {error}") from error
    if command:
        return command
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return (path,)
    raise CompilerError("there is no C compiler: no cc, gcc or clang on PATH, and CC is not set")


@lru_cache
def _native_flags() -> tuple[str, ...]:
    for flags in NATIVE_FLAGS:
        if _macros(flags) is not None:
            return flags
    return ()


@lru_cache
def _macros(flags: tuple[str, ...]) -> str | None:
    """Return the macros that the compiler defines for the processor, None if it fails."""
    command = [*_compiler(), *flags, "-dM", "-E", "-x", "c", os.devnull]
    code, output = _run(command, PROBE_SECONDS)
    return output if code == 0 else None


def _run(command: list[str], seconds: float, folder: Path | None = None) -> tuple[int, str]:
    """Run a command; return its exit status and its output, up to a limit."""
    environment = dict(os.environ)
    if folder is not None:  # for its temporary files, which go with the folder
        environment["TMPDIR"] = str(folder)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise CompilerError(f"{command[0]} cannot be run: {error}") from error
    late = threading.Event()

    def stop() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(seconds, stop)
    timer.start()
    with process:
        assert process.stdout is not None
        output = process.stdout.read(OUTPUT_BYTES)
        if len(output) == OUTPUT_BYTES:
            _kill(process)
        code = process.wait()
        timer.cancel()
    if late.is_set():
        raise CompilerError(f"{command[0]} did not end within {seconds:g} s")
    return code, output.decode("utf-8", errors="replace")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and those that it started, which would keep its output open."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, OSError):  # no process groups here, or already over
        process.kill()
