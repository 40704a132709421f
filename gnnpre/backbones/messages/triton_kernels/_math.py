"""Shared by all kernels in Triton: loads of rows, activations with two derivatives, linear maps.

A tile holds some edges (its rows) and some channels (its columns). Tiles reach beyond the edges of
an atom and beyond the last channel, where all numbers are zero.
"""

import triton
import triton.language as tl

__all__ = [
    "CHANGING",
    "GRADIENT",
    "MAP",
    "PAIRS",
    "SECOND",
    "SOURCES",
    "TARGETS",
    "VALUE",
    "VIEWS",
    "activation",
    "ends_of",
    "features_of",
    "mapped",
    "matrix_product",
    "range_of",
    "rows_at",
    "scalars_at",
    "silu",
    "store_map",
]

#: What a kernel computes: messages, their gradient, or the derivatives of both along tangents.
VALUE, GRADIENT, SECOND = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
#: What it sums over: edges of a target, edges of a source, nothing, or a range of all edges.
TARGETS, SOURCES, PAIRS, MAP = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)

#: Numbers that differ from batch to batch, and tensors that may begin within another one. Triton
#: would compile a kernel again, in seconds, where they are multiples of 16 and where they are not.
CHANGING = ["n_edges", "n_pairs", "length"]
VIEWS = ["order", "offsets", "target", "source"]


@triton.jit
def range_of(offsets, length, n_edges):
    """Return the first and the end of this program's positions in the order of the edges."""
    program = tl.program_id(0).to(tl.int64)
    if offsets is None:
        begin = program * length
        end = tl.minimum(begin + length, n_edges)
    else:
        begin = tl.load(offsets + program)
        end = tl.load(offsets + program + 1)
    return begin, end


@triton.jit
def ends_of(order, target, source, n_pairs, first, end, EDGES: tl.constexpr):
    """Return edge, pair, target and source of a tile of edges, and which of them there are."""
    position = first + tl.arange(0, EDGES)
    there = position < end
    edge = position
    if order is not None:
        edge = tl.load(order + position, mask=there, other=0)
    i = tl.load(target + edge, mask=there, other=0)
    j = tl.load(source + edge, mask=there, other=0)
    return edge, edge % n_pairs, i, j, there


@triton.jit
def rows_at(x, row, width, column, there, REAL: tl.constexpr):
    """Load a tile of rows; zeros for a tangent that is None."""
    result = tl.zeros(there.shape, REAL)
    if x is not None:
        result = tl.load(x + row[:, None] * width + column[None, :], mask=there, other=0.0)
    return result


@triton.jit
def scalars_at(x, index, there, REAL: tl.constexpr):
    """Load one number for each edge; zeros for a tangent that is None."""
    result = tl.zeros(there.shape, REAL)
    if x is not None:
        result = tl.load(x + index, mask=there, other=0.0)
    return result


@triton.jit
def matrix_product(a, b, PRECISION: tl.constexpr):
    """Multiply two matrices."""
    # Not every version of Triton multiplies matrices of float64.
    if a.dtype == tl.float64:
        product = tl.sum(a[:, :, None] * b[None, :, :], axis=1)
    else:
        product = tl.dot(a, b, input_precision=PRECISION)
    return product


@triton.jit
def features_of(features, pair, there, N: tl.constexpr, BLOCK: tl.constexpr, REAL: tl.constexpr):
    """Load the features of pairs, (edges, BLOCK)."""
    k = tl.arange(0, BLOCK)
    return rows_at(features, pair, N, k, there[:, None] & (k < N)[None, :], REAL)


@triton.jit
def mapped(
    values, weights, column, there, N: tl.constexpr, BLOCK: tl.constexpr, ROW: tl.constexpr,
    REAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Multiply the features of pairs by some columns of the linear map."""
    k = tl.arange(0, BLOCK)
    block = rows_at(weights, k, ROW, column, (k < N)[:, None] & there[None, :], REAL)
    return matrix_product(values, block, PRECISION)


@triton.jit
def store_map(
    by_map, values, column, there, N: tl.constexpr, BLOCK: tl.constexpr, ROW: tl.constexpr
):
    """Store the gradient of a range of edges with respect to some columns of the linear map."""
    k = tl.arange(0, BLOCK)
    at = by_map + tl.program_id(0).to(tl.int64) * N * ROW + k[:, None] * ROW + column[None, :]
    tl.store(at, values, mask=(k < N)[:, None] & there[None, :])


@triton.jit
def silu(x):
    """Return SiLU and its first two derivatives."""
    s = 1.0 / (1.0 + tl.exp(-x))
    rest = 1.0 - s
    return x * s, s + x * s * rest, s * rest * (2.0 + x * (rest - s))


@triton.jit
def softplus(x):
    """Return softplus and its first two derivatives."""
    small = tl.exp(-tl.abs(x))
    large = 1.0 / (1.0 + small)
    s = tl.where(x < 0.0, small * large, large)
    # log(1 + u) by the series of 2 artanh(u / (2 + u)): the logarithm itself would lose the digits
    # of a small u.
    ratio = small / (2.0 + small)
    square = ratio * ratio
    series = tl.zeros(x.shape, x.dtype)
    for term in tl.static_range(17):
        series = series * square + 1.0 / (2 * (16 - term) + 1)
    # Not max(x, 0), which would hide nan.
    return tl.where(x < 0.0, 0.0, x) + 2.0 * ratio * series, s, small * large * large


@triton.jit
def activation(x, NAME: tl.constexpr):
    """Return an activation and its first two derivatives."""
    if NAME == "silu":
        value, first, second = silu(x)
    else:
        tl.static_assert(NAME == "softplus", "no such activation in Triton")
        value, first, second = softplus(x)
    return value, first, second
