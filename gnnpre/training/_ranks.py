"""The processes of one training, and their messages (through torch.distributed).

Process 0 leads: it runs the training loop. The others compute the gradients of their shares of its
batches. A process that fails leaves its error in the store that all of them can read, and closes
its connections, upon which the others end with that error instead of waiting for it.
"""

import base64
import contextlib
import gc
import itertools
import os
import pickle
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["ProcessFailedError", "Ranks", "process_timeout"]

#: Seconds that a process waits for another one, unless GNNPRE_PROCESS_TIMEOUT says otherwise.
DEFAULT_TIMEOUT = 1800
#: Seconds that a process stays awake while it waits for a message.
SECONDS_AWAKE = 0.02
# The error of another process is on its way when a connection to it closes.
SECONDS_FOR_ERROR = 5

_numbers = itertools.count()
# Lets other threads run; not every system has a function for that alone.
_yield_core: Callable[[], None] = getattr(os, "sched_yield", lambda: time.sleep(0))


class ProcessFailedError(RuntimeError):
    """Another process of the same training has failed; the message has its error."""


def process_timeout() -> timedelta:
    """Return how long a process waits for another one.

    Raises
    ------
    ValueError
        If the environment variable is not a positive number.
    """
    text = os.environ.get("GNNPRE_PROCESS_TIMEOUT", str(DEFAULT_TIMEOUT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ValueError(f"GNNPRE_PROCESS_TIMEOUT={text!r}; expected a number of seconds above 0.")
    return timedelta(seconds=seconds)


class Ranks:
    """All processes of a training, as one of them sees them.

    Every process makes one at the same point of the program, after ``init_process_group``.

    Parameters
    ----------
    describe_exit : callable, optional
        Returns how a process ended that left no error, as far as it is known.
    """

    def __init__(self, describe_exit: Callable[[], str | None] | None = None) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.describe_exit = describe_exit
        self._group: Any = None
        self._store: Any = dist.distributed_c10d._get_default_store()
        try:
            self._group = dist.new_group(timeout=process_timeout())
        except RuntimeError as error:  # another process ended before it had connected
            raise self._failure(error) from None
        # One launcher serves many trainings, and each has its own errors.
        self._store = dist.PrefixStore(f"gnnpre-{self.broadcast(next(_numbers))}", self._store)

    @property
    def leads(self) -> bool:
        """Whether this is the process that runs the training loop."""
        return self.rank == 0

    def broadcast(self, value: Any = None) -> Any:
        """Return the object of process 0 in all processes."""
        holder = [value if self.leads else None]
        self._run(dist.broadcast_object_list, holder, src=0)
        return holder[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the objects of all processes, in all of them."""
        values: list[Any] = [None] * self.size
        self._run(dist.all_gather_object, values, value)
        return values

    def add_up(self, values: Tensor) -> None:
        """Replace a tensor, in all processes, by its sum over them."""
        self._send(dist.all_reduce, values)

    def add_up_at_leader(self, values: Tensor) -> None:
        """Replace a tensor of process 0 by its sum over all; that of the others is undefined."""
        self._send(dist.reduce, values, dst=0)

    def copy_from_leader(self, values: Tensor) -> None:
        """Replace a tensor, in all processes, by that of process 0."""
        self._send(dist.broadcast, values, src=0)

    def close(self) -> None:
        """Close the connections."""
        if self._group is None:
            return
        group, self._group = self._group, None
        dist.destroy_process_group(group)

    def fail(self, error: BaseException) -> None:
        """Leave an error to the other processes, and close the connections."""
        if isinstance(error, ProcessFailedError):
            return self.close()
        try:
            content = pickle.dumps((self.rank, error))
            pickle.loads(content)
        except Exception:  # an error that only this process can hold
            content = pickle.dumps((self.rank, RuntimeError(f"{type(error).__name__}: {error}")))
        with contextlib.suppress(RuntimeError):  # the store is gone, and so is process 0
            self._store.set("failure", base64.b64encode(content).decode())
        self.close()
        # gloo closes connections when the last reference goes; the others wait for that.
        gc.collect()

    def _send(self, operation: Callable[..., Any], values: Tensor, **kwargs: Any) -> None:
        """Send or receive a tensor."""
        if values.device.type == "cpu":
            self._run(_stay_awake, operation, values, **kwargs)
        else:
            self._run(operation, values, **kwargs)

    def _run(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            operation(*args, group=self._group, **kwargs)
        except RuntimeError as error:
            raise self._failure(error) from None

    def _failure(self, error: RuntimeError) -> BaseException:
        """Return the error that another process left, or a description of its end."""
        cause: BaseException
        try:
            self._store.wait(["failure"], timedelta(seconds=SECONDS_FOR_ERROR))
            rank, cause = pickle.loads(base64.b64decode(self._store.get("failure")))
        except (RuntimeError, pickle.PickleError):
            reason = self.describe_exit() if self.describe_exit is not None else None
            return ProcessFailedError(
                f"Process {self.rank} of {self.size} lost another one: "
                f"{reason or 'it was killed, or does not answer'}. With checkpoint_dir and "
                f"resume=True, the same call goes on from the last epoch. ({error})"
            )
        if rank == 0:  # the loop's own error, which is the error of the training
            return cause
        failure = ProcessFailedError(
            f"Process {rank} of {self.size} failed with {type(cause).__name__}: {cause}"
        )
        failure.__cause__ = cause
        return failure


def _stay_awake(operation: Callable[..., Any], values: Tensor, **kwargs: Any) -> None:
    """Send or receive a tensor, and do not go to sleep at once.

    To wake up takes longer than most messages: the three of a step of 129 ms took 8 ms more.
    """
    message = operation(values, async_op=True, **kwargs)
    end = time.perf_counter() + SECONDS_AWAKE
    while not message.is_completed() and time.perf_counter() < end:
        _yield_core()  # the threads of gloo may be waiting for it
    message.wait()


def pack(tensors: list[Tensor]) -> Tensor:
    """Return tensors as one flat tensor."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def unpack(flat: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Return the tensors that :func:`pack` joined."""
    pieces = flat.split([tensor.numel() for tensor in like])
    return [piece.view_as(tensor) for piece, tensor in zip(pieces, like, strict=True)]
