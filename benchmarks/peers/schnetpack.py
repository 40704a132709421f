"""SchNetPack: SchNet and PaiNN."""

from typing import Any, TypeVar

import torch
from torch.utils.data import dataloader

from peers import PeerTrainer

# schnetpack 2.1.1 imports this name for an annotation; torch 2.13 has it no more.
dataloader.T_co = TypeVar("T_co", covariant=True)


class Trainer(PeerTrainer):
    def predict(self, graphs: list) -> tuple[dict, dict, Any, int]:
        from schnetpack.data.loader import _atoms_collate_fn

        batch = _atoms_collate_fn(graphs)
        expected = {name: batch.pop("true_" + name) for name in self.labels}
        n_edges = len(batch["_idx_i"])
        predicted = self.model(batch)
        return predicted, expected, batch["_n_atoms"], n_edges


def make(payload: dict[str, Any]) -> dict[str, Trainer]:
    import schnetpack as spk

    graphs = [as_graph(crystal) for crystal in payload["crystals"]]
    options = {
        "n_atom_basis": payload["channels"],
        "n_interactions": payload["layers"],
        "radial_basis": spk.nn.GaussianRBF(n_rbf=50, cutoff=payload["cutoff"]),
        "cutoff_fn": spk.nn.CosineCutoff(payload["cutoff"]),
    }
    kinds = {"SchNet": spk.representation.SchNet, "PaiNN": spk.representation.PaiNN}
    return {
        f"schnetpack {name}": Trainer(make_model(representation(**options)), graphs, payload)
        for name, representation in kinds.items()
    }


def make_model(representation: Any) -> Any:
    import schnetpack as spk

    return spk.model.NeuralNetworkPotential(
        representation=representation,
        input_modules=[spk.atomistic.Strain(), spk.atomistic.PairwiseDistances()],
        output_modules=[
            spk.atomistic.Atomwise(n_in=representation.n_atom_basis, output_key="energy"),
            spk.atomistic.Forces(calc_forces=True, calc_stress=True),
        ],
    )


def as_graph(crystal: dict) -> dict[str, torch.Tensor]:
    source, target = torch.tensor(crystal["edge_index"])
    offsets = crystal["edge_shift"] @ crystal["cell"]
    return {
        "_n_atoms": torch.tensor([len(crystal["numbers"])]),
        "_atomic_numbers": torch.tensor(crystal["numbers"]).long(),
        "_positions": torch.tensor(crystal["positions"]).float(),
        "_cell": torch.tensor(crystal["cell"]).float()[None],
        "_pbc": torch.ones(3, dtype=torch.bool),
        "_idx_i": target,
        "_idx_j": source,
        "_offsets": torch.tensor(offsets).float(),
        "true_energy": torch.tensor([crystal["energy"]]).float(),
        "true_forces": torch.tensor(crystal["forces"]).float(),
        "true_stress": torch.tensor(crystal["stress"]).float()[None],
    }
