"""The plain models that speed is measured against give our numbers and learn as ours do."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Tensor
from torch_geometric.data import Batch, Data

from benchmarks.plain import (
    PlainModel,
    copy_weights,
    data_from_structure,
    edges_of,
    make_data,
    make_plain,
    plain_loss,
    to_plain,
)
from cases import MEAN_NEIGHBORS, loss_targets, make_frame_labels, make_model
from gnnpre import CGCNN, ForceField, PropertyTargets, StructureToGraph, TorchMDNet
from gnnpre.datasets import make_emt_frames
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Objective, ObjectiveModel, Targets

CUTOFF = 5.0
STRUCTURES, _ = make_emt_frames(6, max_atoms=6, random_state=0)
CGCNN_SIZES = {"hidden_channels": 12, "n_layers": 3, "n_radial": 20}
ET_SIZES = {"hidden_channels": 16, "n_layers": 3, "n_heads": 4, "n_radial": 12}
PUBLISHED = {
    "envelope": None,
    "aggregation": "mean",
    "activation": "softplus",
    "element_start": "uniform",
    "smearing_width": 0.2,
}
BACKBONES = {
    "cgcnn_papers": CGCNN(**CGCNN_SIZES, **PUBLISHED),
    "cgcnn": CGCNN(**CGCNN_SIZES),
    "torchmdnet": TorchMDNet(**ET_SIZES),
    "torchmdnet_papers": TorchMDNet(
        **ET_SIZES, vector_cutoff=False, aggregation="sum", element_start="normal"
    ),
}
OBJECTIVES = {
    "l1": ForceField(1, 2, 3),
    "mse_early_mean": ForceField(
        1, 2, 3, loss="mse", readout="early", pooling="mean", head_layers=3, head_channels=10
    ),
    "properties": PropertyTargets(),
}
#: Largest difference of two arrays as a part of the largest number in them.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


class Pair:
    """Ours and the plain one with the same weights, on the same crystals."""

    def __init__(self, backbone: str, objective: str, dtype: torch.dtype) -> None:
        self.objective: Objective = clone(OBJECTIVES[objective])
        self.graphs: CrystalGraphs = StructureToGraph(CUTOFF).transform(STRUCTURES)
        self.targets: Targets = self.objective.make_targets(self.graphs, self._labels())
        self.ours: ObjectiveModel = make_model(
            BACKBONES[backbone],
            self.objective,
            cutoff=CUTOFF,
            layout=self.objective.layout(self.targets),
            dtype=dtype,
        ).train()
        # Of the size that training starts from: single precision has no digits for large ones.
        for parameter in self.ours.parameters():
            parameter.data /= 3.0
        self.plain: PlainModel = make_plain(
            BACKBONES[backbone], self.objective, CUTOFF, MEAN_NEIGHBORS
        ).to(dtype)
        copy_weights(self.ours, self.plain)
        self.batch = self.graphs.batch(dtype=dtype)
        self.data = Batch.from_data_list(make_data(self.graphs, self.targets, dtype))
        labels = loss_targets(self.ours, self.targets, self.batch, np.arange(len(self.graphs)))
        self.labels = {name: values.to(dtype) for name, values in labels.items()}

    def _labels(self):
        if isinstance(self.objective, ForceField):
            return make_frame_labels(self.graphs.atom_counts)
        return np.random.default_rng(0).normal(size=len(self.graphs))

    def our_loss(self) -> Tensor:
        terms = self.ours.losses(self.ours(self.batch), self.labels, self.batch)
        return sum(term.weight * term.step_mean for term in terms.values())

    def plain_loss(self) -> Tensor:
        weights = {"properties": 1.0 / self.ours.std} if "properties" in self.labels else {}
        for name in ("energy", "forces", "stress"):
            if name in self.labels:
                weights[name] = getattr(self.objective, name)
        return plain_loss(self.plain(self.data), self.data, weights, self.objective.loss).sum()


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_predictions_and_gradients_of_the_loss_are_the_plain_ones(backbone, objective, dtype):
    pair = Pair(backbone, objective, dtype)
    expected = pair.plain(pair.data)
    found = pair.ours.predict(pair.batch)
    for name, values in expected.items():
        assert values.abs().max() > 1e-5
        assert difference(found[name], values) < TOLERANCE[dtype], name
    pair.our_loss().backward()
    pair.plain_loss().backward()
    ours = to_plain({name: value.grad for name, value in pair.ours.named_parameters()}, pair.ours)
    gradients = {name: value.grad for name, value in pair.plain.named_parameters()}
    largest = max(value.abs().max() for value in gradients.values())
    for name, value in gradients.items():
        assert (ours[name] - value).abs().max() < TOLERANCE[dtype] * largest, name


def curve(parameters, loss) -> Tensor:
    """Losses of ten steps of the optimiser that the estimators use."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        losses.append(value.detach())
    return torch.stack(losses)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=["f64", "f32"]
)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_training_curves_coincide(backbone, dtype, tolerance):
    pair = Pair(backbone, "l1", dtype)
    ours = curve(pair.ours.parameters(), pair.our_loss)
    plain = curve(pair.plain.parameters(), pair.plain_loss)
    assert plain.max() - plain.min() > 0.05 * plain.mean()
    torch.testing.assert_close(ours, plain, rtol=tolerance, atol=0.0)


def edge_rows(edge_index: Tensor, edge_shift: Tensor) -> np.ndarray:
    rows = torch.cat([edge_index.t().double(), edge_shift.double()], dim=1).numpy()
    return rows[np.lexsort(rows.T)]


def test_plain_graphs_of_structures_have_our_edges():
    batch = StructureToGraph(CUTOFF).transform(STRUCTURES).batch(dtype=torch.float64)
    plain = [data_from_structure(s, CUTOFF, None, torch.float64) for s in STRUCTURES]
    plain = Batch.from_data_list(plain)
    expected = edge_rows(batch.edge_index, batch.edge_shift)
    np.testing.assert_array_equal(edge_rows(plain.edge_index, plain.edge_shift), expected)


def test_plain_graphs_of_nearest_neighbors_have_our_distances():
    """Which of two neighbours at the same distance stays is anyone's choice."""
    ours = StructureToGraph(CUTOFF, max_neighbors=3, neighbor_cut="exact").transform(STRUCTURES)
    for structure, graph in zip(STRUCTURES, ours, strict=True):
        plain = data_from_structure(structure, CUTOFF, 3, torch.float64)
        expected = edges_of(Batch.from_data_list([graph]), graph.pos, graph.cell).distances
        found = edges_of(Batch.from_data_list([plain]), plain.pos, plain.cell).distances
        np.testing.assert_allclose(by_target(found, plain), by_target(expected, graph), atol=1e-9)


def by_target(distances: Tensor, data: Data) -> np.ndarray:
    order = np.lexsort((distances.numpy(), data.edge_index[1].numpy()))
    assert torch.bincount(data.edge_index[1]).eq(3).all()
    return distances.numpy()[order]


def test_a_backbone_without_a_plain_form_is_refused():
    with pytest.raises(ValueError, match="has no plain form"):
        make_plain(CGCNN(batch_norm=True), ForceField(), CUTOFF, MEAN_NEIGHBORS)
