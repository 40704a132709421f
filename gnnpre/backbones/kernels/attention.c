/* The messages of TorchMD-Net's equivariant transformer. With [k, s, d, g] = source * silu(edge),

       scalars = envelope * silu(sum_head query * k) * s
       vectors = direction * d + vectors_of_source * g * envelope

   CHANNELS, HEADS; VECTORS: whether sources have them (without, g is not there); VECTOR_CUTOFF:
   whether the envelope is in the second line. Inputs, and gradients in this order: query (N, C),
   source (N, 4C), edge (P, 4C), envelope (P), direction (P, 3), vectors (N, 3, C). */
#include "edge_math.h"

enum { QUERY, SENT, EDGE, ENVELOPE, DIRECTION, ARROWS };
#define C CHANNELS
#define H HEADS
#define SIZE (C / H)
#define WIDTH ((VECTORS ? 4 : 3) * C)
#define LOOP _Pragma("omp simd") for (int c = 0; c < C; c++)
#define WIDE_LOOP _Pragma("omp simd") for (int c = 0; c < WIDTH; c++)
#define EACH_HEAD for (int h = 0; h < H; h++)
#define KEY 0
#define SCALAR C
#define ALONG (2 * C)
#define GATE (3 * C)

/* Sum over the channels of each head. */
static inline void sum_heads(const real *restrict x, const real *restrict y, real *restrict sums)
{
    EACH_HEAD
    {
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int c = h * SIZE; c < (h + 1) * SIZE; c++)
            sum += x[c] * y[c];
        sums[h] = sum;
    }
}

/* Give each channel what its head has. */
static inline void spread_heads(const real *restrict heads, real *restrict channels)
{
    EACH_HEAD
    for (int c = h * SIZE; c < (h + 1) * SIZE; c++)
        channels[c] = heads[h];
}

/* What a group of edges has in all ways. */
typedef struct {
    real filter[WIDTH], slope[WIDTH];
    real envelope, cut, direction[3];
} group_t;

static inline void read_group(const real **in, int64_t p, group_t *group)
{
    const real *restrict edge = in[EDGE] + p * WIDTH;
    WIDE_LOOP
    {
        const jet_t f = silu(edge[c]);
        group->filter[c] = f.value;
        group->slope[c] = f.first;
    }
    group->envelope = in[ENVELOPE][p];
    group->cut = VECTOR_CUTOFF ? group->envelope : 1;
    for (int x = 0; x < 3; x++)
        group->direction[x] = in[DIRECTION][p * 3 + x];
}

EXPORT void value(const edges_t *edges, const real **in, real **out)
{
    group_t group;
    for (int64_t p = edges->begin; p < edges->end; p++) {
        read_group(in, p, &group);
        for (int64_t way = 0; way < edges->k; way++) {
            const int64_t i = edges->target[way * edges->n + p];
            const int64_t j = edges->source[way * edges->n + p];
            const real sign = way ? -1 : 1;
            const real *restrict sent = in[SENT] + j * WIDTH;
            real *restrict scalars = out[0] + i * C;
            real product[WIDTH], heads[H], attention[C];
            WIDE_LOOP product[c] = sent[c] * group.filter[c];
            sum_heads(in[QUERY] + i * C, product + KEY, heads);
            EACH_HEAD heads[h] = silu(heads[h]).value * group.envelope;
            spread_heads(heads, attention);
            LOOP scalars[c] += attention[c] * product[SCALAR + c];
            for (int x = 0; x < 3; x++) {
                const real along = sign * group.direction[x];
                real *restrict vector = out[1] + (i * 3 + x) * C;
                LOOP vector[c] += along * product[ALONG + c];
#if VECTORS
                const real *restrict arrow = in[ARROWS] + (j * 3 + x) * C;
                LOOP vector[c] += arrow[c] * product[GATE + c] * group.cut;
#endif
            }
        }
    }
}

