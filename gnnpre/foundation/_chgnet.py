"""CHGNet: features of its four layers, from the weights in its wheel."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ._adapter import Adapter, recorded, require

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["CHGNetAdapter"]


class CHGNetAdapter(Adapter):
    """CHGNet of B. Deng et al. (2023), BSD-3; 64 features of each atom."""

    package = "chgnet"
    weights = ("0.3.0", "0.2.0", "r2scan")
    n_layers = 4
    n_features = 64
    elements = frozenset(range(1, 95))

    def __init__(self, weights: str, device: str) -> None:
        require(self.package)
        from chgnet import model as chgnet_model

        folder = Path(chgnet_model.__file__).parents[1] / "pretrained" / weights
        (path,) = folder.glob("*.pth.tar")
        # CHGNet.load would unpickle the file; weights_only refuses anything but tensors.
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
        # The bias is what CHGNet.load sets for its first release.
        self.model = chgnet_model.CHGNet.from_dict(
            state, mlp_out_bias=weights == "0.2.0", version=weights
        )
        self.model = self.model.to(device).eval().requires_grad_(False)
        # An isolated atom has no neighbours, and the features of its element: no error.
        self.model.graph_converter.on_isolated_atoms = "ignore"
        self.device = device

    def features(
        self, structures: "Sequence[Structure]", layers: Sequence[int]
    ) -> list[dict[int, np.ndarray]]:
        """Return the features of each structure by layer, arrays ``(n_atoms, 64)``."""
        # Layer 0, then the message-passing layers.
        modules = [self.model.atom_embedding, *self.model.atom_conv_layers]
        graphs = [self.model.graph_converter(structure).to(self.device) for structure in structures]
        chosen = {layer: modules[layer] for layer in layers}
        with torch.no_grad(), recorded(chosen, lambda output: output) as outputs:
            self.model(graphs, task="e")
        sizes = [len(structure) for structure in structures]
        split = {layer: torch.split(values.cpu(), sizes) for layer, values in outputs.items()}
        return [
            {layer: split[layer][row].numpy() for layer in layers} for row in range(len(structures))
        ]
