/* The message of TorchMD-Net's equivariant transformer. With [k, s, d, g] = source * silu(edge),

       scalars = envelope * silu(sum_head query * k) * s
       vectors = direction * d + vectors_of_source * g * envelope

   Compile with CHANNELS, HEADS, VECTORS (whether sources have vectors; without them there is no g)
   and VECTOR_CUTOFF (whether the second line has the envelope). Inputs and gradients are in this
   order: query (N, C), source (N, 4C), features of pairs (P, r), envelope (P), direction (P, 3),
   vectors (N, 3, C) if there are any, and the map (r, 4C, padded) and bias whose product with the
   features is the edge. */
#define C CHANNELS
#define WIDTH ((VECTORS ? 4 : 3) * C)
#include "edge_map.h"

enum { QUERY, SENT, EDGE, ENVELOPE, DIRECTION, ARROWS, MAP = 5 + VECTORS, BIAS, N_INPUTS };
#define N_SUMS 2
#define H HEADS
#define SIZE (C / H)
#define LOOP _Pragma("omp simd") for (int c = 0; c < C; c++)
#define WIDE_LOOP _Pragma("omp simd") for (int c = 0; c < WIDTH; c++)
#define EACH_HEAD for (int h = 0; h < H; h++)
#define EACH_AXIS for (int x = 0; x < 3; x++)
/* Offsets in a row of source and edge. */
#define SCALAR C
#define ALONG (2 * C)
#define GATE (3 * C)

static inline void sum_heads(const real *restrict channels, real *restrict heads)
{
    EACH_HEAD
    {
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int c = 0; c < SIZE; c++)
            sum += channels[h * SIZE + c];
        heads[h] = sum;
    }
}

static inline void spread_heads(const real *restrict heads, real *restrict channels)
{
    EACH_HEAD
    {
        const real head = heads[h];
        for (int c = 0; c < SIZE; c++)
            channels[h * SIZE + c] = head;
    }
}

static void value(const edges_t *edges, const real **in, real **out)
{
    static _Thread_local rows_t rows;
    for (int64_t p = edges->begin; p < edges->end; p++) {
        const int b = (int)((p - edges->begin) % BLOCK);
        if (b == 0)
            map_rows(edges, p, in[EDGE], in[MAP], in[BIAS], rows);
        const real *restrict edge = rows[b];
        const real envelope = in[ENVELOPE][p];
        const real *restrict direction = in[DIRECTION] + p * 3;
        real filter[WIDTH];
        WIDE_LOOP filter[c] = silu(edge[c]).value;
        for (int64_t way = 0; way < edges->k; way++) {
            const int64_t i = edges->target[way * edges->n + p];
            const int64_t j = edges->source[way * edges->n + p];
            const real sign = way ? -1 : 1;
            const real *restrict query = in[QUERY] + i * C;
            const real *restrict sent = in[SENT] + j * WIDTH;
            real *restrict scalars = out[0] + i * C;
            real *restrict vectors = out[1] + i * 3 * C;
            const real along[] = {sign * direction[0], sign * direction[1], sign * direction[2]};
            real heads[H], channels[C];
            LOOP channels[c] = query[c] * sent[c] * filter[c];
            sum_heads(channels, heads);
            EACH_HEAD heads[h] = silu(heads[h]).value * envelope;
            spread_heads(heads, channels);
#if VECTORS
            const real *restrict arrows = in[ARROWS] + j * 3 * C;
            const real cut = VECTOR_CUTOFF ? envelope : 1;
#endif
            LOOP
            {
                const real d = sent[ALONG + c] * filter[ALONG + c];
#if VECTORS
                const real weight = sent[GATE + c] * filter[GATE + c] * cut;
                EACH_AXIS vectors[x * C + c] += along[x] * d + arrows[x * C + c] * weight;
#else
                EACH_AXIS vectors[x * C + c] += along[x] * d;
#endif
            }
            LOOP scalars[c] += channels[c] * sent[SCALAR + c] * filter[SCALAR + c];
        }
    }
}