EXPORT void gradient(const edges_t *edges, const real **in, const real **cotangents, real **out)
{
    group_t group;
    for (int64_t p = edges->begin; p < edges->end; p++) {
        read_group(in, p, &group);
        real by_edge[WIDTH] = {0}, by_envelope = 0, by_direction[3] = {0};
        for (int64_t way = 0; way < edges->k; way++) {
            const int64_t i = edges->target[way * edges->n + p];
            const int64_t j = edges->source[way * edges->n + p];
            const real sign = way ? -1 : 1;
            const real *restrict query = in[QUERY] + i * C;
            const real *restrict sent = in[SENT] + j * WIDTH;
            const real *restrict g = cotangents[0] + i * C;
            real product[WIDTH], by_product[WIDTH];
            real attention[H], by_attention[H], logit[H], spread[C];
            WIDE_LOOP product[c] = sent[c] * group.filter[c];
            sum_heads(query, product + KEY, logit);
            sum_heads(g, product + SCALAR, by_attention);
            EACH_HEAD
            {
                const jet_t e = silu(logit[h]);
                attention[h] = e.value * group.envelope;
                by_envelope += by_attention[h] * e.value;
                logit[h] = by_attention[h] * group.envelope * e.first; /* its gradient */
            }
            spread_heads(attention, spread);
            LOOP by_product[SCALAR + c] = g[c] * spread[c];
            spread_heads(logit, spread);
            LOOP by_product[KEY + c] = query[c] * spread[c];
            if (out[QUERY]) {
                real *restrict by_query = out[QUERY] + i * C;
                LOOP by_query[c] += product[KEY + c] * spread[c];
            }
            LOOP by_product[ALONG + c] = 0;
#if VECTORS
            LOOP by_product[GATE + c] = 0;
#endif
            for (int x = 0; x < 3; x++) {
                const real *restrict g_vector = cotangents[1] + (i * 3 + x) * C;
                const real along = sign * group.direction[x];
                real sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int c = 0; c < C; c++) {
                    by_product[ALONG + c] += along * g_vector[c];
                    sum += product[ALONG + c] * g_vector[c];
                }
                by_direction[x] += sign * sum;
#if VECTORS
                const real *restrict arrow = in[ARROWS] + (j * 3 + x) * C;
                LOOP by_product[GATE + c] += arrow[c] * g_vector[c];
                if (out[ARROWS]) {
                    real *restrict by_arrow = out[ARROWS] + (j * 3 + x) * C;
                    LOOP by_arrow[c] += product[GATE + c] * group.cut * g_vector[c];
                }
#endif
            }
#if VECTORS
#if VECTOR_CUTOFF
            real by_cut = 0;
#pragma omp simd reduction(+ : by_cut)
            for (int c = 0; c < C; c++)
                by_cut += by_product[GATE + c] * product[GATE + c];
            by_envelope += by_cut;
#endif
            LOOP by_product[GATE + c] *= group.cut;
#endif
            WIDE_LOOP by_edge[c] += by_product[c] * sent[c];
            if (out[SENT]) {
                real *restrict by_sent = out[SENT] + j * WIDTH;
                WIDE_LOOP by_sent[c] += by_product[c] * group.filter[c];
            }
        }
        if (out[EDGE]) {
            real *restrict row = out[EDGE] + p * WIDTH;
            WIDE_LOOP row[c] = by_edge[c] * group.slope[c];
        }
        if (out[ENVELOPE])
            out[ENVELOPE][p] = by_envelope;
        if (out[DIRECTION])
            for (int x = 0; x < 3; x++)
                out[DIRECTION][p * 3 + x] = by_direction[x];
    }
}

