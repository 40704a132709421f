"""The message of continuous-filter convolutions: ``filter * source``.

It is linear in each factor, so that every derivative is a sum of such products. Names as in
``_gated.py``.
"""

import triton
import triton.language as tl

from ._math import (
    CHANGING,
    SECOND,
    SOURCES,
    TARGETS,
    VALUE,
    VIEWS,
    ends_of,
    range_of,
    rows_at,
)

__all__ = ["filtered"]


@triton.jit(do_not_specialize=CHANGING, do_not_specialize_on_alignment=VIEWS)
def filtered(
    n_edges, n_pairs, length, order, offsets, target, source,
    in_filter, in_source,
    cotangent,
    d_filter, d_source,
    o_sum, o_filter, o_source,
    TASK: tl.constexpr, OVER: tl.constexpr,
    CHANNELS: tl.constexpr,
    EDGES: tl.constexpr, BLOCK: tl.constexpr, REAL: tl.constexpr,
):  # fmt: skip
    """Compute a task for the sums of one kind, for one range of edges."""
    C: tl.constexpr = CHANNELS
    begin, end = range_of(offsets, length, n_edges)
    c = tl.arange(0, BLOCK)
    in_row = c < C
    total = tl.zeros([BLOCK], REAL)
    total_source = tl.zeros([BLOCK], REAL)

    for first in range(begin, end, EDGES):
        edge, p, i, j, there = ends_of(order, target, source, n_pairs, first, end, EDGES)
        on = there[:, None] & in_row[None, :]
        if OVER == TARGETS:
            f = rows_at(in_filter, p, C, c, on, REAL)
            x = rows_at(in_source, j, C, c, on, REAL)
            if TASK == VALUE:
                total += tl.sum(f * x, axis=0)
            elif TASK == SECOND:
                change = rows_at(d_filter, p, C, c, on, REAL) * x
                change += f * rows_at(d_source, j, C, c, on, REAL)
                total += tl.sum(change, axis=0)
        else:
            t = rows_at(cotangent, i, C, c, on, REAL)
            if OVER == SOURCES:
                f = rows_at(d_filter if TASK == SECOND else in_filter, p, C, c, on, REAL)
                total_source += tl.sum(f * t, axis=0)
            else:
                x = rows_at(d_source if TASK == SECOND else in_source, j, C, c, on, REAL)
                at = o_filter + edge[:, None] * C + c[None, :]
                tl.store(at, x * t, mask=on)

    row = tl.program_id(0).to(tl.int64) * C + c
    if o_sum is not None:
        tl.store(o_sum + row, total, mask=in_row)
    if o_source is not None:
        tl.store(o_source + row, total_source, mask=in_row)
