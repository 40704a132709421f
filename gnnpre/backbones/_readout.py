"""From atom features to values of a crystal."""

from torch import Tensor, nn

from gnnpre._validation import check_choice, check_number
from gnnpre.graphs import CrystalBatch

from ._layers import make_mlp, sum_by_index

__all__ = ["POOLINGS", "READOUTS", "Readout", "pool"]

READOUTS = ("late", "early")
POOLINGS = ("sum", "mean")


def pool(values: Tensor, batch: CrystalBatch, pooling: str) -> Tensor:
    """Sum or average values of atoms over each crystal: ``(N, C) -> (n, C)``."""
    total = sum_by_index(values, batch.batch, len(batch))
    if pooling == "sum":
        return total
    return total / batch.n_atoms[:, None].to(values.dtype)


class Readout(nn.Module):
    """A multilayer perceptron and a pooling over atoms, in either order.

    Parameters
    ----------
    in_channels : int
        Channels of the atom features.
    out_channels : int
        Values for each crystal.
    order : {"late", "early"}
        Perceptron, then pooling (the sum of atomic values, size-extensive); or pooling first, the
        papers' form, which is not extensive.
    pooling : {"sum", "mean"}
        Over the atoms of a crystal.
    hidden_channels : int, optional
        Width of the hidden layers; ``in_channels`` by default.
    n_layers : int
        Hidden layers.

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
        check_choice("readout", order, READOUTS)
        check_choice("pooling", pooling, POOLINGS)
        if hidden_channels is not None:
            check_number("head_channels", hidden_channels, integer=True)
        check_number("head_layers", n_layers, integer=True, low_included=True)
        self.order = order
        self.pooling = pooling
        self.mlp = make_mlp(in_channels, hidden_channels or in_channels, n_layers, out_channels)

    @property
    def extensive(self) -> bool:
        """Whether the value of a supercell is that of its cell times the number of cells."""
        return self.order == "late" and self.pooling == "sum"

    def forward(self, scalars: Tensor, batch: CrystalBatch) -> Tensor:
        """Read crystals out.

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
            return pool(self.mlp(scalars), batch, self.pooling)
        return self.mlp(pool(scalars, batch, self.pooling))
