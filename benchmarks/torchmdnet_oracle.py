"""Numbers of torchmd-net's own equivariant transformer, for tests/backbones/test_torchmdnet.py.

gnnpre does not depend on torchmd-net, so this runs in an environment of its own and imports
nothing of gnnpre:

    python -m venv oracle && oracle/bin/pip install torch torchmd-net==3.1.0
    oracle/bin/python benchmarks/torchmdnet_oracle.py

It writes a model with random weights, a periodic structure, and the features that torchmd-net gives
for it, edges and their directions included, with and without its cutoff on vectors. Two things are
chosen: the cell is wider than twice the cutoff, as torchmd-net sees one image of an atom, and no
atom is its own neighbour at distance zero (``loop=False``), as in the papers' code for crystals.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from torchmdnet.models.torchmd_et import TorchMD_ET
from torchmdnet.models.utils import OptimizedDistance

CUTOFF = 3.0
BOX = [[6.4, 0.0, 0.0], [0.7, 6.3, 0.0], [-0.4, 0.9, 6.6]]
NUMBERS = [1, 8, 13, 26, 29, 8, 1, 8, 26, 13, 8, 1]
SETTINGS = {"hidden_channels": 8, "num_layers": 3, "num_heads": 2, "num_rbf": 6, "max_z": 30}
OUTPUT = Path(__file__).parents[1] / "tests" / "backbones" / "torchmdnet_reference.json"


def make_model(**settings) -> TorchMD_ET:
    model = TorchMD_ET(**SETTINGS, cutoff_upper=CUTOFF, dtype=torch.float64, **settings).double()
    model.distance = OptimizedDistance(
        0.0,
        CUTOFF,
        max_num_pairs=-64,
        return_vecs=True,
        loop=False,
        box=torch.tensor(BOX, dtype=torch.float64),
    )
    return model


def random_weights() -> dict[str, torch.Tensor]:
    """Weights that leave no bias at zero and the network far from linear, rounded to be short."""
    torch.manual_seed(0)
    weights = make_model().state_dict()
    for name, value in weights.items():
        if name != "distance.box":
            value = 2.0 * value + 0.2 * torch.randn_like(value)
            weights[name] = (1e4 * value).round() / 1e4
    return weights


def random_positions() -> torch.Tensor:
    """Atoms in the cell and out of it, none closer than 1 Å to another's image."""
    box = torch.tensor(BOX, dtype=torch.float64)
    shifts = torch.cartesian_prod(*[torch.arange(-1.0, 2.0).double()] * 3) @ box
    while True:
        positions = (
            torch.rand(len(NUMBERS), 3, dtype=torch.float64) * 1.2 @ box * 1e4
        ).round() / 1e4
        vectors = positions[:, None, None] - positions[None, :, None] + shifts
        distances = vectors.norm(dim=-1)
        if distances[distances > 0].min() > 1.0:
            return positions


def main() -> None:
    weights, positions = random_weights(), random_positions().requires_grad_()
    numbers = torch.tensor(NUMBERS)
    result = {
        "made_by": f"benchmarks/torchmdnet_oracle.py, torchmd-net {version('torchmd-net')}",
        "settings": SETTINGS,
        "cutoff": CUTOFF,
        "cell": BOX,
        "atomic_numbers": NUMBERS,
        "positions": positions.tolist(),
        "weights": {n: w.tolist() for n, w in weights.items() if n != "distance.box"},
        "features": [],
    }
    for vector_cutoff in (False, True):
        model = make_model(vector_cutoff=vector_cutoff)
        model.load_state_dict(weights)
        scalars, vectors, *_ = model(numbers, positions, torch.zeros_like(numbers))
        edges = model.distance(positions, torch.zeros_like(numbers))[0]
        (gradient,) = torch.autograd.grad(scalars[:, 0].sum(), positions)
        result["features"].append(
            {
                "vector_cutoff": vector_cutoff,
                "n_edges": edges.shape[1],
                "scalars": scalars.tolist(),
                "vectors": vectors.tolist(),
                "gradient_of_channel_0": gradient.tolist(),
            }
        )
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    path.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
