"""Shared by the benchmarks: peers as subprocesses, turns, and the origin of a figure."""

import gc
import importlib.metadata
import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

__all__ = [
    "NOW",
    "ROOT",
    "Peer",
    "in_words",
    "origin_lines",
    "pin_to_one_core",
    "race",
    "resident",
    "revision",
    "serve",
    "stopwatch",
    "versions",
    "where_and_when",
]

ROOT = Path(__file__).resolve().parent.parent
#: Name of the revision that is this checkout as it is.
NOW = "now"
PACKAGES = (
    "torch",
    "numpy",
    "pymatgen",
    "pymatgen-core",
    "ase",
    "torch-geometric",
    "matgl",
    "nvalchemi-toolkit-ops",
    "dscribe",
    "mace-torch",
    "graph-pes",
    "schnetpack",
    "torchmd-net",
    "chgnet",
)


def pin_to_one_core() -> None:
    """Keep this process, and those it starts, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def versions() -> dict[str, str]:
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


class Peer:
    """A script in another Python, kept alive and asked by lines of JSON (see :func:`serve`)."""

    def __init__(
        self, python: str, script: str, payload: Any, folder: Path, *arguments: str
    ) -> None:
        path = folder / "payload.pickle"
        path.write_bytes(pickle.dumps(payload))
        command = [python, script, *arguments, "--serve-peer", str(path)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions = self._answer()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the peer ended; see what it wrote above")
        return json.loads(line)

    def ask(self, *question: Any) -> Any:
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return self._answer()

    def contender(self, name: str) -> Callable:
        """Return a function that passes its arguments on to a contender of the peer."""
        return lambda *arguments: tuple(self.ask(name, *arguments))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


@contextmanager
def revision(name: str, script: Path, payload: Any = None) -> Iterator[Peer]:
    """Yield a process that runs a script with the package and benchmarks of a revision.

    It has a work tree of its own, unless it is :data:`NOW`, that is this checkout as it is.
    """
    with TemporaryDirectory() as folder:
        tree = ROOT
        if name != NOW:
            tree = Path(folder) / "tree"
            git = ["git", "-C", str(ROOT), "worktree"]
            subprocess.run([*git, "add", "--detach", "-q", str(tree), name], check=True)
        path = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = f"{tree}{os.pathsep}{tree / 'benchmarks'}"
        try:
            peer = Peer(sys.executable, str(script), payload, Path(folder))
        finally:
            os.environ.pop("PYTHONPATH") if path is None else os.environ.update(PYTHONPATH=path)
        try:
            yield peer
        finally:
            peer.close()
            if name != NOW:
                subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def serve(make_contenders: Callable[[], dict[str, Callable]]) -> None:
    """Answer the questions of a :class:`Peer`: one line of JSON each, on stdin and stdout."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is not an answer
    contenders = make_contenders()
    print(json.dumps(versions()), file=answers, flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(contenders[name](*arguments)), file=answers, flush=True)


def stopwatch(run: Callable[[], Any]) -> tuple[list[float], Any]:
    """Run a function; return its seconds of processor time and on the clock, and its result."""
    gc.collect()
    start = time.process_time(), time.perf_counter()
    result = run()
    stop = time.process_time(), time.perf_counter()
    return [after - before for before, after in zip(start, stop, strict=True)], result


def race(contenders: dict[str, Callable], repeats: int, *arguments: Any) -> dict[str, dict]:
    """Time contenders that take turns; the first round warms up and does not count.

    Each returns its seconds, and a figure that shows that it did the same work. Seconds may be a
    list: of processor time, which the median is of, and on the clock (see :func:`stopwatch`).
    """
    seconds: dict[str, list[list[float]]] = {name: [] for name in contenders}
    work = {}
    for _ in range(repeats + 1):
        for name, contender in contenders.items():
            elapsed, work[name] = contender(*arguments)
            seconds[name].append(elapsed if isinstance(elapsed, list) else [elapsed])
    return {name: _summary(seconds[name][1:], work[name]) for name in contenders}


def _summary(seconds: list[list[float]], work: Any) -> dict:
    processor, *clock = [list(column) for column in zip(*seconds, strict=True)]
    summary = {"median": statistics.median(processor), "work": work, "seconds": processor}
    return summary | ({"clock": statistics.median(clock[0])} if clock else {})


def where_and_when() -> dict:
    def git(*command: str) -> str:
        run = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True)
        return run.stdout.strip()

    cpu_info = Path("/proc/cpuinfo")
    models = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    model = next((line.split(":")[1].strip() for line in models if "model name" in line), "")
    changed = " with changes" if git("status", "--porcelain", "gnnpre") else ""
    return {
        "machine": f"{model or platform.processor()}, {os.cpu_count()} cores, one thread",
        "versions": versions(),
        "commit": git("rev-parse", "--short", "HEAD") + changed,
        "date": time.strftime("%Y-%m-%d"),
    }


def resident(field: str) -> float | None:
    """``VmRSS`` (now) or ``VmHWM`` (at most) of this process in GB; None where not to be had."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(x.split()[1]) / 1e6 for x in lines if x.startswith(field)), None)


def in_words(installed: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in installed.items())


def origin_lines(result: dict) -> list[str]:
    return [
        f"gnnpre at commit {result['commit']}: {in_words(result['versions'])}.",
        "",
        f"{result['machine']}; {result['date']}.",
    ]
