"""The message of TorchMD-Net's equivariant transformer; the equations are in kernels/attention.c.

A block of channels holds whole heads, whose sizes are padded to a power of two. Suffixes name the
four chunks of a row: ``k`` (key), ``s`` (scalar), ``a`` (along the edge) and ``g`` (gate). Names as
in ``_gated.py``; ``r_x`` is the gradient with respect to chunk x of the mapped row, ``r1_x`` that
before the derivative along the tangents.
"""

import triton
import triton.language as tl

from ._math import (
    CHANGING,
    MAP,
    PAIRS,
    SECOND,
    SOURCES,
    TARGETS,
    VALUE,
    VIEWS,
    ends_of,
    features_of,
    mapped,
    matrix_product,
    range_of,
    rows_at,
    scalars_at,
    silu,
    store_map,
)

__all__ = ["attention"]


@triton.jit
def over_heads(x, EDGES: tl.constexpr, BLOCK: tl.constexpr, PADDED: tl.constexpr):
    """Return in each channel the sum over the channels of its head."""
    heads = tl.reshape(x, [EDGES, BLOCK // PADDED, PADDED])
    sums = tl.sum(heads, axis=2)[:, :, None] + tl.zeros_like(heads)
    return tl.reshape(sums, [EDGES, BLOCK])


@triton.jit
def row_of_map(
    values, d_values, weights, d_weights, bias, d_bias, c, in_row,
    N: tl.constexpr, BLOCK: tl.constexpr, ROW: tl.constexpr, SECOND_TASK: tl.constexpr,
    REAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return filter, its slope, and the changes of both for one chunk of mapped rows."""
    edge = mapped(values, weights, c, in_row, N, BLOCK, ROW, REAL, PRECISION)
    edge += scalars_at(bias, c, in_row, REAL)[None, :]
    f, f1, f2 = silu(edge)
    change = tl.zeros(edge.shape, REAL)
    if SECOND_TASK:
        change += scalars_at(d_bias, c, in_row, REAL)[None, :]
        if d_values is not None:
            change += mapped(d_values, weights, c, in_row, N, BLOCK, ROW, REAL, PRECISION)
        if d_weights is not None:
            change += mapped(values, d_weights, c, in_row, N, BLOCK, ROW, REAL, PRECISION)
    return f, f1, f1 * change, f2 * change


@triton.jit
def by_features_of(
    r, weights, c, in_row,
    N: tl.constexpr, BLOCK: tl.constexpr, ROW: tl.constexpr,
    REAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the gradient with respect to features, given that with respect to some columns."""
    k = tl.arange(0, BLOCK)
    block = rows_at(weights, k, ROW, c, (k < N)[:, None] & in_row[None, :], REAL)
    return matrix_product(r, tl.trans(block), PRECISION)


@triton.jit(do_not_specialize=CHANGING, do_not_specialize_on_alignment=VIEWS)
def attention(
    n_edges, n_pairs, length, order, offsets, target, source,
    in_query, in_sent, in_features, in_envelope, in_direction, in_arrows, in_map, in_bias,
    g_scalars, g_vectors,
    d_query, d_sent, d_features, d_envelope, d_direction, d_arrows, d_map, d_bias,
    o_scalars, o_vectors,
    o_query, o_sent, o_features, o_envelope, o_direction, o_arrows, o_map, o_bias,
    TASK: tl.constexpr, OVER: tl.constexpr,
    CHANNELS: tl.constexpr, HEADS: tl.constexpr,
    VECTORS: tl.constexpr, VECTOR_CUTOFF: tl.constexpr,
    N: tl.constexpr, ROW: tl.constexpr, PADDED: tl.constexpr,
    EDGES: tl.constexpr, BLOCK: tl.constexpr, FEATURES: tl.constexpr,
    REAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute a task for the sums of one kind, for one range of edges and some heads."""
    C: tl.constexpr = CHANNELS
    W: tl.constexpr = (4 if VECTORS else 3) * CHANNELS
    SIZE: tl.constexpr = CHANNELS // HEADS
    SECOND_TASK: tl.constexpr = TASK == SECOND
    begin, end = range_of(offsets, length, n_edges)
    slot = tl.arange(0, BLOCK)
    head = tl.program_id(1) * (BLOCK // PADDED) + slot // PADDED
    in_row = (slot % PADDED < SIZE) & (head < HEADS)
    c = head * SIZE + slot % PADDED
    # Sums over edges: of the first output, and of three components of vectors.
    total = tl.zeros([BLOCK], REAL)
    total_x = tl.zeros([BLOCK], REAL)
    total_y = tl.zeros([BLOCK], REAL)
    total_z = tl.zeros([BLOCK], REAL)
    # Of the chunks of a row; for the query, the first of them.
    sum_k = tl.zeros([BLOCK], REAL)
    sum_s = tl.zeros([BLOCK], REAL)
    sum_a = tl.zeros([BLOCK], REAL)
    sum_g = tl.zeros([BLOCK], REAL)
    map_k = tl.zeros([FEATURES, BLOCK], REAL)
    map_s = tl.zeros([FEATURES, BLOCK], REAL)
    map_a = tl.zeros([FEATURES, BLOCK], REAL)
    map_g = tl.zeros([FEATURES, BLOCK], REAL)

    for first in range(begin, end, EDGES):
        # 1. inputs, and their tangents
        edge, p, i, j, there = ends_of(order, target, source, n_pairs, first, end, EDGES)
        sign = tl.where(edge < n_pairs, 1.0, -1.0).to(REAL)
        on = there[:, None] & in_row[None, :]
        values = features_of(in_features, p, there, N, FEATURES, REAL)
        moved = None
        if SECOND_TASK and d_features is not None:
            moved = features_of(d_features, p, there, N, FEATURES, REAL)
        f_k, f1_k, d_f_k, d_f1_k = row_of_map(
            values, moved, in_map, d_map, in_bias, d_bias, c, in_row, N, FEATURES, ROW,
            SECOND_TASK, REAL, PRECISION,
        )  # fmt: skip
        f_s, f1_s, d_f_s, d_f1_s = row_of_map(
            values, moved, in_map, d_map, in_bias, d_bias, c + C, in_row, N, FEATURES, ROW,
            SECOND_TASK, REAL, PRECISION,
        )  # fmt: skip
        f_a, f1_a, d_f_a, d_f1_a = row_of_map(
            values, moved, in_map, d_map, in_bias, d_bias, c + 2 * C, in_row, N, FEATURES, ROW,
            SECOND_TASK, REAL, PRECISION,
        )  # fmt: skip
        query = rows_at(in_query, i, C, c, on, REAL)
        s_k = rows_at(in_sent, j, W, c, on, REAL)
        s_s = rows_at(in_sent, j, W, c + C, on, REAL)
        s_a = rows_at(in_sent, j, W, c + 2 * C, on, REAL)
        envelope = scalars_at(in_envelope, p, there, REAL)[:, None]
        x = (sign * scalars_at(in_direction, p * 3, there, REAL))[:, None]
        y = (sign * scalars_at(in_direction, p * 3 + 1, there, REAL))[:, None]
        z = (sign * scalars_at(in_direction, p * 3 + 2, there, REAL))[:, None]
        if VECTORS:
            f_g, f1_g, d_f_g, d_f1_g = row_of_map(
                values, moved, in_map, d_map, in_bias, d_bias, c + 3 * C, in_row, N, FEATURES, ROW,
                SECOND_TASK, REAL, PRECISION,
            )  # fmt: skip
            s_g = rows_at(in_sent, j, W, c + 3 * C, on, REAL)
            v_x = rows_at(in_arrows, j, 3 * C, c, on, REAL)
            v_y = rows_at(in_arrows, j, 3 * C, c + C, on, REAL)
            v_z = rows_at(in_arrows, j, 3 * C, c + 2 * C, on, REAL)
        cut = envelope if VECTOR_CUTOFF else tl.full([EDGES, 1], 1.0, REAL)

        # 2. attention
        key = s_k * f_k
        e, e1, e2 = silu(over_heads(query * key, EDGES, BLOCK, PADDED))
        weight = e * envelope
        along = s_a * f_a
        if VECTORS:
            gate = s_g * f_g
        if TASK == VALUE:
            total += tl.sum(weight * s_s * f_s, axis=0)
            if VECTORS:
                total_x += tl.sum(x * along + v_x * gate * cut, axis=0)
                total_y += tl.sum(y * along + v_y * gate * cut, axis=0)
                total_z += tl.sum(z * along + v_z * gate * cut, axis=0)
            else:
                total_x += tl.sum(x * along, axis=0)
                total_y += tl.sum(y * along, axis=0)
                total_z += tl.sum(z * along, axis=0)
        else:
            # 3. gradient: with respect to the query, to chunks of source and filter, to pairs
            g = rows_at(g_scalars, i, C, c, on, REAL)
            g_x = rows_at(g_vectors, i, 3 * C, c, on, REAL)
            g_y = rows_at(g_vectors, i, 3 * C, c + C, on, REAL)
            g_z = rows_at(g_vectors, i, 3 * C, c + 2 * C, on, REAL)
            by_weight = g * s_s * f_s  # of each channel, to be summed over its head
            by_head = over_heads(by_weight, EDGES, BLOCK, PADDED)
            logit = by_head * envelope * e1
            by_k = query * logit
            by_s = g * weight
            by_a = x * g_x + y * g_y + z * g_z
            q_sum = key * logit
            p_k = by_k * f_k
            p_s = by_s * f_s
            p_a = by_a * f_a
            r_k = by_k * s_k * f1_k
            r_s = by_s * s_s * f1_s
            r_a = by_a * s_a * f1_a
            per_envelope = by_weight * e
            per_x = along * g_x
            per_y = along * g_y
            per_z = along * g_z
            if VECTORS:
                by_gate = v_x * g_x + v_y * g_y + v_z * g_z
                by_g = by_gate * cut
                p_g = by_g * f_g
                r_g = by_g * s_g * f1_g
                w = gate * cut
                a_x = w * g_x
                a_y = w * g_y
                a_z = w * g_z
                if VECTOR_CUTOFF:
                    per_envelope += by_gate * gate
            if SECOND_TASK:
                # 4. the same along the tangents
                r1_k = r_k
                r1_s = r_s
                r1_a = r_a
                h_query = rows_at(d_query, i, C, c, on, REAL)
                h_k = rows_at(d_sent, j, W, c, on, REAL)
                h_s = rows_at(d_sent, j, W, c + C, on, REAL)
                h_a = rows_at(d_sent, j, W, c + 2 * C, on, REAL)
                h_envelope = scalars_at(d_envelope, p, there, REAL)[:, None]
                h_cut = h_envelope if VECTOR_CUTOFF else tl.zeros([EDGES, 1], REAL)
                h_x = (sign * scalars_at(d_direction, p * 3, there, REAL))[:, None]
                h_y = (sign * scalars_at(d_direction, p * 3 + 1, there, REAL))[:, None]
                h_z = (sign * scalars_at(d_direction, p * 3 + 2, there, REAL))[:, None]
                h_key = h_k * f_k + s_k * d_f_k
                h_logit = over_heads(query * h_key + h_query * key, EDGES, BLOCK, PADDED)
                h_e = e1 * h_logit
                h_weight = h_e * envelope + e * h_envelope
                h_along = h_a * f_a + s_a * d_f_a
                h_by_weight = g * (h_s * f_s + s_s * d_f_s)
                h_by_head = over_heads(h_by_weight, EDGES, BLOCK, PADDED)
                d_logit = (h_by_head * envelope + by_head * h_envelope) * e1
                d_logit += by_head * envelope * e2 * h_logit
                h_by_k = h_query * logit + query * d_logit
                h_by_s = g * h_weight
                h_by_a = h_x * g_x + h_y * g_y + h_z * g_z
                total += tl.sum(h_weight * s_s * f_s + weight * (h_s * f_s + s_s * d_f_s), axis=0)
                change_x = h_x * along + x * h_along
                change_y = h_y * along + y * h_along
                change_z = h_z * along + z * h_along
                q_sum = h_key * logit + key * d_logit
                p_k = h_by_k * f_k + by_k * d_f_k
                p_s = h_by_s * f_s + by_s * d_f_s
                p_a = h_by_a * f_a + by_a * d_f_a
                r_k = (h_by_k * s_k + by_k * h_k) * f1_k + by_k * s_k * d_f1_k
                r_s = (h_by_s * s_s + by_s * h_s) * f1_s + by_s * s_s * d_f1_s
                r_a = (h_by_a * s_a + by_a * h_a) * f1_a + by_a * s_a * d_f1_a
                per_envelope = h_by_weight * e + by_weight * h_e
                per_x = h_along * g_x
                per_y = h_along * g_y
                per_z = h_along * g_z
                if VECTORS:
                    r1_g = r_g
                    h_g = rows_at(d_sent, j, W, c + 3 * C, on, REAL)
                    h_v_x = rows_at(d_arrows, j, 3 * C, c, on, REAL)
                    h_v_y = rows_at(d_arrows, j, 3 * C, c + C, on, REAL)
                    h_v_z = rows_at(d_arrows, j, 3 * C, c + 2 * C, on, REAL)
                    h_gate = h_g * f_g + s_g * d_f_g
                    h_w = h_gate * cut + gate * h_cut
                    h_by_gate = h_v_x * g_x + h_v_y * g_y + h_v_z * g_z
                    h_by_g = h_by_gate * cut + by_gate * h_cut
                    change_x += h_v_x * w + v_x * h_w
                    change_y += h_v_y * w + v_y * h_w
                    change_z += h_v_z * w + v_z * h_w
                    a_x = h_w * g_x
                    a_y = h_w * g_y
                    a_z = h_w * g_z
                    p_g = h_by_g * f_g + by_g * d_f_g
                    r_g = (h_by_g * s_g + by_g * h_g) * f1_g + by_g * s_g * d_f1_g
                    if VECTOR_CUTOFF:
                        per_envelope += h_by_gate * gate + by_gate * h_gate
                if OVER == TARGETS:
                    total_x += tl.sum(change_x, axis=0)
                    total_y += tl.sum(change_y, axis=0)
                    total_z += tl.sum(change_z, axis=0)

            # 5. sums over the edges
            if OVER == TARGETS:
                sum_k += tl.sum(q_sum, axis=0)
            if OVER == SOURCES:
                sum_k += tl.sum(p_k, axis=0)
                sum_s += tl.sum(p_s, axis=0)
                sum_a += tl.sum(p_a, axis=0)
                if VECTORS:
                    sum_g += tl.sum(p_g, axis=0)
                    total_x += tl.sum(a_x, axis=0)
                    total_y += tl.sum(a_y, axis=0)
                    total_z += tl.sum(a_z, axis=0)
            if OVER == MAP:
                sum_k += tl.sum(r_k, axis=0)
                sum_s += tl.sum(r_s, axis=0)
                sum_a += tl.sum(r_a, axis=0)
                if VECTORS:
                    sum_g += tl.sum(r_g, axis=0)
            if OVER == MAP and o_map is not None:
                columns = tl.trans(values)
                map_k += matrix_product(columns, r_k, "ieee")
                map_s += matrix_product(columns, r_s, "ieee")
                map_a += matrix_product(columns, r_a, "ieee")
                if VECTORS:
                    map_g += matrix_product(columns, r_g, "ieee")
                if SECOND_TASK and d_features is not None:
                    columns = tl.trans(moved)
                    map_k += matrix_product(columns, r1_k, "ieee")
                    map_s += matrix_product(columns, r1_s, "ieee")
                    map_a += matrix_product(columns, r1_a, "ieee")
                    if VECTORS:
                        map_g += matrix_product(columns, r1_g, "ieee")
            if OVER == PAIRS:
                # One row for each block of channels: they are added up later.
                at = tl.program_id(1).to(tl.int64) * n_edges + edge
                if o_envelope is not None:
                    tl.store(o_envelope + at, tl.sum(per_envelope, axis=1), mask=there)
                if o_direction is not None:
                    tl.store(o_direction + at * 3, sign * tl.sum(per_x, axis=1), mask=there)
                    tl.store(o_direction + at * 3 + 1, sign * tl.sum(per_y, axis=1), mask=there)
                    tl.store(o_direction + at * 3 + 2, sign * tl.sum(per_z, axis=1), mask=there)
                if o_features is not None:
                    out = by_features_of(r_k, in_map, c, in_row, N, FEATURES, ROW, REAL, PRECISION)
                    out += by_features_of(
                        r_s, in_map, c + C, in_row, N, FEATURES, ROW, REAL, PRECISION
                    )
                    out += by_features_of(
                        r_a, in_map, c + 2 * C, in_row, N, FEATURES, ROW, REAL, PRECISION
                    )
                    if VECTORS:
                        out += by_features_of(
                            r_g, in_map, c + 3 * C, in_row, N, FEATURES, ROW, REAL, PRECISION
                        )
                    if SECOND_TASK and d_map is not None:
                        out += by_features_of(
                            r1_k, d_map, c, in_row, N, FEATURES, ROW, REAL, PRECISION
                        )
                        out += by_features_of(
                            r1_s, d_map, c + C, in_row, N, FEATURES, ROW, REAL, PRECISION
                        )
                        out += by_features_of(
                            r1_a, d_map, c + 2 * C, in_row, N, FEATURES, ROW, REAL, PRECISION
                        )
                        if VECTORS:
                            out += by_features_of(
                                r1_g, d_map, c + 3 * C, in_row, N, FEATURES, ROW, REAL, PRECISION
                            )
                    k = tl.arange(0, FEATURES)
                    mask = there[:, None] & (k < N)[None, :]
                    tl.store(o_features + at[:, None] * N + k[None, :], out, mask=mask)

    # 6. results of the range
    program = tl.program_id(0).to(tl.int64)
    if o_scalars is not None:
        tl.store(o_scalars + program * C + c, total, mask=in_row)
    if o_vectors is not None:
        tl.store(o_vectors + program * 3 * C + c, total_x, mask=in_row)
        tl.store(o_vectors + program * 3 * C + C + c, total_y, mask=in_row)
        tl.store(o_vectors + program * 3 * C + 2 * C + c, total_z, mask=in_row)
    if o_query is not None:
        tl.store(o_query + program * C + c, sum_k, mask=in_row)
    if o_sent is not None:
        at = o_sent + program * W + c
        tl.store(at, sum_k, mask=in_row)
        tl.store(at + C, sum_s, mask=in_row)
        tl.store(at + 2 * C, sum_a, mask=in_row)
        if VECTORS:
            tl.store(at + 3 * C, sum_g, mask=in_row)
    if o_arrows is not None:
        tl.store(o_arrows + program * 3 * C + c, total_x, mask=in_row)
        tl.store(o_arrows + program * 3 * C + C + c, total_y, mask=in_row)
        tl.store(o_arrows + program * 3 * C + 2 * C + c, total_z, mask=in_row)
    if o_bias is not None:
        at = o_bias + program * ROW + c
        tl.store(at, sum_k, mask=in_row)
        tl.store(at + C, sum_s, mask=in_row)
        tl.store(at + 2 * C, sum_a, mask=in_row)
        if VECTORS:
            tl.store(at + 3 * C, sum_g, mask=in_row)
    if o_map is not None:
        store_map(o_map, map_k, c, in_row, N, FEATURES, ROW)
        store_map(o_map, map_s, c + C, in_row, N, FEATURES, ROW)
        store_map(o_map, map_a, c + 2 * C, in_row, N, FEATURES, ROW)
        if VECTORS:
            store_map(o_map, map_g, c + 3 * C, in_row, N, FEATURES, ROW)
