"""Processes that one training starts on this machine, for its own duration.

They are plain Python processes, not forks: nothing of the caller's state is copied, and a script
needs no ``if __name__ == "__main__"``. The data reach them through memory-mapped files.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import torch
import torch.distributed as dist

from gnnpre._devices import resolve_device

from ._ranks import ProcessFailedError, process_timeout
from ._settings import TrainingSettings
from ._work import TrainingWork

__all__ = ["Workers", "backend_of", "device_of"]

#: Seconds that a worker may take to end by itself once the training is over.
SECONDS_TO_END = 10.0


class Workers:
    """Start processes 1 to n - 1 of a training; this process is number 0.

    Parameters
    ----------
    work : TrainingWork
        The training.
    n_processes : int
        Number of all processes.
    """

    def __init__(self, work: TrainingWork, n_processes: int) -> None:
        self.work = work
        self.n_processes = n_processes
        self.processes: list[subprocess.Popen[bytes]] = []
        self.folder: Path | None = None
        # Global settings that the training changes, and that come back at its end. PyTorch puts
        # the rank before each line of a traceback.
        self.n_threads = torch.get_num_threads()
        self.excepthook = sys.excepthook

    def __enter__(self) -> "Workers":
        temporary = os.environ.get("JOBLIB_TEMP_FOLDER") or None
        self.folder = Path(tempfile.mkdtemp(prefix="gnnpre-", dir=temporary))
        try:
            self._start(self.folder)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def wait(self) -> None:
        """Wait until all workers have ended."""
        for process in self.processes:
            try:
                process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()

    def describe_exit(self) -> str | None:
        """Return how the first worker that ended early did so, if one has."""
        time.sleep(0.1)  # its connections close a moment before the process has ended
        for rank, process in enumerate(self.processes, start=1):
            if process.poll() is not None:
                return self._describe(rank, process)
        return None

    def _start(self, folder: Path) -> None:
        # 1. the work of each, and a store to meet at
        self.work.save(folder)
        timeout = process_timeout()
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        threads = max(1, self.n_threads // self.n_processes)
        torch.set_num_threads(threads)
        # 2. start
        for rank in range(1, self.n_processes):
            options = [str(folder), str(rank), str(self.n_processes), str(store.port)]
            command = [sys.executable, "-W", "ignore", "-m", "gnnpre.training._worker", *options]
            # A pipe that closes with this process, however it ends.
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, env=_environment(threads), close_fds=True
            )
            self.processes.append(process)
        # 3. wait until all are there
        self._meet(store, timeout)
        dist.init_process_group(
            backend_of(self.work.settings),
            store=store,
            rank=0,
            world_size=self.n_processes,
            timeout=timeout,
        )

    def _meet(self, store: dist.TCPStore, timeout: timedelta) -> None:
        deadline = time.monotonic() + timeout.total_seconds()
        missing = list(range(1, self.n_processes))
        while missing:
            missing = [rank for rank in missing if not store.check([f"ready-{rank}"])]
            for rank in missing:
                process = self.processes[rank - 1]
                if process.poll() is not None:
                    raise ProcessFailedError(self._describe(rank, process))
            if time.monotonic() > deadline:
                raise ProcessFailedError(f"Process {missing[0]} did not start in time.")
            time.sleep(0.01)

    def _describe(self, rank: int, process: "subprocess.Popen[bytes]") -> str:
        assert self.folder is not None
        code = process.returncode
        if code < 0:
            reason = f"signal {-code} ({signal.Signals(-code).name}) ended it"
            if -code == signal.SIGKILL:
                reason += ", perhaps for want of memory"
        else:
            file = self.folder / f"error-{rank}.txt"
            lines = file.read_text().strip().splitlines() if file.exists() else []
            reason = f"it failed with {lines[-1]}" if lines else f"it ended with status {code}"
        return f"process {rank} of {self.n_processes}: {reason}"

    def _end(self) -> None:
        """End the workers and their files; none outlives the training."""
        torch.set_num_threads(self.n_threads)
        if dist.is_initialized():
            dist.destroy_process_group()
            sys.excepthook = self.excepthook
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _environment(n_threads: int) -> dict[str, str]:
    """Return the environment of a worker: the same modules, and its share of the threads."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(n_threads)}


def device_of(settings: TrainingSettings, rank: int) -> str:
    """Return the device of one process: each has a GPU of its own."""
    is_cuda = resolve_device(settings.device).type == "cuda"
    return f"cuda:{rank}" if is_cuda else settings.device


def backend_of(settings: TrainingSettings) -> str:
    """Return the backend of torch.distributed for the device of a training."""
    is_cuda = resolve_device(settings.device).type == "cuda"
    return "cpu:gloo,cuda:nccl" if is_cuda else "gloo"