/* A name with by_ is the gradient of sum <cotangent, message> with respect to the rest of the name. */
static void gradient(const edges_t *edges, const real **in, const real **cotangents, real **out)
{
    static _Thread_local rows_t rows, by_rows;
    real ignored[4 * C] = {0};
    for (int64_t p = edges->begin; p < edges->end; p++) {
        const int b = (int)((p - edges->begin) % BLOCK);
        if (b == 0) {
            map_rows(edges, p, in[EDGE], in[MAP], in[BIAS], rows);
            clear_rows(by_rows);
        }
        const real *restrict edge = rows[b];
        const real envelope = in[ENVELOPE][p];
        const real *restrict direction = in[DIRECTION] + p * 3;
        real filter[WIDTH], slope[WIDTH], by_filter[WIDTH] = {0};
        real by_envelope = 0, by_x = 0, by_y = 0, by_z = 0;
        WIDE_LOOP
        {
            const jet_t f = silu(edge[c]);
            filter[c] = f.value;
            slope[c] = f.first;
        }
        for (int64_t way = 0; way < edges->k; way++) {
            const int64_t i = edges->target[way * edges->n + p];
            const int64_t j = edges->source[way * edges->n + p];
            const real sign = way ? -1 : 1;
            const real *restrict query = in[QUERY] + i * C;
            const real *restrict sent = in[SENT] + j * WIDTH;
            const real *restrict g = cotangents[0] + i * C;
            const real *restrict g_vector = cotangents[1] + i * 3 * C;
            real *restrict by_query = out[QUERY] ? out[QUERY] + i * C : ignored;
            real *restrict by_sent = out[SENT] ? out[SENT] + j * WIDTH : ignored;
            const real along[] = {sign * direction[0], sign * direction[1], sign * direction[2]};
            real logits[H], by_attention[H], attention[H];
            real channels[C], by_channels[C];
            LOOP
            {
                channels[c] = query[c] * sent[c] * filter[c];
                by_channels[c] = g[c] * sent[SCALAR + c] * filter[SCALAR + c];
            }
            sum_heads(channels, logits);
            sum_heads(by_channels, by_attention);
            EACH_HEAD
            {
                const jet_t e = silu(logits[h]);
                attention[h] = e.value * envelope;
                by_envelope += by_attention[h] * e.value;
                logits[h] = by_attention[h] * envelope * e.first; /* its gradient */
            }
            spread_heads(attention, channels);
            spread_heads(logits, by_channels);
            real s_x = 0, s_y = 0, s_z = 0, by_cut = 0;
#if VECTORS
            const real *restrict arrows = in[ARROWS] + j * 3 * C;
            real *restrict by_arrows = out[ARROWS] ? out[ARROWS] + j * 3 * C : ignored;
            const real cut = VECTOR_CUTOFF ? envelope : 1;
#endif
#pragma omp simd reduction(+ : s_x, s_y, s_z, by_cut)
            for (int c = 0; c < C; c++) {
                const real g_x = g_vector[c], g_y = g_vector[C + c], g_z = g_vector[2 * C + c];
                const real f = filter[ALONG + c], s = sent[ALONG + c], d = s * f;
                const real by = along[0] * g_x + along[1] * g_y + along[2] * g_z;
                s_x += d * g_x;
                s_y += d * g_y;
                s_z += d * g_z;
                by_filter[ALONG + c] += by * s;
                by_sent[ALONG + c] += by * f;
#if VECTORS
                const real gate_f = filter[GATE + c], gate_s = sent[GATE + c];
                const real by_weight =
                    arrows[c] * g_x + arrows[C + c] * g_y + arrows[2 * C + c] * g_z;
                by_cut += by_weight * gate_s * gate_f;
                by_filter[GATE + c] += by_weight * cut * gate_s;
                by_sent[GATE + c] += by_weight * cut * gate_f;
                by_arrows[c] += gate_s * gate_f * cut * g_x;
                by_arrows[C + c] += gate_s * gate_f * cut * g_y;
                by_arrows[2 * C + c] += gate_s * gate_f * cut * g_z;
#endif
            }
            by_x += sign * s_x;
            by_y += sign * s_y;
            by_z += sign * s_z;
            by_envelope += VECTOR_CUTOFF ? by_cut : 0;
            LOOP
            {
                const real by_key = query[c] * by_channels[c], by_scalar = g[c] * channels[c];
                const real key_f = filter[c], scalar_f = filter[SCALAR + c];
                const real key_s = sent[c], scalar_s = sent[SCALAR + c];
                by_query[c] += key_s * key_f * by_channels[c];
                by_filter[c] += by_key * key_s;
                by_sent[c] += by_key * key_f;
                by_filter[SCALAR + c] += by_scalar * scalar_s;
                by_sent[SCALAR + c] += by_scalar * scalar_f;
            }
        }
        WIDE_LOOP by_rows[b][c] = by_filter[c] * slope[c];
        if (b == BLOCK - 1 || p == edges->end - 1)
            give_gradients(
                edges, p - b, by_rows, in[EDGE], in[MAP], out[EDGE], out[MAP], out[BIAS]);
        if (out[ENVELOPE])
            out[ENVELOPE][p] = by_envelope;
        if (out[DIRECTION]) {
            real *row = out[DIRECTION] + p * 3;
            row[0] = by_x;
            row[1] = by_y;
            row[2] = by_z;
        }
    }
}