/* Names that begin with d are derivatives along the tangents. */
EXPORT void second(const edges_t *edges, const real **in, const real **cotangents,
                   const real **along_in, real **out)
{
    static const real zeros[WIDTH];
    real **gradients = out + 2;
    for (int64_t p = edges->begin; p < edges->end; p++) {
        const real *restrict edge = in[EDGE] + p * WIDTH;
        const real *restrict d_edge = row_of(along_in[EDGE], p, WIDTH, zeros);
        const real *restrict direction = in[DIRECTION] + p * 3;
        const real *restrict d_direction = row_of(along_in[DIRECTION], p, 3, zeros);
        const real envelope = in[ENVELOPE][p];
        const real d_envelope = along_in[ENVELOPE] ? along_in[ENVELOPE][p] : 0;
#if VECTORS
        const real cut = VECTOR_CUTOFF ? envelope : 1, d_cut = VECTOR_CUTOFF ? d_envelope : 0;
#endif
        real filter[WIDTH], slope[WIDTH], d_filter[WIDTH], d_slope[WIDTH];
        real by_edge[WIDTH] = {0}, d_by_edge[WIDTH] = {0};
        real d_by_envelope = 0, d_by_direction[3] = {0};
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
            const real *restrict d_query = row_of(along_in[QUERY], i, C, zeros);
            const real *restrict sent = in[SENT] + j * WIDTH;
            const real *restrict d_sent = row_of(along_in[SENT], j, WIDTH, zeros);
            const real *restrict g = cotangents[0] + i * C;
            real *restrict d_scalars = out[0] + i * C;
            real product[WIDTH], d_product[WIDTH], by_product[WIDTH], d_by_product[WIDTH];
            real heads[H], d_heads[H], d_heads_of_query[H], by_heads[H], d_by_heads[H];
            real spread[C], d_spread[C];
            WIDE_LOOP
            {
                product[c] = sent[c] * filter[c];
                d_product[c] = d_sent[c] * filter[c] + sent[c] * d_filter[c];
            }
            sum_heads(query, product + KEY, heads);
            sum_heads(query, d_product + KEY, d_heads);
            sum_heads(d_query, product + KEY, d_heads_of_query);
            sum_heads(g, product + SCALAR, by_heads);
            sum_heads(g, d_product + SCALAR, d_by_heads);
            EACH_HEAD
            {
                const jet_t e = silu(heads[h]);
                const real d_logit = d_heads[h] + d_heads_of_query[h];
                const real by = by_heads[h], d_by = d_by_heads[h];
                const real d_value = e.first * d_logit, d_first = e.second * d_logit;
                heads[h] = e.value * envelope; /* the attention */
                d_heads[h] = d_value * envelope + e.value * d_envelope;
                by_heads[h] = by * envelope * e.first; /* the gradient of the logit */
                d_by_heads[h] = d_by * envelope * e.first + by * d_envelope * e.first +
                                by * envelope * d_first;
                d_by_envelope += d_by * e.value + by * d_value;
            }
            spread_heads(heads, spread);
            spread_heads(d_heads, d_spread);
            LOOP
            {
                d_scalars[c] += d_spread[c] * product[SCALAR + c] + spread[c] * d_product[SCALAR + c];
                by_product[SCALAR + c] = g[c] * spread[c];
                d_by_product[SCALAR + c] = g[c] * d_spread[c];
            }
            spread_heads(by_heads, spread);
            spread_heads(d_by_heads, d_spread);
            LOOP
            {
                by_product[KEY + c] = query[c] * spread[c];
                d_by_product[KEY + c] = d_query[c] * spread[c] + query[c] * d_spread[c];
            }
            if (gradients[QUERY]) {
                real *restrict by_query = gradients[QUERY] + i * C;
                LOOP by_query[c] += d_product[KEY + c] * spread[c] + product[KEY + c] * d_spread[c];
            }
            LOOP by_product[ALONG + c] = d_by_product[ALONG + c] = 0;
#if VECTORS
            LOOP by_product[GATE + c] = d_by_product[GATE + c] = 0;
#endif
            for (int x = 0; x < 3; x++) {
                const real *restrict g_vector = cotangents[1] + (i * 3 + x) * C;
                real *restrict d_vector = out[1] + (i * 3 + x) * C;
                const real along = sign * direction[x], d_along = sign * d_direction[x];
                real sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int c = 0; c < C; c++) {
                    d_vector[c] += d_along * product[ALONG + c] + along * d_product[ALONG + c];
                    by_product[ALONG + c] += along * g_vector[c];
                    d_by_product[ALONG + c] += d_along * g_vector[c];
                    sum += d_product[ALONG + c] * g_vector[c];
                }
                d_by_direction[x] += sign * sum;
#if VECTORS
                const real *restrict arrow = in[ARROWS] + (j * 3 + x) * C;
                const real *restrict d_arrow = row_of(along_in[ARROWS], j * 3 + x, C, zeros);
                LOOP
                {
                    const real weight = product[GATE + c] * cut;
                    const real d_weight = d_product[GATE + c] * cut + product[GATE + c] * d_cut;
                    d_vector[c] += d_arrow[c] * weight + arrow[c] * d_weight;
                    by_product[GATE + c] += arrow[c] * g_vector[c];
                    d_by_product[GATE + c] += d_arrow[c] * g_vector[c];
                }
                if (gradients[ARROWS]) {
                    real *restrict by_arrow = gradients[ARROWS] + (j * 3 + x) * C;
                    LOOP by_arrow[c] +=
                        (d_product[GATE + c] * cut + product[GATE + c] * d_cut) * g_vector[c];
                }
#endif
            }
#if VECTORS
#if VECTOR_CUTOFF
            real d_by_cut = 0;
#pragma omp simd reduction(+ : d_by_cut)
            for (int c = 0; c < C; c++)
                d_by_cut += d_by_product[GATE + c] * product[GATE + c] +
                            by_product[GATE + c] * d_product[GATE + c];
            d_by_envelope += d_by_cut;
#endif
            LOOP
            {
                d_by_product[GATE + c] = d_by_product[GATE + c] * cut + by_product[GATE + c] * d_cut;
                by_product[GATE + c] *= cut;
            }
#endif
            WIDE_LOOP
            {
                by_edge[c] += by_product[c] * sent[c];
                d_by_edge[c] += d_by_product[c] * sent[c] + by_product[c] * d_sent[c];
            }
            if (gradients[SENT]) {
                real *restrict by_sent = gradients[SENT] + j * WIDTH;
                WIDE_LOOP by_sent[c] += d_by_product[c] * filter[c] + by_product[c] * d_filter[c];
            }
        }
        if (gradients[EDGE]) {
            real *restrict row = gradients[EDGE] + p * WIDTH;
            WIDE_LOOP row[c] = d_by_edge[c] * slope[c] + by_edge[c] * d_slope[c];
        }
        if (gradients[ENVELOPE])
            gradients[ENVELOPE][p] = d_by_envelope;
        if (gradients[DIRECTION])
            for (int x = 0; x < 3; x++)
                gradients[DIRECTION][p * 3 + x] = d_by_direction[x];
    }
}
