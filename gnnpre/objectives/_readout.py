"""The parameters of a readout or a perceptron, which several objectives share."""

from typing import Protocol

from torch import nn

from gnnpre._constraints import Check, HasConstraints, one_of, optional, size
from gnnpre.backbones import (
    POOLINGS,
    READOUTS,
    BackboneModule,
    Readout,
    check_pooling_order,
)

__all__ = ["HEAD_CONSTRAINTS", "READOUT_CONSTRAINTS", "HasReadout", "make_perceptron"]

#: Width and depth of the multilayer perceptron of any head.
HEAD_CONSTRAINTS: dict[str, Check] = {
    "head_channels": optional(size()),
    "head_layers": size(low_included=True),
}
READOUT_CONSTRAINTS: dict[str, Check] = {
    "readout": one_of(*READOUTS),
    "pooling": one_of(*POOLINGS),
    **HEAD_CONSTRAINTS,
}


class HasReadout(HasConstraints):
    """Mixin of objectives with the parameters readout, pooling, head_channels and head_layers."""

    readout: str
    pooling: str
    head_channels: int | None
    head_layers: int

    def check_parameters(self) -> None:
        """Check that every parameter has an allowed value.

        Raises
        ------
        ValueError, TypeError
            If one has not, or two do not go together; the message names them.
        """
        super().check_parameters()
        check_pooling_order(self.pooling, self.readout, "readout")

    def make_readout(self, backbone: BackboneModule, n_outputs: int) -> Readout:
        """Build the readout that the parameters describe.

        Parameters
        ----------
        backbone : BackboneModule
            The module whose atom features it reads.
        n_outputs : int
            Values for each crystal.

        Returns
        -------
        Readout
            The module.
        """
        return Readout(
            backbone.out_channels,
            n_outputs,
            order=self.readout,
            pooling=self.pooling,
            hidden_channels=self.head_channels,
            n_layers=self.head_layers,
        )


class HasHead(Protocol):
    """Width and depth of a perceptron on the features of each atom."""

    head_channels: int | None
    head_layers: int


def make_perceptron(config: HasHead, backbone: BackboneModule, n_outputs: int) -> nn.Sequential:
    """Build the perceptron that a config describes: atom features to ``n_outputs`` values."""
    return Readout(
        backbone.out_channels,
        n_outputs,
        hidden_channels=config.head_channels,
        n_layers=config.head_layers,
    ).mlp
