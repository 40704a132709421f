"""The model of a vector or tensor of crystals: an isotropic part and one that turns."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gnnpre._progress_label import error_text
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.backbones import BackboneModule, Readout
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._losses import LossTerm, masked_term
from ._model import NAN, ObjectiveModel
from ._scaling import mean_and_spread, root_mean_square
from ._targets import Targets
from ._tensor_forms import TensorForm
from ._tensor_head import EdgeWeights, MatrixHead, PooledVectorHead, StiffnessHead
from ._vector_head import vector_channels

if TYPE_CHECKING:
    from ._tensor_targets import TensorTargets

__all__ = ["TensorModel"]

HEADS = {"vector": PooledVectorHead, "matrix": MatrixHead, "stiffness": StiffnessHead}


class TensorModel(ObjectiveModel):
    """A backbone with a readout of isotropic parts and an equivariant head.

    It predicts coordinates in an orthonormal basis, in units of their spread; :meth:`predict`
    returns the form of the labels.
    """

    left_out = NAN

    offset: Tensor
    unit: Tensor
    isotropic: Tensor
    expansion: Tensor

    def __init__(self, backbone: BackboneModule, config: "TensorTargets", form: TensorForm) -> None:
        super().__init__(backbone)
        self.config = config
        self.form = form
        vectors = _vector_channels(backbone, config.target)
        width = config.head_channels or backbone.out_channels
        n_isotropic = len(form.isotropic)
        if n_isotropic:
            self.head = Readout(
                backbone.out_channels,
                n_isotropic,
                pooling=config.pooling,
                hidden_channels=config.head_channels,
                n_layers=config.head_layers,
            )
        # Not "head", the name of readouts, whose weights other models may take over.
        self.tensor_head = HEADS[form.rank](
            backbone.out_channels, vectors, width, config.head_layers, config.pooling
        )
        self.register_buffer("offset", torch.zeros(n_isotropic, dtype=torch.float64))
        # 0 for a tensor that is constant over the training set, and predicted as that constant.
        self.register_buffer("unit", torch.ones((), dtype=torch.float64))
        for name in ("isotropic", "expansion"):
            self.register_buffer(name, torch.tensor(getattr(form, name)), persistent=False)

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Compute the mean isotropic part and the spread, and the scales of sums over edges."""
        n_edges, n_atoms = graphs.edge_counts[train].sum(), graphs.atom_counts[train].sum()
        for module in self.tensor_head.modules():
            if isinstance(module, EdgeWeights):
                module.set_scales(graphs.cutoff, float(n_edges / n_atoms))
        values = targets.crystal["tensors"].cpu().numpy()[train]
        present = np.isfinite(values).all(axis=1)
        if not present.any():
            warn_user(
                f"y is missing for all {len(train)} crystals to train on: predictions mean "
                "nothing. Hold out other crystals.",
                DataQualityWarning,
            )
            return
        if not self.config.standardize:
            return
        sizes = graphs.atom_counts[train][present].astype(np.float64)
        sizes = sizes if self.config.pooling == "sum" else np.ones_like(sizes)
        coordinates = values[present]
        means, _ = mean_and_spread(coordinates @ self.form.isotropic.T, sizes)
        residuals = coordinates - sizes[:, None] * (means @ self.form.isotropic)
        norms = np.linalg.norm(residuals, axis=1)
        # Rounding of a constant is not a spread.
        noise = 16 * np.finfo(np.float64).eps * np.abs(coordinates).max()
        spread = float(root_mean_square(norms))
        self.offset.copy_(torch.from_numpy(np.atleast_1d(means)))
        self.unit.fill_(spread if spread > noise else 0.0)

    def _offset(self, batch: CrystalBatch) -> Tensor:
        """Return the isotropic tensor of crystals of these sizes, ``(n, d)`` or ``(d,)``."""
        offset = self.offset @ self.isotropic  # (d,)
        return offset * batch.n_atoms[:, None] if self.config.pooling == "sum" else offset

    def standardize(self, labels: dict[str, Tensor], batch: CrystalBatch) -> dict[str, Tensor]:
        """Subtract the mean isotropic tensor, and divide by the spread."""
        unit = torch.where(self.unit > 0, self.unit, 1.0)
        return {**labels, "tensors": (labels["tensors"] - self._offset(batch)) / unit}

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict standardised coordinates ``(n, d)``."""
        features = self.backbone(batch)
        value = self.tensor_head(features.scalars, features.vectors, batch)
        value = value.flatten(1)  # a matrix head returns (n, 1, 6)
        if len(self.offset):
            isotropic = self.head(features.scalars, batch)  # (n, k)
            value = value + isotropic @ self.isotropic.to(value.dtype)
        # Nothing to predict where the tensor is constant; the product keeps a gradient, of 0.
        return {"tensors": value * (self.unit > 0)}

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict tensors in their own units and form, in float64: ``(n, *shape)``."""
        value = super().predict(batch)["tensors"].double()  # (n, d)
        coordinates = value * self.unit + self._offset(batch)
        return {"tensors": (coordinates @ self.expansion.T).reshape(-1, *self.form.shape)}

    def in_label_unit(self, term: str, loss: float) -> str:
        """Write the mean norm of the errors in the unit of y."""
        return error_text(loss * float(self.unit)) if self.config.loss == "l1" else ""

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Compute the loss of the norm of each crystal's error."""
        target = targets["tensors"]
        missing = torch.isnan(target)
        # NaN is replaced before the difference: a gradient through NaN would be NaN.
        error = torch.where(missing, 0.0, predictions["tensors"] - target.nan_to_num())
        norm = torch.linalg.vector_norm(error, dim=1)  # (n,), its gradient at zero is zero
        zero = torch.where(missing.any(dim=1), torch.nan, torch.zeros_like(norm))
        term = masked_term(
            norm,
            zero,
            loss=self.config.loss,
            huber_delta=self.config.huber_delta,
            weight=1.0,
            sample_weight=targets.get("sample_weight"),
        )
        return {"tensors": term}


def _vector_channels(backbone: BackboneModule, target: str) -> int:
    """Return the number of vector channels; raise ValueError for a backbone without vectors."""
    vectors = vector_channels(backbone)
    if vectors is None:
        name = type(backbone).__name__.removesuffix("Module")
        raise ValueError(
            f"target={target!r} needs a backbone with vectors of atoms, and {name} has invariant "
            "features alone: its predictions could not turn with the crystal. Use "
            "backbone=TorchMDNet(), or a model that was pre-trained with it."
        )
    return vectors
