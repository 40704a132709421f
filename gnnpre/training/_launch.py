"""The processes of a training: those of a launcher (torchrun), started ones, or this one alone."""

import atexit
import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist

from gnnpre._devices import resolve_device

from ._load import suitable_n_processes
from ._ranks import ProcessFailedError, Ranks, process_timeout
from ._settings import TrainingSettings
from ._work import TrainingWork
from ._workers import Workers, device_of

__all__ = ["agreed_seed", "closing", "is_launched", "join_processes", "joins_launched"]

#: Held while this process trains together with others: torch knows one such group at a time.
_lock = threading.Lock()
#: The thread whose training has started the processes of torch's group, if one has.
_threads: list[int] = []


def is_launched() -> bool:
    """Return whether a launcher (torchrun, for example) started this process as one of several."""
    if not dist.is_available():
        return False
    if dist.is_initialized():
        # Another training, in a thread or around this one, may have started processes of its own.
        return dist.get_world_size() > 1 and not _threads
    # Workers of joblib inherit the variables of the process that started them.
    is_main = multiprocessing.current_process().name == "MainProcess"
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return is_main and all(name in os.environ for name in names) and _world_size() > 1


def _world_size() -> int:
    return int(os.environ["WORLD_SIZE"])


def joins_launched(n_processes: int | str | None) -> bool:
    """Return whether a training takes place in all processes of a launcher.

    Raises
    ------
    ValueError
        If ``n_processes`` is neither 1 nor the number of those processes.
    """
    if n_processes == 1 or not is_launched():
        return False
    size = dist.get_world_size() if dist.is_initialized() else _world_size()
    if n_processes not in (None, "auto", size):
        raise ValueError(
            f"n_processes={n_processes}, but this script was started as {size} processes, which "
            "train together: leave n_processes at None, or set 1 to train in each of them alone."
        )
    return True


@contextmanager
def join_processes(work: TrainingWork) -> Iterator[tuple[Ranks | None, TrainingSettings]]:
    """Yield the processes to train in, None for this one alone, and the settings of this process.

    An error in the block ends the training in all of them.

    Parameters
    ----------
    work : TrainingWork
        The training.
    """
    settings = work.settings
    if joins_launched(settings.n_processes):
        with _launched_ranks() as ranks:
            work.check_same(ranks)
            yield ranks, replace(settings, device=_device_of_rank(settings.device))
        return
    n_processes = choose_n_processes(work)
    if n_processes == 1:
        yield None, settings
        return
    with (
        _only_one_here(n_processes),
        Workers(work, n_processes) as workers,
        closing(Ranks(workers.describe_exit)) as ranks,
    ):
        yield ranks, replace(settings, device=device_of(settings, 0))
        workers.wait()


@contextmanager
def _only_one_here(n_processes: int) -> Iterator[None]:
    """Wait until no other thread trains in processes that it has started."""
    thread = threading.get_ident()
    if thread in _threads:
        raise RuntimeError(
            f"n_processes={n_processes} within a training that has started processes itself, from "
            "a callback for example: set n_processes=1 here."
        )
    with _lock:
        _threads.append(thread)
        try:
            yield
        finally:
            _threads.clear()


@contextmanager
def _launched_ranks() -> Iterator[Ranks]:
    if not _lock.acquire(blocking=False):
        raise RuntimeError(
            "Two trainings at the same time, in threads, cannot share the processes of one "
            "launcher. Train one after the other (n_jobs=1), or each alone (n_processes=1)."
        )
    try:
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            try:
                dist.init_process_group(backend, timeout=process_timeout())
            except dist.DistError as error:
                raise ProcessFailedError(
                    f"The {os.environ.get('WORLD_SIZE')} processes of the launcher did not all "
                    f"appear within {process_timeout()} (GNNPRE_PROCESS_TIMEOUT sets the seconds): "
                    f"{error}"
                ) from error
            atexit.register(dist.destroy_process_group)
        with closing(Ranks()) as ranks:
            yield ranks
    finally:
        _lock.release()


@contextmanager
def closing(ranks: Ranks) -> Iterator[Ranks]:
    """Close the connections after a block of code; an error in it ends the other processes."""
    try:
        yield ranks
    except BaseException as error:
        ranks.fail(error)
        raise
    ranks.close()


def choose_n_processes(work: TrainingWork) -> int:
    """Return the number of processes to train in on this machine.

    Raises
    ------
    ValueError
        If there are fewer GPUs or processors than processes, or torch is built without
        torch.distributed.
    """
    n_processes = work.settings.n_processes
    if n_processes is None or n_processes == 1:
        return 1
    if isinstance(n_processes, str):  # "auto"
        return suitable_n_processes(work)
    if not dist.is_available():
        raise ValueError(
            f"n_processes={n_processes}, but this build of torch has no torch.distributed."
        )
    is_cuda = resolve_device(work.settings.device).type == "cuda"
    if is_cuda and n_processes > torch.cuda.device_count():
        raise ValueError(
            f"n_processes={n_processes}, but torch sees {torch.cuda.device_count()} GPUs; each "
            "process needs its own."
        )
    # Two are allowed anywhere, so that a script can be tried on a small machine.
    processors = max(2, os.cpu_count() or 1)
    if not is_cuda and n_processes > processors:
        raise ValueError(
            f"n_processes={n_processes}, but this machine has {processors} processors; more "
            "processes take memory and gain nothing. Use several machines through torchrun."
        )
    return int(n_processes)


def agreed_seed(seed: int, n_processes: int | str | None) -> int:
    """Return the seed of process 0, if a training takes place in all processes of a launcher."""
    if not joins_launched(n_processes):
        return seed
    with _launched_ranks() as ranks:
        agreed: int = ranks.broadcast(seed)
        return agreed


def _device_of_rank(device: Any) -> str:
    """Return the device of this process: the GPU of its number on its machine."""
    resolved = resolve_device(device)
    if str(resolved) == "cuda":  # no number
        local = int(os.environ.get("LOCAL_RANK", dist.get_rank()))
        return str(resolve_device(f"cuda:{local}"))
    return str(resolved)
