"""CGCNN's message: ``weight * sigmoid(gate) * g(core)`` with [gate, core] = target + source + edge.

Names as in ``kernels/gated.c``: ``by_x`` is the gradient with respect to x, ``d_x`` the derivative
along the tangents; ``o_x`` points to the output, by_x or its derivative.
"""

import triton
import triton.language as tl

from ._math import (
    CHANGING,
    MAP,
    PAIRS,
    SECOND,
    VALUE,
    VIEWS,
    activation,
    ends_of,
    features_of,
    mapped,
    matrix_product,
    range_of,
    rows_at,
    scalars_at,
    store_map,
)

__all__ = ["gated"]


@triton.jit(do_not_specialize=CHANGING, do_not_specialize_on_alignment=VIEWS)
def gated(
    n_edges, n_pairs, length, order, offsets, target, source,
    in_target, in_source, in_features, in_weight, in_map, in_bias,
    cotangent,
    d_target, d_source, d_features, d_weight, d_map, d_bias,
    o_sum, o_target, o_source, o_features, o_weight, o_map, o_bias,
    TASK: tl.constexpr, OVER: tl.constexpr,
    CHANNELS: tl.constexpr, ACTIVATION: tl.constexpr,
    N: tl.constexpr, ROW: tl.constexpr,
    EDGES: tl.constexpr, BLOCK: tl.constexpr, FEATURES: tl.constexpr,
    REAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute a task for the sums of one kind, for one range of edges and some channels."""
    C: tl.constexpr = CHANNELS
    W: tl.constexpr = 2 * CHANNELS
    begin, end = range_of(offsets, length, n_edges)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    in_row = c < C
    bias_gate = scalars_at(in_bias, c, in_row, REAL)[None, :]
    bias_core = scalars_at(in_bias, c + C, in_row, REAL)[None, :]
    d_bias_gate = scalars_at(d_bias, c, in_row, REAL)[None, :]
    d_bias_core = scalars_at(d_bias, c + C, in_row, REAL)[None, :]
    total = tl.zeros([BLOCK], REAL)
    total_gate = tl.zeros([BLOCK], REAL)
    total_core = tl.zeros([BLOCK], REAL)
    map_gate = tl.zeros([FEATURES, BLOCK], REAL)
    map_core = tl.zeros([FEATURES, BLOCK], REAL)

    for first in range(begin, end, EDGES):
        # 1. inputs
        edge, p, i, j, there = ends_of(order, target, source, n_pairs, first, end, EDGES)
        on = there[:, None] & in_row[None, :]
        features = features_of(in_features, p, there, N, FEATURES, REAL)
        weight = scalars_at(in_weight, p, there, REAL)[:, None]
        gate = rows_at(in_target, i, W, c, on, REAL) + rows_at(in_source, j, W, c, on, REAL)
        gate += bias_gate + mapped(features, in_map, c, in_row, N, FEATURES, ROW, REAL, PRECISION)
        core = rows_at(in_target, i, W, c + C, on, REAL) + rows_at(in_source, j, W, c + C, on, REAL)
        core += bias_core
        core += mapped(features, in_map, c + C, in_row, N, FEATURES, ROW, REAL, PRECISION)
        s = 1.0 / (1.0 + tl.exp(-gate))
        u, u1, u2 = activation(core, ACTIVATION)

        # 2. messages, or what the task wants of an edge
        if TASK == VALUE:
            total += tl.sum(tl.where(on, weight * s * u, 0.0), axis=0)
        else:
            t = rows_at(cotangent, i, C, c, on, REAL)
            s1 = s * (1.0 - s)
            by_gate = s1 * u
            by_core = s * u1
            q = weight * t
            z_gate = q * by_gate
            z_core = q * by_core
            per_weight = t * s * u
            if TASK == SECOND:
                first_gate = z_gate
                first_core = z_core
                d_f = features_of(d_features, p, there, N, FEATURES, REAL)
                d_w = scalars_at(d_weight, p, there, REAL)[:, None]
                h_gate = rows_at(d_target, i, W, c, on, REAL)
                h_gate += rows_at(d_source, j, W, c, on, REAL) + d_bias_gate
                h_core = rows_at(d_target, i, W, c + C, on, REAL)
                h_core += rows_at(d_source, j, W, c + C, on, REAL) + d_bias_core
                if d_features is not None:
                    h_gate += mapped(d_f, in_map, c, in_row, N, FEATURES, ROW, REAL, PRECISION)
                    h_core += mapped(d_f, in_map, c + C, in_row, N, FEATURES, ROW, REAL, PRECISION)
                if d_map is not None:
                    h_gate += mapped(features, d_map, c, in_row, N, FEATURES, ROW, REAL, PRECISION)
                    h_core += mapped(
                        features, d_map, c + C, in_row, N, FEATURES, ROW, REAL, PRECISION
                    )
                change = by_gate * h_gate + by_core * h_core
                d_q = d_w * t
                total += tl.sum(tl.where(on, weight * change + d_w * s * u, 0.0), axis=0)
                per_weight = t * change
                z_gate = q * (s1 * (1.0 - 2.0 * s) * u * h_gate + s1 * u1 * h_core) + d_q * by_gate
                z_core = q * (s1 * u1 * h_gate + s * u2 * h_core) + d_q * by_core

            # 3. sums over the edges
            if OVER != PAIRS:
                total_gate += tl.sum(z_gate, axis=0)
                total_core += tl.sum(z_core, axis=0)
            if OVER == MAP and o_map is not None:
                map_gate += matrix_product(tl.trans(features), z_gate, "ieee")
                map_core += matrix_product(tl.trans(features), z_core, "ieee")
                if TASK == SECOND and d_features is not None:
                    map_gate += matrix_product(tl.trans(d_f), first_gate, "ieee")
                    map_core += matrix_product(tl.trans(d_f), first_core, "ieee")
            if OVER == PAIRS:
                # One row for each block of channels: they are added up later.
                slot = tl.program_id(1).to(tl.int64) * n_edges + edge
                if o_weight is not None:
                    tl.store(o_weight + slot, tl.sum(per_weight, axis=1), mask=there)
                if o_features is not None:
                    k = tl.arange(0, FEATURES)
                    in_map_block = (k < N)[:, None] & in_row[None, :]
                    block_gate = rows_at(in_map, k, ROW, c, in_map_block, REAL)
                    block_core = rows_at(in_map, k, ROW, c + C, in_map_block, REAL)
                    by_features = matrix_product(z_gate, tl.trans(block_gate), PRECISION)
                    by_features += matrix_product(z_core, tl.trans(block_core), PRECISION)
                    if TASK == SECOND and d_map is not None:
                        block_gate = rows_at(d_map, k, ROW, c, in_map_block, REAL)
                        block_core = rows_at(d_map, k, ROW, c + C, in_map_block, REAL)
                        by_features += matrix_product(first_gate, tl.trans(block_gate), PRECISION)
                        by_features += matrix_product(first_core, tl.trans(block_core), PRECISION)
                    at = o_features + slot[:, None] * N + k[None, :]
                    tl.store(at, by_features, mask=there[:, None] & (k < N)[None, :])

    # 4. results of the range
    program = tl.program_id(0).to(tl.int64)
    if o_sum is not None:
        tl.store(o_sum + program * C + c, total, mask=in_row)
    if o_target is not None:
        tl.store(o_target + program * W + c, total_gate, mask=in_row)
        tl.store(o_target + program * W + c + C, total_core, mask=in_row)
    if o_source is not None:
        tl.store(o_source + program * W + c, total_gate, mask=in_row)
        tl.store(o_source + program * W + c + C, total_core, mask=in_row)
    if o_bias is not None:
        tl.store(o_bias + program * ROW + c, total_gate, mask=in_row)
        tl.store(o_bias + program * ROW + c + C, total_core, mask=in_row)
    if o_map is not None:
        store_map(o_map, map_gate, c, in_row, N, FEATURES, ROW)
        store_map(o_map, map_core, c + C, in_row, N, FEATURES, ROW)
