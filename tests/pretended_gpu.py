"""Training steps on a device that does not exist; run as a script, which prints errors as JSON.

The device "pretended" is a backend of PyTorch without kernels, whose tensors have shapes but no
values (``FakeTensorMode``). A look at a value, a size that depends on values, a tensor of the host
among those of the device, and a copy that waits for its end are errors, as they are faults on a
GPU. Batches, perturbation, derivatives, clipping, optimizer and averages all run.
"""

import json
import sys
from types import SimpleNamespace

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from cases import BACKBONES, CUTOFF, OBJECTIVES, make_labels
from gnnpre import ForceField, PropertyTargets, StructureToGraph
from gnnpre.datasets import make_emt_frames
from gnnpre.graphs import _crystal_graphs
from gnnpre.training._average import LossTotals, WeightAverage
from gnnpre.training._cuda_graphs import RECORDERS
from gnnpre.training._graphed_steps import GraphedSteps
from gnnpre.training._loader import BatchLoader, CrystalDataset
from gnnpre.training._steps import backpropagate, clear_gradients, clip_gradients
from gnnpre.training._team import Alone

#: One for all cases: modules keep some tensors from one to the next.
FAKE_MODE = FakeTensorMode()
COPIES = torch.ops.aten._to_copy, torch.ops.aten.copy_

TASKS = {"forces": ForceField(), "property": PropertyTargets()}
#: Names of a backbone and of an objective, by the name of the case.
CASES = {
    **{f"{b}-{t}": (BACKBONES[b], TASKS[t]) for b in BACKBONES for t in TASKS},
    **{name: (BACKBONES["torchmdnet"], objective) for name, objective in OBJECTIVES.items()},
}


class PretendedGPU(TorchDispatchMode):
    """Run operations on the device without values, and those of the host as ever.

    A copy between the two that waits for its end is an error, if ``strict``.
    """

    def __init__(self, strict):
        super().__init__()
        self.strict = strict

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        is_here = any(isinstance(x, FakeTensor) for x in tensors)
        if not is_here and torch.device(kwargs.get("device") or "cpu").type == "cpu":
            return function(*args, **kwargs)
        if function is torch.ops.aten._fused_adamw_.tensor_lr:  # FakeTensorMode does not know it
            assert {str(x.device) for x in tensors} == {"pretended:0"}
            return None
        with FAKE_MODE:
            result = function(*tree_map(self._without_values, args), **kwargs)
        if self.strict and function.overloadpacket in COPIES:
            source = args[function.overloadpacket is torch.ops.aten.copy_]
            waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            if source.device != result.device and waits:
                raise RuntimeError(f"a copy from {source.device} to {result.device} waits")
        return result

    @staticmethod
    def _without_values(x):
        is_real = isinstance(x, torch.Tensor) and not isinstance(x, FakeTensor)
        return FAKE_MODE.from_tensor(x) if is_real else x


def prepare(graphs, backbone, objective):
    """Return a model with its statistics, and the data, on the host."""
    targets = objective.make_targets(graphs, make_labels(objective, graphs))
    model = objective.build(backbone.build(CUTOFF, 12.5), objective.layout(targets))
    rows = np.arange(len(graphs))
    model.set_statistics(graphs, targets, rows)
    return model, CrystalDataset(graphs, targets, rows)


def make_epoch(model, dataset, device):
    """Train for an epoch on a device."""
    with PretendedGPU(strict=False):
        model.to(device).train()
        dataset = dataset.to(device)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, fused=True)
    average, totals = WeightAverage(model, 0.9), LossTotals()
    loader = BatchLoader(
        dataset,
        model,
        batch_size=5,
        max_edges=None,
        dtype=torch.float32,
        generator=torch.Generator().manual_seed(0),
    )
    with PretendedGPU(strict=True):
        for batch in loader:
            clear_gradients(parameters)
            loss, _ = backpropagate(model, batch, parameters, totals, Alone())
            clip_gradients(parameters, 10.0)
            optimizer.step()
            average.update()
        # Steps that a GPU would record and repeat.
        if model.left_out is not None:
            state = SimpleNamespace(model=model, optimizer=optimizer, average=average)
            graphs = GraphedSteps(state, gradient_clip=10.0)
            for _ in range(2):
                loss, _ = graphs._run(batch)
    assert str(loss.device) == device, loss.device


class Rerun:
    """Stands in for a CUDA graph: runs the function again."""

    def __init__(self, device):
        self.device = device

    def warm_up(self, function):
        return function()

    def record(self, function):
        self.replay = function


def make_fault(name, device):
    """Do what would wait for a GPU, or fail there."""
    with PretendedGPU(strict=False):
        x = torch.ones(3, 3, device=device)
    with PretendedGPU(strict=True):
        FAULTS[name](x)


#: Faults that have to be found, by name.
FAULTS = {
    "value": lambda x: x.sum().item(),
    "branch": lambda x: bool((x > 0).all()),
    "size": lambda x: x[x > 0],
    "list": lambda x: x.new_tensor([1.0, 2.0]),
    "tensor of the host": lambda x: x + torch.ones(3, 3),
    "copy to the device": lambda x: torch.ones(3).to(x.device),
    "copy from the device": lambda x: x.cpu(),
}


def run(name, graphs):
    """Return the error of a case, None if there is none."""
    try:
        if name in FAULTS:
            make_fault(name, "pretended:0")
        else:
            model, dataset = prepare(graphs, *CASES[name])
            make_epoch(model, dataset, "pretended:0")
    except Exception as error:  # each is the result of its case
        return f"{type(error).__name__}: {error}"[:400]
    return None


if __name__ == "__main__":
    _setup_privateuseone_for_python_backend("pretended")
    RECORDERS["pretended"] = Rerun
    _crystal_graphs.resolve_device = lambda device, auto: torch.device(device)
    graphs = StructureToGraph(CUTOFF).transform(make_emt_frames(5, random_state=0)[0])
    print(json.dumps({name: run(name, graphs) for name in sys.argv[1:] or [*CASES, *FAULTS]}))
