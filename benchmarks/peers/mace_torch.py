"""MACE with scalar features (64x0e for 64 channels), two interactions as its small models have."""

from typing import Any

import numpy as np
import torch

from peers import PeerTrainer

# e3nn 0.4.4 keeps its constants as a pickle, which torch has to be told is harmless.
torch.serialization.add_safe_globals([slice])


class Trainer(PeerTrainer):
    def predict(self, graphs: list) -> tuple[dict, dict, Any, int]:
        from mace.tools import torch_geometric

        batch = torch_geometric.batch.Batch.from_data_list(graphs)
        predicted = self.model(
            batch.to_dict(), training=True, compute_force=True, compute_stress=True
        )
        n_atoms = batch.ptr[1:] - batch.ptr[:-1]
        expected = {name: batch[name] for name in self.labels}
        return predicted, expected, n_atoms, batch.edge_index.shape[1]


def make(payload: dict[str, Any]) -> dict[str, Trainer]:
    from e3nn import o3
    from mace import modules, tools

    numbers = sorted({int(z) for crystal in payload["crystals"] for z in crystal["numbers"]})
    model = modules.ScaleShiftMACE(
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
        r_max=payload["cutoff"],
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps(f"{payload['channels']}x0e"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(numbers)),
        avg_num_neighbors=payload["mean_neighbors"],
        atomic_numbers=numbers,
        correlation=3,
        gate=torch.nn.functional.silu,
    )
    table = tools.AtomicNumberTable(numbers)
    graphs = [as_graph(crystal, table) for crystal in payload["crystals"]]
    name = f"MACE {payload['channels']}x0e"
    return {name: Trainer(model, graphs, payload)}


def as_graph(crystal: dict, table: Any) -> Any:
    from mace import data, tools

    indices = torch.tensor([table.z_to_index(int(z)) for z in crystal["numbers"]])
    shift = crystal["edge_shift"]
    optional = (
        "weight head energy_weight forces_weight stress_weight virials_weight dipole_weight "
        "charges_weight polarizability_weight virials dipole charges polarizability elec_temp"
    )
    return data.AtomicData(
        edge_index=torch.tensor(crystal["edge_index"]),
        node_attrs=tools.to_one_hot(indices[:, None], num_classes=len(table)).float(),
        positions=torch.tensor(crystal["positions"]).float(),
        shifts=torch.tensor(shift @ crystal["cell"]).float(),
        unit_shifts=torch.tensor(shift).float(),
        cell=torch.tensor(crystal["cell"]).float(),
        energy=torch.tensor(crystal["energy"]).float(),
        forces=torch.tensor(crystal["forces"]).float(),
        stress=torch.tensor(crystal["stress"]).float()[None],
        **dict.fromkeys(optional.split()),
    )
