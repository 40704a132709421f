"""A step on a GPU never waits for it, as shown without one: on torch's device "meta".

Tensors there have no values, so that a look at one is an error, as are sizes that depend on values.
Code that asks for the device takes the same way as on a GPU.
"""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cases import BACKBONES, CUTOFF, OBJECTIVES, make_labels
from gnnpre import ForceField, PropertyTargets, StructureToGraph
from gnnpre.datasets import make_emt_frames
from gnnpre.training._average import LossTotals
from gnnpre.training._steps import backpropagate, clear_gradients, clip_gradients
from gnnpre.training._team import Alone

COPIES = torch.ops.aten._to_copy, torch.ops.aten.copy_


class NoBlockingCopies(TorchDispatchMode):
    """Raise an error for a copy between devices that waits for its end."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function.overloadpacket in COPIES:
            source = args[function.overloadpacket is torch.ops.aten.copy_]
            waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            if source.device != result.device and waits:
                raise RuntimeError(f"a copy from {source.device} to {result.device} waits")
        return result


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(make_emt_frames(4, random_state=0)[0])


def step(graphs, backbone, objective):
    """Make a step but for the optimizer on the device "meta"."""
    rows = np.arange(4)
    targets = objective.make_targets(graphs, make_labels(objective, graphs))
    model = objective.build(backbone.build(CUTOFF, 12.5), objective.layout(targets))
    model.set_statistics(graphs, targets, rows)
    generator = torch.Generator().manual_seed(0)
    labels = model.standardize(targets.batch(rows, torch.float64), graphs.batch(rows))
    batch, labels = graphs.batch(rows, torch.float32), {k: v.float() for k, v in labels.items()}
    if model.perturbs:  # its random numbers come from the host
        batch, labels = model.perturb(batch, labels, generator)
    model.to("meta").train()
    batch = batch.to("meta")
    labels = {name: values.to("meta") for name, values in labels.items()}
    parameters = [p for p in model.parameters() if p.requires_grad]
    with NoBlockingCopies():
        clear_gradients(parameters)
        loss, _ = backpropagate(model, (batch, labels), parameters, LossTotals(), Alone())
        clip_gradients(parameters, 10.0)
    return loss


@pytest.mark.parametrize("objective", [ForceField(), PropertyTargets()], ids=["forces", "property"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_backbone_waits(graphs, backbone, objective):
    assert step(graphs, BACKBONES[backbone], objective).device.type == "meta"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_objective_waits(graphs, objective):
    assert step(graphs, BACKBONES["torchmdnet"], OBJECTIVES[objective]).device.type == "meta"
