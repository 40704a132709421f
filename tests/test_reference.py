"""CGCNN against the papers' equations, written down again with torch-geometric's own layers.

Energy, forces and stress are calculated as the papers' code does it: neighbours from ASE, one-hot
elements, ``CGConv`` layers on concatenated features, and derivatives with respect to positions and
a strain that is applied to positions and cell.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from torch import Tensor, nn
from torch_geometric.nn import CGConv, global_add_pool, global_mean_pool

from cases import make_model, random_structures
from gnnpre import CGCNN, ForceField, StructureToGraph
from gnnpre.objectives import ObjectiveModel

CUTOFF = 6.125  # 49 steps of 0.125 Å: a grid that has no rounding in float32 either
N_RADIAL = 50
N_ELEMENTS = 100
STRUCTURES = [atoms for atoms in random_structures().values() if atoms.pbc.all()]


class ReferenceGraph(NamedTuple):
    """Crystals in torch-geometric's convention: edges run from source to target."""

    numbers: Tensor
    positions: Tensor
    cell: Tensor
    batch: Tensor
    edge_index: Tensor
    edge_shift: Tensor


def build_graph(structures: list[Atoms]) -> ReferenceGraph:
    sources, targets, shifts, start = [], [], [], 0
    for atoms in structures:
        target, source, shift = neighbor_list("ijS", atoms, CUTOFF)
        sources.append(source + start)
        targets.append(target + start)
        shifts.append(shift)
        start += len(atoms)
    counts = [len(atoms) for atoms in structures]
    return ReferenceGraph(
        numbers=torch.tensor(np.concatenate([atoms.numbers for atoms in structures])).long(),
        positions=torch.tensor(np.concatenate([atoms.positions for atoms in structures])),
        cell=torch.tensor(np.stack([atoms.cell.array for atoms in structures])),
        batch=torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
        edge_index=torch.tensor(np.stack([np.concatenate(sources), np.concatenate(targets)])),
        edge_shift=torch.tensor(np.concatenate(shifts)).double(),
    )


class ReferenceCGCNN(nn.Module):
    """One-hot, linear, SiLU; CGConv layers; pool; a perceptron on what was pooled."""

    def __init__(self, channels: int, n_layers: int, *, batch_norm: bool, width: float, pool: str):
        super().__init__()
        self.pre = nn.Linear(N_ELEMENTS, channels)
        self.convolutions = nn.ModuleList(
            CGConv(channels, dim=N_RADIAL, aggr="mean", batch_norm=batch_norm)
            for _ in range(n_layers)
        )
        self.post = nn.ModuleList(
            [nn.Linear(channels, 150), nn.Linear(150, 150), nn.Linear(150, 150)]
        )
        self.out = nn.Linear(150, 1)
        self.width = width
        self.pool = pool

    def forward(self, graph: ReferenceGraph) -> Tensor:
        source, target = graph.edge_index
        shift = torch.einsum("ei,eij->ej", graph.edge_shift, graph.cell[graph.batch[target]])
        distance = (graph.positions[source] + shift - graph.positions[target]).norm(dim=1)
        offset = torch.linspace(0, CUTOFF, N_RADIAL, dtype=torch.float64)
        coefficient = -0.5 / ((offset[-1] - offset[0]) * self.width) ** 2
        edge_attr = torch.exp(coefficient * (distance.view(-1, 1) - offset.view(1, -1)) ** 2)
        x = nn.functional.one_hot(graph.numbers - 1, N_ELEMENTS).double()
        x = nn.functional.silu(self.pre(x))
        for convolution in self.convolutions:
            x = convolution(x, graph.edge_index, edge_attr)
        x = {"sum": global_add_pool, "mean": global_mean_pool}[self.pool](x, graph.batch)
        for layer in self.post:
            x = nn.functional.silu(layer(x))
        energy = self.out(x).view(-1)
        # A force field takes what is read out of a mean for the energy per atom.
        return energy if self.pool == "sum" else energy * torch.bincount(graph.batch)

    def energy_forces_stress(self, graph: ReferenceGraph) -> dict[str, Tensor]:
        strain = torch.zeros(len(graph.cell), 3, 3, dtype=torch.float64, requires_grad=True)
        symmetric = (strain + strain.transpose(-1, -2)) / 2
        positions = graph.positions.clone().requires_grad_()
        strained = positions + torch.einsum("ni,nij->nj", positions, symmetric[graph.batch])
        cell = graph.cell + graph.cell @ symmetric
        energy = self(graph._replace(positions=strained, cell=cell))
        dpositions, dstrain = torch.autograd.grad(energy.sum(), [positions, strain])
        a1, a2, a3 = graph.cell.unbind(1)
        # The papers leave the sign of a left-handed cell in; a volume has none.
        volume = (a1 * torch.linalg.cross(a2, a3)).sum(-1).abs()
        return {"energy": energy, "forces": -dpositions, "stress": dstrain / volume.view(-1, 1, 1)}


