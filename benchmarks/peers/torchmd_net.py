"""torchmd-net: its equivariant transformer on our edges, energies and forces.

Its own neighbour search takes one periodic cell a batch, wider than twice the cutoff, so that it
cannot see these crystals. It is given their edges, and no stress is asked of it. What it leaves out
of them (a unit vector for an atom's own images) costs no time.
"""

from typing import Any

import torch
from torchmdnet.models.model import create_model

from peers import PeerTrainer

SETTINGS = {
    "model": "equivariant-transformer",
    "precision": 32,
    "num_rbf": 50,
    "rbf_type": "expnorm",
    "trainable_rbf": True,
    "activation": "silu",
    "attn_activation": "silu",
    "num_heads": 8,
    "distance_influence": "both",
    "neighbor_embedding": True,
    "cutoff_lower": 0.0,
    "max_z": 101,
    "max_num_neighbors": 32,
    "reduce_op": "add",
    "output_model": "Scalar",
    "prior_model": None,
    "derivative": True,
    "atom_filter": -1,
    "remove_ref_energy": False,
}


class GivenEdges(torch.nn.Module):
    """Takes the place of the neighbour search."""

    def forward(self, positions: Any, batch: Any, box: Any = None) -> tuple:
        source, target = self.index
        vectors = positions[source] + self.shift - positions[target]
        # A copy: the transformer writes to it, and the norm still needs what it was.
        return self.index, vectors.norm(dim=1), vectors.clone()


class Trainer(PeerTrainer):
    labels = ("energy", "forces")

    def predict(self, graphs: list) -> tuple[dict, dict, Any, int]:
        n_atoms = torch.tensor([len(graph["numbers"]) for graph in graphs])
        first = torch.cumsum(n_atoms, 0) - n_atoms
        edges = self.model.representation_model.distance
        pairs = [graph["edge_index"] + start for graph, start in zip(graphs, first, strict=True)]
        edges.index = torch.cat(pairs, dim=1)
        joined = {name: torch.cat([graph[name] for graph in graphs]) for name in PER_ROW}
        edges.shift = joined["shift"]
        batch = torch.repeat_interleave(torch.arange(len(graphs)), n_atoms)
        energy, forces = self.model(joined["numbers"], joined["positions"], batch)
        predicted = {"energy": energy[:, 0], "forces": forces}
        return predicted, joined, n_atoms, edges.index.shape[1]


PER_ROW = ("numbers", "positions", "shift", "energy", "forces")


def make(payload: dict[str, Any]) -> dict[str, Trainer]:
    model = create_model(
        {
            **SETTINGS,
            "embedding_dimension": payload["channels"],
            "num_layers": payload["layers"],
            "cutoff_upper": payload["cutoff"],
        }
    )
    model.representation_model.distance = GivenEdges()
    graphs = [as_graph(crystal) for crystal in payload["crystals"]]
    name = f"torchmd-net ET {payload['channels']}x{payload['layers']}, energies and forces"
    return {name: Trainer(model, graphs, payload)}


def as_graph(crystal: dict) -> dict[str, torch.Tensor]:
    return {
        "numbers": torch.tensor(crystal["numbers"]).long(),
        "positions": torch.tensor(crystal["positions"]).float(),
        "edge_index": torch.tensor(crystal["edge_index"]),
        "shift": torch.tensor(crystal["edge_shift"] @ crystal["cell"]).float(),
        "energy": torch.tensor([crystal["energy"]]).float(),
        "forces": torch.tensor(crystal["forces"]).float(),
    }
