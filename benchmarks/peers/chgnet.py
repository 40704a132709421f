"""CHGNet with its own graphs: bonds within the cutoff, and angles of bonds up to 3 Å."""

from typing import Any

import torch
from chgnet.graph import CrystalGraphConverter
from chgnet.model import CHGNet
from pymatgen.core import Lattice, Structure

from peers import PeerTrainer


class Trainer(PeerTrainer):
    def predict(self, graphs: list) -> tuple[dict, dict, Any, int]:
        predicted = self.model([item["graph"] for item in graphs], task="efs")
        n_atoms = predicted["atoms_per_graph"]
        predictions = {
            "energy": predicted["e"] * n_atoms,
            "forces": torch.cat(predicted["f"]),
            "stress": torch.stack(predicted["s"]),
        }
        expected = {
            "energy": torch.stack([item["energy"] for item in graphs]),
            "forces": torch.cat([item["forces"] for item in graphs]),
            "stress": torch.stack([item["stress"] for item in graphs]),
        }
        return predictions, expected, n_atoms, sum(item["n_edges"] for item in graphs)


def make(payload: dict[str, Any]) -> dict[str, Trainer]:
    converter = CrystalGraphConverter(
        atom_graph_cutoff=payload["cutoff"], bond_graph_cutoff=3.0, on_isolated_atoms="ignore"
    )
    graphs = [as_item(crystal, converter) for crystal in payload["crystals"]]
    model = CHGNet(
        atom_fea_dim=payload["channels"],
        bond_fea_dim=payload["channels"],
        angle_fea_dim=payload["channels"],
        n_conv=payload["layers"],
        atom_graph_cutoff=payload["cutoff"],
        composition_model=None,
    )
    return {"chgnet CHGNet": Trainer(model, graphs, payload)}


def as_item(crystal: dict, converter: CrystalGraphConverter) -> dict[str, Any]:
    structure = Structure(
        Lattice(crystal["cell"]),
        crystal["numbers"],
        crystal["positions"],
        coords_are_cartesian=True,
    )
    graph = converter(structure)
    return {
        "graph": graph,
        "n_edges": len(graph.atom_graph),
        **{name: torch.tensor(crystal[name]).float() for name in Trainer.labels},
    }