def copy_weights(model: ObjectiveModel, reference: ReferenceCGCNN) -> None:
    """Copy the weights of a model of gnnpre to the reference."""
    backbone = model.backbone
    reference.pre.load_state_dict(backbone.embedding.linear.state_dict())
    for ours, theirs in zip(backbone.layers, reference.convolutions, strict=True):
        weight = torch.cat([ours.target.weight, ours.source.weight, ours.edge.weight], dim=1)
        gate, core = weight.chunk(2)
        gate_bias, core_bias = ours.target.bias.chunk(2)
        theirs.lin_f.load_state_dict({"weight": gate, "bias": gate_bias})
        theirs.lin_s.load_state_dict({"weight": core, "bias": core_bias})
        if ours.norm is not None:
            theirs.bn.load_state_dict(ours.norm.state_dict())
    linears = [layer for layer in model.head.mlp if isinstance(layer, nn.Linear)]
    for ours, theirs in zip(linears, [*reference.post, reference.out], strict=True):
        theirs.load_state_dict(ours.state_dict())


def papers_backbone(channels: int = 12, n_layers: int = 3, **parameters) -> CGCNN:
    return CGCNN(
        channels,
        n_layers,
        n_radial=N_RADIAL,
        envelope=None,
        aggregation="mean",
        activation="softplus",
        element_start="uniform",
        **parameters,
    )


def papers_objective(**parameters) -> ForceField:
    return ForceField(
        energy_per="cell",
        reference_energies=None,
        scale=False,
        readout="early",
        head_layers=3,
        head_channels=150,
        **parameters,
    )


def make_pair(
    *, batch_norm: bool, width: float, pool: str
) -> tuple[ObjectiveModel, ReferenceCGCNN]:
    backbone = papers_backbone(batch_norm=batch_norm, smearing_width=width)
    model = make_model(backbone, papers_objective(pooling=pool), cutoff=CUTOFF)
    model.scale.fill_(1.0)
    model.reference_energies.zero_()
    reference = ReferenceCGCNN(12, 3, batch_norm=batch_norm, width=width, pool=pool).double().eval()
    copy_weights(model, reference)
    return model, reference


@pytest.mark.parametrize("pool", ["sum", "mean"])
@pytest.mark.parametrize("width", [0.05, 0.2])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch_norm"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_energy_forces_and_stress_are_the_papers(batch_norm, width, pool, training):
    model, reference = make_pair(batch_norm=batch_norm, width=width, pool=pool)
    model.train(training)
    reference.train(training)
    expected = reference.energy_forces_stress(build_graph(STRUCTURES))
    found = model(StructureToGraph(CUTOFF).transform(STRUCTURES).batch(dtype=torch.float64))
    for name, values in expected.items():
        assert values.abs().max() > 1e-3
        torch.testing.assert_close(found[name], values, rtol=1e-10, atol=1e-10)


def test_batch_norm_learns_the_same_running_statistics():
    model, reference = make_pair(batch_norm=True, width=0.2, pool="sum")
    model.train()
    reference.train()
    reference.energy_forces_stress(build_graph(STRUCTURES))
    model(StructureToGraph(CUTOFF).transform(STRUCTURES).batch(dtype=torch.float64))
    for ours, theirs in zip(model.backbone.layers, reference.convolutions, strict=True):
        torch.testing.assert_close(ours.norm.running_mean, theirs.bn.running_mean)
        torch.testing.assert_close(ours.norm.running_var, theirs.bn.running_var)


def test_gradients_of_a_force_loss_are_the_papers():
    """The second derivatives that training takes."""
    model, reference = make_pair(batch_norm=False, width=0.2, pool="sum")
    graph = build_graph(STRUCTURES)
    positions = graph.positions.clone().requires_grad_()
    energy = reference(graph._replace(positions=positions))
    (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
    gradient.square().mean().backward()
    model.train()
    found = model(StructureToGraph(CUTOFF).transform(STRUCTURES).batch(dtype=torch.float64))
    found["forces"].square().mean().backward()
    pairs = [
        (model.backbone.embedding.linear.weight.grad, reference.pre.weight.grad),
        (model.head.mlp[0].weight.grad, reference.post[0].weight.grad),
    ]
    for ours, theirs in zip(model.backbone.layers, reference.convolutions, strict=True):
        parts = [ours.target.weight.grad, ours.source.weight.grad, ours.edge.weight.grad]
        expected = torch.cat([theirs.lin_f.weight.grad, theirs.lin_s.weight.grad])
        pairs.append((torch.cat(parts, dim=1), expected))
    for ours, theirs in pairs:
        assert theirs.abs().max() > 1e-4
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_number_of_parameters_is_that_of_the_papers():
    backbone = papers_backbone(100, 4).build(cutoff=8.0)
    model = papers_objective().build(backbone, {})
    counts = {
        "embedding": sum(p.numel() for p in backbone.embedding.parameters()),
        "layers": sum(p.numel() for p in backbone.layers.parameters()),
        "head": sum(p.numel() for p in model.head.parameters()),
    }
    assert counts == {"embedding": 10_100, "layers": 200_800, "head": 60_450 + 151}
    assert sum(p.numel() for p in model.parameters()) == 271_501