/* A name with d_ is the derivative along the tangents. */
static void second(const edges_t *edges, const real **in, const real **cotangents,
                   const real **tangents, real **out)
{
    static const real zeros[4 * C];
    static _Thread_local rows_t rows, d_rows, by_rows, d_by_rows;
    real ignored[4 * C] = {0};
    real **gradients = out + 2;
    for (int64_t p = edges->begin; p < edges->end; p++) {
        const int b = (int)((p - edges->begin) % BLOCK);
        if (b == 0) {
            map_rows(edges, p, in[EDGE], in[MAP], in[BIAS], rows);
            map_rows(edges, p, tangents[EDGE], in[MAP], tangents[BIAS], d_rows);
            if (tangents[MAP])
                add_mapped(edges, p, in[EDGE], tangents[MAP], d_rows);
            clear_rows(by_rows);
            clear_rows(d_by_rows);
        }
        const real *restrict edge = rows[b];
        const real *restrict d_edge = d_rows[b];
        const real *restrict direction = in[DIRECTION] + p * 3;
        const real *restrict d_direction = row_of(tangents[DIRECTION], p, 3, zeros);
        const real envelope = in[ENVELOPE][p];
        const real d_envelope = tangents[ENVELOPE] ? tangents[ENVELOPE][p] : 0;
        real filter[WIDTH], slope[WIDTH], d_filter[WIDTH], d_slope[WIDTH];
        real by_filter[WIDTH] = {0}, d_by_filter[WIDTH] = {0};
        real d_by_envelope = 0, d_by_x = 0, d_by_y = 0, d_by_z = 0;
        WIDE_LOOP
        {
            const jet_t f = silu(edge[c]);
            filter[c] = f.value;
            slope[c] = f.first;
            d_filter[c] = f.first * d_edge[c];
            d_slope[c] = f.second * d_edge[c];
        }
        for (int64_t way = 0; way < edges->k; way++) {
            const int64_t i = edges->target[way * edges->n + p];
            const int64_t j = edges->source[way * edges->n + p];
            const real sign = way ? -1 : 1;
            const real *restrict query = in[QUERY] + i * C;
            const real *restrict d_query = row_of(tangents[QUERY], i, C, zeros);
            const real *restrict sent = in[SENT] + j * WIDTH;
            const real *restrict d_sent = row_of(tangents[SENT], j, WIDTH, zeros);
            const real *restrict g = cotangents[0] + i * C;
            const real *restrict g_vector = cotangents[1] + i * 3 * C;
            real *restrict d_scalars = out[0] + i * C;
            real *restrict d_vectors = out[1] + i * 3 * C;
            real *restrict d_by_query = gradients[QUERY] ? gradients[QUERY] + i * C : ignored;
            real *restrict d_by_sent = gradients[SENT] ? gradients[SENT] + j * WIDTH : ignored;
            const real along[] = {sign * direction[0], sign * direction[1], sign * direction[2]};
            const real d_along[] = {
                sign * d_direction[0], sign * d_direction[1], sign * d_direction[2]};
            real logits[H], d_logits[H], by_attention[H], d_by_attention[H];
            real attention[H], d_attention[H];
            real channels[C], d_channels[C], by_channels[C], d_by_channels[C];
            LOOP
            {
                const real key = sent[c] * filter[c];
                const real d_key = d_sent[c] * filter[c] + sent[c] * d_filter[c];
                const real s_f = filter[SCALAR + c], s_s = sent[SCALAR + c];
                channels[c] = query[c] * key;
                d_channels[c] = query[c] * d_key + d_query[c] * key;
                by_channels[c] = g[c] * s_s * s_f;
                d_by_channels[c] = g[c] * (d_sent[SCALAR + c] * s_f + s_s * d_filter[SCALAR + c]);
            }
            sum_heads(channels, logits);
            sum_heads(d_channels, d_logits);
            sum_heads(by_channels, by_attention);
            sum_heads(d_by_channels, d_by_attention);
            EACH_HEAD
            {
                const jet_t e = silu(logits[h]);
                const real by = by_attention[h], d_by = d_by_attention[h];
                const real d_value = e.first * d_logits[h], d_first = e.second * d_logits[h];
                attention[h] = e.value * envelope;
                d_attention[h] = d_value * envelope + e.value * d_envelope;
                d_by_envelope += d_by * e.value + by * d_value;
                logits[h] = by * envelope * e.first; /* its gradient */
                d_logits[h] =
                    (d_by * envelope + by * d_envelope) * e.first + by * envelope * d_first;
            }
            spread_heads(attention, channels);
            spread_heads(d_attention, d_channels);
            spread_heads(logits, by_channels);
            spread_heads(d_logits, d_by_channels);
            real s_x = 0, s_y = 0, s_z = 0;
#pragma omp simd reduction(+ : s_x, s_y, s_z)
            for (int c = 0; c < C; c++) {
                const real g_x = g_vector[c], g_y = g_vector[C + c], g_z = g_vector[2 * C + c];
                const real f = filter[ALONG + c], d_f = d_filter[ALONG + c];
                const real s = sent[ALONG + c], d_s = d_sent[ALONG + c];
                const real d = s * f, d_d = d_s * f + s * d_f;
                const real by = along[0] * g_x + along[1] * g_y + along[2] * g_z;
                const real d_by = d_along[0] * g_x + d_along[1] * g_y + d_along[2] * g_z;
                EACH_AXIS d_vectors[x * C + c] += d_along[x] * d + along[x] * d_d;
                s_x += d_d * g_x;
                s_y += d_d * g_y;
                s_z += d_d * g_z;
                by_filter[ALONG + c] += by * s;
                d_by_filter[ALONG + c] += d_by * s + by * d_s;
                d_by_sent[ALONG + c] += d_by * f + by * d_f;
            }
            d_by_x += sign * s_x;
            d_by_y += sign * s_y;
            d_by_z += sign * s_z;
#if VECTORS
            const real *restrict arrows = in[ARROWS] + j * 3 * C;
            const real *restrict d_arrows = row_of(tangents[ARROWS], j, 3 * C, zeros);
            real *restrict d_by_arrows =
                gradients[ARROWS] ? gradients[ARROWS] + j * 3 * C : ignored;
            const real cut = VECTOR_CUTOFF ? envelope : 1, d_cut = VECTOR_CUTOFF ? d_envelope : 0;
            real d_by_cut = 0;
#pragma omp simd reduction(+ : d_by_cut)
            for (int c = 0; c < C; c++) {
                const real f = filter[GATE + c], d_f = d_filter[GATE + c];
                const real s = sent[GATE + c], d_s = d_sent[GATE + c];
                const real gate = s * f, d_gate = d_s * f + s * d_f;
                const real weight = gate * cut, d_weight = d_gate * cut + gate * d_cut;
                real by_weight = 0, d_by_weight = 0;
                EACH_AXIS
                {
                    const real g_c = g_vector[x * C + c];
                    const real arrow = arrows[x * C + c], d_arrow = d_arrows[x * C + c];
                    d_vectors[x * C + c] += d_arrow * weight + arrow * d_weight;
                    d_by_arrows[x * C + c] += d_weight * g_c;
                    by_weight += arrow * g_c;
                    d_by_weight += d_arrow * g_c;
                }
                const real by_gate = by_weight * cut;
                const real d_by_gate = d_by_weight * cut + by_weight * d_cut;
                d_by_cut += d_by_weight * gate + by_weight * d_gate;
                by_filter[GATE + c] += by_gate * s;
                d_by_filter[GATE + c] += d_by_gate * s + by_gate * d_s;
                d_by_sent[GATE + c] += d_by_gate * f + by_gate * d_f;
            }
            d_by_envelope += VECTOR_CUTOFF ? d_by_cut : 0;
#endif
            LOOP
            {
                const real f = filter[c], d_f = d_filter[c], s = sent[c], d_s = d_sent[c];
                const real by = query[c] * by_channels[c];
                const real d_by = d_query[c] * by_channels[c] + query[c] * d_by_channels[c];
                d_by_query[c] += (d_s * f + s * d_f) * by_channels[c] + s * f * d_by_channels[c];
                by_filter[c] += by * s;
                d_by_filter[c] += d_by * s + by * d_s;
                d_by_sent[c] += d_by * f + by * d_f;
            }
            LOOP
            {
                const real f = filter[SCALAR + c], d_f = d_filter[SCALAR + c];
                const real s = sent[SCALAR + c], d_s = d_sent[SCALAR + c];
                const real by = g[c] * channels[c], d_by = g[c] * d_channels[c];
                d_scalars[c] += d_channels[c] * s * f + channels[c] * (d_s * f + s * d_f);
                by_filter[SCALAR + c] += by * s;
                d_by_filter[SCALAR + c] += d_by * s + by * d_s;
                d_by_sent[SCALAR + c] += d_by * f + by * d_f;
            }
        }
        WIDE_LOOP
        {
            by_rows[b][c] = by_filter[c] * slope[c];
            d_by_rows[b][c] = d_by_filter[c] * slope[c] + by_filter[c] * d_slope[c];
        }
        if (b == BLOCK - 1 || p == edges->end - 1)
            give_second(edges, p - b, by_rows, d_by_rows, in[EDGE], in[MAP], tangents[EDGE],
                        tangents[MAP], gradients[EDGE], gradients[MAP], gradients[BIAS]);
        if (gradients[ENVELOPE])
            gradients[ENVELOPE][p] = d_by_envelope;
        if (gradients[DIRECTION]) {
            real *row = gradients[DIRECTION] + p * 3;
            row[0] = d_by_x;
            row[1] = d_by_y;
            row[2] = d_by_z;
        }
    }
}

#include "edge_ranges.h"
