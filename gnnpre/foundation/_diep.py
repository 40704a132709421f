"""DIEP: features of its three blocks, from the weights in its wheel."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ._adapter import Adapter, recorded, require

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["DIEPAdapter"]

PREFIX = "model."


class DIEPAdapter(Adapter):
    """DIEP, BSD-3, trained on MatPES r2SCAN; 64 features of each atom."""

    package = "diep"
    weights = ("diep_fold1",)
    n_layers = 3
    n_features = 64

    def __init__(self, weights: str, device: str) -> None:
        require(self.package)
        from ase.data import atomic_numbers
        from diep.models import _diep

        folder = Path(_diep.__file__).parents[1] / "pretrained_models" / weights
        # The package would import the classes that the file names; the one that we know will do.
        config = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        self.model = _diep.DIEP(**config["model"]["init_args"])
        own_state = {
            name.removeprefix(PREFIX): value
            for name, value in state.items()
            if name.startswith(PREFIX)
        }
        self.model.load_state_dict(own_state)
        self.model = self.model.to(device).eval().requires_grad_(False)
        self.elements = frozenset(atomic_numbers[symbol] for symbol in self.model.element_types)

    def features(
        self, structures: "Sequence[Structure]", layers: Sequence[int]
    ) -> list[dict[int, np.ndarray]]:
        """Return the features of each structure by layer, arrays ``(n_atoms, 64)``."""
        return [self._features(structure, layers) for structure in structures]

    def _features(self, structure: "Structure", layers: Sequence[int]) -> dict[int, np.ndarray]:
        modules = {0: self.model.embedding}
        names = [f"gc_{layer}" for layer in layers if layer > 0] or ["final"]
        with torch.no_grad(), recorded(modules, lambda output: output[0]) as outputs:
            values: dict[str, Any] = self.model.predict_structure(
                structure, output_layers=names, return_features=True
            )
        tensors = {
            layer: outputs[0] if layer == 0 else values[f"gc_{layer}"]["node_feat"]
            for layer in layers
        }
        return {layer: tensor.cpu().numpy() for layer, tensor in tensors.items()}
