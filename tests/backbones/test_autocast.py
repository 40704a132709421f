"""Networks under autocast, which computes linear maps in bfloat16."""

import pytest
import torch

from cases import BACKBONES, CUTOFF
from gnnpre import ForceField, StructureToGraph
from gnnpre.datasets import make_emt_frames


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["cgcnn", "schnet", "torchmdnet"])
def test_forces_and_their_gradients(name, compiled):
    frames, _ = make_emt_frames(3, random_state=0)
    batch = StructureToGraph(CUTOFF).transform(frames).batch()
    torch.manual_seed(0)
    model = ForceField().build(BACKBONES[name].build(CUTOFF, 12.0), {}).train()
    model.backbone.compiled = compiled
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            forces = model(batch)["forces"]
            model.zero_grad()
            forces.square().sum().backward()
        weights = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        results.append((forces.detach(), torch.cat(weights)))
    for exact, rough in zip(*results, strict=True):
        assert not torch.equal(exact, rough)
        assert (exact - rough).norm() < 0.1 * exact.norm()
