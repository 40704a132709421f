"""Messages along edges, and their sums over neighbours with two derivatives.

An :class:`EdgeMessage` is a formula for the message from one atom to another along an edge;
:meth:`Neighbors.sum` adds the messages up for each atom that receives them. How the sum is computed
(block by block, or by a kernel in C or in Triton) does not concern a backbone.
"""

from gnnpre._compiler import has_compiler

from ._activations import SILU, SOFTPLUS, Activation
from ._attention import AttentionMessage
from ._filtered import FilteredMessage
from ._gated import GatedMessage
from ._message import EdgeMessage, KernelSpec, LinearMap
from ._neighbors import Neighbors
from ._roles import DIRECTION, PAIR, SOURCE, TARGET
from .triton_kernels import has_triton

__all__ = [
    "DIRECTION",
    "PAIR",
    "SILU",
    "SOFTPLUS",
    "SOURCE",
    "TARGET",
    "Activation",
    "AttentionMessage",
    "EdgeMessage",
    "FilteredMessage",
    "GatedMessage",
    "KernelSpec",
    "LinearMap",
    "Neighbors",
    "has_compiler",
    "has_triton",
]
