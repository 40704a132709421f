"""Readout: from the features of atoms to values of crystals."""

import torch
from torch import Tensor, nn

from gnnpre._validation import check_choice, check_number
from gnnpre.graphs import CrystalBatch, pool_atoms

from ._layers import make_mlp, sum_by_index

__all__ = ["ENERGY_POOLINGS", "POOLINGS", "READOUTS", "Readout", "check_pooling_order", "pool"]

READOUTS = ("late", "early")
#: Poolings for energies: they have two derivatives, and a supercell has the energy of its cells.
ENERGY_POOLINGS = ("sum", "mean")
POOLINGS = (*ENERGY_POOLINGS, "max", "attention", "cumulants")


def check_pooling_order(pooling: str, order: str, name: str) -> None:
    """Check that cumulants are pooled before the perceptron; ``name`` is that of the order."""
    if pooling == "cumulants" and order == "late":
        raise ValueError(
            "pooling='cumulants' describes the features of atoms, which a perceptron then reads: "
            f"it needs {name}='early'."
        )


def pool(values: Tensor, batch: CrystalBatch, pooling: str) -> Tensor:
    """Pool values of atoms over each crystal: ``(N, C) -> (n, C)``, or ``(n, 3 C)``.

    ``"cumulants"`` returns the mean, the variance and the third central moment.
    """
    return pool_atoms(values, batch.batch, batch.n_atoms, pooling)


class AttentionPooling(nn.Module):
    """Weighted mean over atoms, with weights that depend on their features."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.score = nn.Linear(in_channels, 1)

    def forward(self, values: Tensor, scalars: Tensor, batch: CrystalBatch) -> Tensor:
        scores = self.score(scalars)  # (N, 1)
        # Subtracting the largest score changes no weight and keeps the exponential finite.
        largest = pool(scores.detach(), batch, "max")
        weights = torch.exp(scores - largest[batch.batch])
        total = sum_by_index(weights, batch.batch, len(batch))
        return sum_by_index(values * weights, batch.batch, len(batch)) / total


class Readout(nn.Module):
    """A multilayer perceptron and a pooling over atoms, in either order.

    Parameters
    ----------
    in_channels : int
        Channels of the atom features.
    out_channels : int
        Number of values of each crystal.
    order : {"late", "early"}
        Perceptron, then pooling (a sum of atomic values is size-extensive); or pooling first, the
        papers' form, which is not extensive.
    pooling : {"sum", "mean", "max", "attention", "cumulants"}
        Pooling over the atoms of a crystal: sum, mean, largest value, weighted mean with trained
        weights, or the mean, variance and third central moment of the features (``"early"`` only).
    hidden_channels : int, optional
        Width of the hidden layers; ``in_channels`` by default.
    n_layers : int
        Number of hidden layers.

    Examples
    --------
    >>> from gnnpre.backbones import Readout
    >>> Readout(64, 1, order="late", pooling="mean").extensive
    False
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        order: str = "late",
        pooling: str = "sum",
        hidden_channels: int | None = None,
        n_layers: int = 1,
    ) -> None:
        super().__init__()
        check_choice("order", order, READOUTS)
        check_choice("pooling", pooling, POOLINGS)
        if hidden_channels is not None:
            check_number("hidden_channels", hidden_channels, integer=True)
        check_number("n_layers", n_layers, integer=True, low_included=True)
        check_pooling_order(pooling, order, "order")
        self.order = order
        self.pooling = pooling
        self.attention = AttentionPooling(in_channels) if pooling == "attention" else None
        inputs = 3 * in_channels if pooling == "cumulants" else in_channels
        self.mlp = make_mlp(inputs, hidden_channels or in_channels, n_layers, out_channels)

    @property
    def extensive(self) -> bool:
        """Whether the value of a supercell is that of its cell times the number of cells."""
        return self.order == "late" and self.pooling == "sum"

    def forward(self, scalars: Tensor, batch: CrystalBatch) -> Tensor:
        """Return the values of crystals.

        Parameters
        ----------
        scalars : Tensor of shape (N, in_channels)
            Invariant atom features.
        batch : CrystalBatch
            The crystals that the atoms belong to.

        Returns
        -------
        Tensor of shape (n, out_channels)
            Values of the crystals.
        """
        if self.order == "late":
            return self._pool(self.mlp(scalars), scalars, batch)
        return self.mlp(self._pool(scalars, scalars, batch))

    def last_features(self, scalars: Tensor, batch: CrystalBatch) -> Tensor:
        """Return the pooled inputs of the last linear layer.

        Parameters
        ----------
        scalars : Tensor of shape (N, in_channels)
            Invariant atom features.
        batch : CrystalBatch
            The crystals that the atoms belong to.

        Returns
        -------
        Tensor of shape (n, H)
            Features in which the readout is linear, unless it is a late one with ``"max"``.
        """
        hidden = self.mlp[:-1]
        if self.order == "late":
            return self._pool(hidden(scalars), scalars, batch)
        features: Tensor = hidden(self._pool(scalars, scalars, batch))
        return features

    def _pool(self, values: Tensor, scalars: Tensor, batch: CrystalBatch) -> Tensor:
        if self.attention is not None:
            return self.attention(values, scalars, batch)
        return pool(values, batch, self.pooling)
