"""Steps that a GPU has recorded: one call starts all of their kernels.

Small steps spend most of their time on the start of some hundred kernels. A CUDA graph starts them
together, but repeats them as they were recorded: on the same tensors, of the same sizes.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from gnnpre.graphs import CrystalBatch
from gnnpre.objectives import LossTerm

__all__ = ["RECORDERS", "CudaGraph", "Outcome", "RecordedStep"]

_Batch = tuple[CrystalBatch, dict[str, Tensor]]
#: The loss of a step, and its terms.
Outcome = tuple[Tensor, dict[str, LossTerm]]


class Recorder(Protocol):
    """Records a function, and repeats it."""

    def warm_up(self, function: Callable[[], Outcome]) -> Outcome:
        """Run the function as it is."""

    def record(self, function: Callable[[], Outcome]) -> None:
        """Record the function without running it."""

    def replay(self) -> Outcome:
        """Repeat the record; the result is overwritten by the next run."""


class CudaGraph:
    """A recorded function on a GPU.

    Parameters
    ----------
    device : torch.device
        The GPU.
    """

    #: Memory that the graphs of a process share: no two of them run at the same time.
    _pools: ClassVar[dict[torch.device, Any]] = {}

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.graph = torch.cuda.CUDAGraph()
        self.result: Outcome | None = None

    def warm_up(self, function: Callable[[], Outcome]) -> Outcome:
        """Run the function on a stream of its own, as it will be recorded."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = function()
        current.wait_stream(self.stream)
        return result

    def record(self, function: Callable[[], Outcome]) -> None:
        """Record the function without running it."""
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.device(self.device):
            if self.device not in self._pools:
                self._pools[self.device] = torch.cuda.graph_pool_handle()
            options: dict[str, Any] = {
                "pool": self._pools[self.device],
                "stream": self.stream,
                # Threads that read data may use the device meanwhile.
                "capture_error_mode": "thread_local",
            }
            try:
                with torch.cuda.graph(self.graph, **options):
                    self.result = function()
            except BaseException:
                torch.cuda.set_stream(current)  # which torch leaves at the other one
                raise

    def replay(self) -> Outcome:
        """Repeat the record; the result is overwritten by the next run."""
        self.graph.replay()
        assert self.result is not None  # it has been recorded
        return self.result


#: What records steps, by type of device.
RECORDERS: dict[str, Callable[[torch.device], Recorder]] = {"cuda": CudaGraph}


class RecordedStep:
    """The step for batches of one size: its inputs and the record."""

    def __init__(self, batch: CrystalBatch, targets: dict[str, Tensor], recorder: Recorder) -> None:
        self.batch = {field.name: getattr(batch, field.name) for field in fields(CrystalBatch)}
        self.targets = targets
        self.recorder = recorder
        self.is_warm = self.is_recorded = False

    def fill(self, batch: CrystalBatch, targets: dict[str, Tensor]) -> None:
        """Overwrite the inputs."""
        for name, values in self.batch.items():
            values.copy_(getattr(batch, name))
        for name, values in self.targets.items():
            values.copy_(targets[name])

    def run(self, step: Callable[[_Batch], Outcome]) -> Outcome:
        """Make the step: as it is for the first time, then recorded."""
        if not self.is_warm:
            self.is_warm = True
            return self.recorder.warm_up(self._on_inputs(step))
        if not self.is_recorded:
            self.recorder.record(self._on_inputs(step))
            self.is_recorded = True
        return self.recorder.replay()

    def _on_inputs(self, step: Callable[[_Batch], Outcome]) -> Callable[[], Outcome]:
        # A new batch: what one computes from its tensors, it computes once.
        return lambda: step((CrystalBatch(**self.batch), self.targets))
