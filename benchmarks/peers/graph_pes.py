"""graph-pes: SchNet and PaiNN."""

from typing import Any

import torch
from graph_pes import AtomicGraph
from graph_pes.atomic_graph import structure_sizes, to_batch
from graph_pes.models import PaiNN, SchNet

from peers import PeerTrainer


class Trainer(PeerTrainer):
    def predict(self, graphs: list) -> tuple[dict, dict, Any, int]:
        batch = to_batch(graphs)
        predicted = self.model.predict(batch, list(self.labels))
        return predicted, batch.properties, structure_sizes(batch), batch.neighbour_list.shape[1]


def make(payload: dict[str, Any]) -> dict[str, Trainer]:
    graphs = [as_graph(crystal, payload["cutoff"]) for crystal in payload["crystals"]]
    sizes = {name: payload[name] for name in ("channels", "layers", "cutoff")}
    models = {
        "graph-pes SchNet": SchNet(expansion_features=50, **sizes),
        "graph-pes PaiNN": PaiNN(radial_features=50, **sizes),
    }
    for model in models.values():
        model.pre_fit_all_components(graphs[:32])
    return {name: Trainer(model, graphs, payload) for name, model in models.items()}


def as_graph(crystal: dict, cutoff: float) -> AtomicGraph:
    source, target = torch.tensor(crystal["edge_index"])
    return AtomicGraph(
        Z=torch.tensor(crystal["numbers"]).long(),
        R=torch.tensor(crystal["positions"]).float(),
        cell=torch.tensor(crystal["cell"]).float(),
        neighbour_list=torch.stack([target, source]),
        neighbour_cell_offsets=torch.tensor(crystal["edge_shift"]).float(),
        properties={
            "energy": torch.tensor(crystal["energy"]).float(),
            "forces": torch.tensor(crystal["forces"]).float(),
            "stress": torch.tensor(crystal["stress"]).float(),
        },
        cutoff=cutoff,
        other={},
    )
