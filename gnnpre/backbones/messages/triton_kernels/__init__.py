"""Sums over neighbours by kernels in Triton, for GPUs.

Edges are sorted by their target, and by their source; each sum is added up in registers, edge by
edge, and written once. No tensor with a row for each edge is made but the inputs of pairs and their
gradients. Sums do not depend on the order in which a GPU runs its programs: the same inputs lead to
the same bits.
"""

from ._order import EdgeOrder
from ._sums import TritonSums, find_triton_kernel, has_triton

__all__ = ["EdgeOrder", "TritonSums", "find_triton_kernel", "has_triton"]
