"""Run cases in forked children, with limits on CPU time and memory."""

import faulthandler
import json
import os
import resource
import selectors
import shutil
import signal
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .outcomes import BROKEN, CRASH, HANG, MEMORY, classify_error, classify_result, location

#: CPU time that a case may take, in seconds, and the wall time after which it is killed.
CPU_SECONDS, WALL_SECONDS = 20, 240
#: Memory and size of files that a case may take above what the parent holds, in bytes.
MEMORY_BYTES, FILE_BYTES = 4 << 30, 1 << 30

Attack = Callable[[np.random.Generator, Path, Any], tuple[str, Callable[[], Any]]]


@dataclass(frozen=True)
class Case:
    """One input: it depends on these three alone."""

    attack: str
    number: int
    seed: int

    def rng(self) -> np.random.Generator:
        """Return the generator from which the input is drawn."""
        return np.random.default_rng([self.seed, zlib.crc32(self.attack.encode()), self.number])


@dataclass(frozen=True)
class Report:
    """What happened to a case."""

    attack: str
    number: int
    seed: int
    outcome: str
    description: str
    error: str = ""
    location: str = ""

    def __str__(self) -> str:
        command = f"python -m tests.fuzz --seed {self.seed} --attack {self.attack}"
        return (
            f"{self.outcome}: {self.description}\n    {self.error[:300]} ({self.location})\n"
            f"    {command} --case {self.number}"
        )


def run_cases(
    cases: Iterable[Case], attacks: dict[str, Attack], shared: Any, folder: Path, workers: int = 1
) -> Iterator[Report]:
    """Run cases, ``workers`` at a time, and yield a report of each as it ends."""
    waiting, running = iter(cases), selectors.DefaultSelector()
    for _ in range(workers):
        _start_next(waiting, attacks, shared, folder, running)
    while running.get_map():
        ready = running.select(timeout=1.0)
        for key, _ in ready:
            running.unregister(key.fileobj)
            yield key.data.finish()
            _start_next(waiting, attacks, shared, folder, running)
        for key in list(running.get_map().values()):
            key.data.kill_if_late()


def _start_next(
    waiting: Iterator[Case],
    attacks: dict[str, Attack],
    shared: Any,
    folder: Path,
    running: selectors.BaseSelector,
) -> None:
    case = next(waiting, None)
    if case is not None:
        child = Child(case, attacks[case.attack], shared, folder)
        running.register(child.pipe, selectors.EVENT_READ, child)


class Child:
    """A forked process that tries one case and writes what happened to a pipe."""

    def __init__(self, case: Case, attack: Attack, shared: Any, folder: Path) -> None:
        self.case, self.start, self.killed = case, time.monotonic(), False
        self.folder = folder / f"{case.attack}-{case.number}"
        # The description comes first, in a file: it survives a crash.
        self.note = folder / f"{case.attack}-{case.number}.txt"
        read_end, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(read_end)
            _run_child(case, attack, shared, self.folder, self.note, write_end)
        os.close(write_end)
        self.pipe = os.fdopen(read_end, "rb")

    def kill_if_late(self) -> None:
        """Kill a child that sleeps, which costs no CPU time."""
        if not self.killed and time.monotonic() - self.start > WALL_SECONDS:
            self.killed = True
            os.kill(self.pid, signal.SIGKILL)

    def finish(self) -> Report:
        """Wait for the end, and return the report."""
        answer = self.pipe.read()
        self.pipe.close()
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        description = self.note.read_text() if self.note.exists() else "while the case was made"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.note.unlink(missing_ok=True)
        if status == 0:
            return Report(**asdict(self.case), description=description, **json.loads(answer))
        return Report(
            **asdict(self.case),
            description=description,
            outcome=self._outcome_of_signal(status),
            error=signal.Signals(-status).name if status < 0 else f"exit status {status}",
        )

    def _outcome_of_signal(self, status: int) -> str:
        if self.killed or status == -signal.SIGXCPU:
            return HANG
        # Only the kernel kills a child that we did not: it takes too much memory.
        return MEMORY if status == -signal.SIGKILL else CRASH


def _run_child(
    case: Case, attack: Attack, shared: Any, folder: Path, note: Path, pipe: int
) -> None:
    """Try a case in a forked child; never returns."""
    status = 1
    try:
        _set_limits()
        _silence()
        folder.mkdir()
        os.chdir(folder)
        report = try_case(case, attack, shared, folder, note)
    except Exception:
        # The case could not even be made: a fault of the harness.
        report = {"outcome": BROKEN, "error": traceback.format_exc()[-1000:]}
    try:
        os.write(pipe, json.dumps(report).encode("utf-8", "replace")[:60_000])
        status = 0
    finally:
        os._exit(status)


def try_case(
    case: Case, attack: Attack, shared: Any, folder: Path, note: Path, *, verbose: bool = False
) -> dict[str, str]:
    """Make and try a case in this process; return outcome, error and location."""
    description, action = attack(case.rng(), folder, shared)
    note.write_text(description, errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = classify_result(action())
    except (Exception, KeyboardInterrupt) as error:
        if verbose:
            traceback.print_exc()
        text = f"{type(error).__name__}: {error}"[:1000].encode("utf-8", "replace").decode()
        return {"outcome": classify_error(error), "error": text, "location": location(error)}
    return {"outcome": outcome}


def _set_limits() -> None:
    virtual_pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_space = virtual_pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 10))


def _silence() -> None:
    """Send what a case prints nowhere, and the dump of a crash too."""
    faulthandler.disable()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
