"""Supervised learning of a vector or a tensor of crystals."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from gnnpre._constraints import Check, boolean, one_of
from gnnpre._labels import as_floats, rows_text
from gnnpre.backbones import ENERGY_POOLINGS, BackboneModule
from gnnpre.graphs import CrystalGraphs

from ._base import Objective
from ._collect import join_batches
from ._losses import LOSS_CONSTRAINTS, unit_of_labels
from ._readout import HEAD_CONSTRAINTS
from ._targets import Targets
from ._tensor_forms import TENSOR_FORMS, TensorForm
from ._tensor_model import TensorModel

__all__ = ["TensorTargets", "tensor_form"]

RANKS = {"vector": ("vector",), "tensor": ("matrix", "stiffness")}
EXPECTED = {
    "vector": "(n, 3)",
    "tensor": (
        "(n, 3, 3) or (n, 6) for symmetric matrices, (n, 6, 6) or (n, 21) for stiffness tensors, "
        "in the order xx, yy, zz, yz, xz, xy"
    ),
}


class TensorTargets(Objective):
    """Learn a vector or a symmetric tensor of crystals, which turns with the crystal.

    Predictions are equivariant: of a crystal that is rotated, ``r -> R r``, a vector ``v`` becomes
    ``R v``, a matrix ``R e R^T``, and an elastic tensor is rotated in its four indices. Under
    inversion, vectors change their sign, and tensors do not change. So no data need to be rotated
    for training, and components that the symmetry of a crystal forbids are predicted as zero.
    Backbones need vectors of atoms, as :class:`~gnnpre.TorchMDNet` has them.

    Parameters
    ----------
    target : {"tensor", "vector"}
        A vector, such as a polarisation or dipole moment; or a symmetric matrix (dielectric
        tensor, polarisability, stress) or elastic stiffness, told apart by the shape of y.
    loss : {"l1", "huber", "mse"}
        Loss of the Frobenius norm of the error of each crystal, which no rotation changes.
    huber_delta : float
        Norm at which the Huber loss turns from quadratic to linear, in units of the
        (standardised) tensor.
    standardize : bool
        Subtract the mean isotropic tensor of the training set (of vectors, nothing), and divide by
        the root mean square of the norm that remains: one offset and one scale, which keep
        predictions equivariant.
    pooling : {"mean", "sum"}
        Pooling over atoms: the mean for properties of the material, the sum for those that grow
        with the cell.
    head_channels : int, optional
        Width of the hidden layers of the heads; that of the backbone by default.
    head_layers : int
        Hidden layers of the heads.

    Notes
    -----
    Forms of y, in Voigt's order xx, yy, zz, yz, xz, xy (VASP prints xx, yy, zz, xy, yz, zx):

    - ``(n, 3)``: vectors;
    - ``(n, 3, 3)``, or its six components ``(n, 6)``: symmetric matrices;
    - ``(n, 6, 6)``, or its upper triangle row by row ``(n, 21)``: elastic stiffness with
      ``C_44 = C_yzyz`` without factors. A compliance has factors of 2 and 4 in this notation:
      learn its inverse.

    Crystals without a tensor are NaN throughout. Predictions have the form of y.

    Examples
    --------
    >>> import numpy as np
    >>> from gnnpre import Pretrainer, TensorTargets, TorchMDNet
    >>> from gnnpre.datasets import make_emt_property
    >>> structures, y = make_emt_property(12, random_state=0)
    >>> pretrainer = Pretrainer(TorchMDNet(8, 1), TensorTargets(), max_epochs=1, random_state=0)
    >>> pretrainer.fit(structures, y[:, None, None] * np.eye(3)).predict(structures[:2]).shape
    (2, 3, 3)
    """

    _constraints: ClassVar[dict[str, Check]] = {
        "target": one_of(*RANKS),
        **LOSS_CONSTRAINTS,
        "standardize": boolean,
        "pooling": one_of(*ENERGY_POOLINGS),
        **HEAD_CONSTRAINTS,
    }

    def __init__(
        self,
        target: str = "tensor",
        *,
        loss: str = "l1",
        huber_delta: float = 0.1,
        standardize: bool = True,
        pooling: str = "mean",
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.target = target
        self.loss = loss
        self.huber_delta = huber_delta
        self.standardize = standardize
        self.pooling = pooling
        self.head_channels = head_channels
        self.head_layers = head_layers

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Check tensors and convert them to targets.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : array-like of shape (n, ...)
            Their tensors in one of the forms of the notes, all NaN where missing.

        Returns
        -------
        Targets
            Coordinates of the tensors (n, d), in float64, and the number of their form.

        Raises
        ------
        ValueError, TypeError
            If ``y`` has another shape, holds no numbers, lacks the symmetry, or a tensor is
            missing in part.
        """
        self.check_parameters()
        values, form = _check_tensors(y, len(graphs), self.target)
        number = list(TENSOR_FORMS).index(form.name)
        crystal = {
            "tensors": torch.tensor(form.to_coordinates(values)),
            # The same in all rows: the form of y is known from the targets alone.
            "tensor_form": torch.full((len(values),), number, dtype=torch.int64),
        }
        return Targets(graphs.atom_counts, crystal)

    def layout(self, targets: Targets) -> dict[str, Any]:
        return {"form": tensor_form(targets).name}

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> TensorModel:
        self.check_parameters()
        default = "vector" if self.target == "vector" else "matrix"
        return TensorModel(backbone, self, TENSOR_FORMS[layout.get("form", default)])

    def term_units(self) -> dict[str, str]:
        return {"tensors": unit_of_labels(self.loss, self.standardize)}

    def collect(self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> np.ndarray:
        return join_batches(batches, "tensors")


def tensor_form(targets: Targets) -> TensorForm:
    """Return the form of the tensors from which targets were made."""
    return list(TENSOR_FORMS.values())[int(targets.crystal["tensor_form"][0])]


def _check_tensors(y: Any, n: int, target: str) -> tuple[np.ndarray, TensorForm]:
    """Return tensors in float64 (n, ...), all NaN where missing, and their form."""
    if y is None:
        raise ValueError(f"y is None; expected an array of shape {EXPECTED[target]}.")
    values = as_floats("y", y, n_dims=None)
    form = next(
        (
            form
            for form in TENSOR_FORMS.values()
            if form.rank in RANKS[target] and values.shape == (n, *form.shape)
        ),
        None,
    )
    if form is None:
        hint = _hint(values.shape, n)
        raise ValueError(
            f"y has shape {values.shape}; X has {n} crystals: target={target!r} expects "
            f"{EXPECTED[target]}.{hint}"
        )
    # A tensor with holes cannot be turned, so its other components are unusable.
    gaps = np.isnan(values).reshape(n, -1)
    partial = np.flatnonzero(gaps.any(axis=1) & ~gaps.all(axis=1))
    if len(partial):
        raise ValueError(
            f"y has tensors of which components are missing (NaN), the first at "
            f"{rows_text(partial, y)}: fill them in by symmetry, or leave these crystals out."
        )
    if gaps.all():
        raise ValueError("y has only missing values (NaN): there is nothing to learn.")
    present = np.flatnonzero(~gaps[:, 0])
    rows = present[form.asymmetric_rows(values[present])]
    if len(rows):
        raise ValueError(
            f"y is not symmetric in {len(rows)} of {n} crystals, the first at "
            f"{rows_text(rows, y)}: {np.array2string(values[rows[0]], precision=4)}. Such a tensor "
            "has other indices than expected, or take its symmetric part, "
            "(y + y.swapaxes(1, 2)) / 2."
        )
    return values, form


def _hint(shape: tuple[int, ...], n: int) -> str:
    if shape == (n, 9):
        return " Use y.reshape(-1, 3, 3)."
    if shape in ((n,), (n, 1)):
        return " One number for each crystal is target='crystal'."
    if shape == (n, 3):
        return " Vectors are target='vector'."
    return ""
