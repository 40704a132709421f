"""matgl: TensorNet and M3GNet, its own graphs and its own training batches."""

from typing import Any

import torch
from ase import Atoms
from matgl.apps.pes import Potential
from matgl.config import DEFAULT_ELEMENTS
from matgl.ext.ase import Atoms2Graph
from matgl.graph.data import collate_fn_pes
from matgl.models import M3GNet, TensorNet

from peers import PeerTrainer


class Trainer(PeerTrainer):
    def predict(self, graphs: list) -> tuple[dict, dict, Any, int]:
        batch, lattice, state, energy, forces, stress, *_ = collate_fn_pes(graphs)
        n_edges = batch.edge_index.shape[1]
        predicted = dict(zip(self.labels, self.model(batch, lattice, state), strict=False))
        expected = {"energy": energy, "forces": forces, "stress": stress}
        return predicted, expected, torch.bincount(batch.batch), n_edges


def make(payload: dict[str, Any]) -> dict[str, Trainer]:
    graphs = [as_item(crystal, payload["cutoff"]) for crystal in payload["crystals"]]
    sizes = {
        "nblocks": payload["layers"],
        "units": payload["channels"],
        "cutoff": payload["cutoff"],
        "is_intensive": False,
    }
    models = {
        "matgl TensorNet": TensorNet(num_rbf=50, **sizes),
        "matgl M3GNet": M3GNet(
            dim_node_embedding=payload["channels"], dim_edge_embedding=payload["channels"], **sizes
        ),
    }
    return {
        name: Trainer(Potential(model, calc_stresses=True), graphs, payload)
        for name, model in models.items()
    }


def as_item(crystal: dict, cutoff: float) -> tuple:
    atoms = Atoms(
        crystal["numbers"], positions=crystal["positions"], cell=crystal["cell"], pbc=True
    )
    graph, lattice, state = Atoms2Graph(DEFAULT_ELEMENTS, cutoff).get_graph(atoms)
    labels = {
        "energies": crystal["energy"],
        "forces": torch.tensor(crystal["forces"]).float(),
        "stresses": torch.tensor(crystal["stress"]).float(),
    }
    return graph, lattice[0], torch.tensor(state).float(), labels
