"""Roles of the inputs of a message: an atom, a pair of atoms, or all edges alike."""

from torch import Tensor

__all__ = ["DIRECTION", "PAIR", "SHARED", "SOURCE", "TARGET", "Gradients"]

#: The atom that receives the message, and the one that sends it.
TARGET, SOURCE = "target", "source"

#: The pair of atoms, whichever of the two sends.
PAIR = "pair"

#: The pair of atoms, with the opposite sign when the other one sends: a vector along the edge.
DIRECTION = "direction"

#: All edges alike, as the weights of a linear map; the engine adds such inputs itself.
SHARED = "shared"

#: One gradient for each input; None for an input that needs none.
Gradients = tuple[Tensor | None, ...]
