/* CGCNN's message: weight * sigmoid(gate) * g(core) with [gate, core] = target + source + edge.

   Compile with CHANNELS and ACTIVATION, the function g. Inputs and gradients are in this order:
   target (N, 2C), source (N, 2C), features of pairs (P, r), weight (P), and the map (r, 2C, padded)
   and bias whose product with the features is the edge. */
#define C CHANNELS
#define WIDTH (2 * C)
#include "edge_map.h"

enum { TARGET, SOURCE, EDGE, WEIGHT, MAP, BIAS, N_INPUTS };
#define N_SUMS 1
#define LOOP _Pragma("omp simd") for (int c = 0; c < C; c++)
#define WIDE_LOOP _Pragma("omp simd") for (int c = 0; c < WIDTH; c++)

/* Sums of messages (N, C), to be added to. */
static void value(const edges_t *edges, const real **in, real **out)
{
    static _Thread_local rows_t rows;
    for (int64_t first = edges->begin; first < edges->end; first += BLOCK) {
        map_rows(edges, first, in[EDGE], in[MAP], in[BIAS], rows);
        for (int b = 0; b < block_size(edges, first); b++) {
            const real *restrict edge = rows[b];
            const int64_t p = first + b;
            const real weight = in[WEIGHT][p];
            for (int64_t way = 0; way < edges->k; way++) {
                const int64_t i = edges->target[way * edges->n + p];
                const int64_t j = edges->source[way * edges->n + p];
                const real *restrict target = in[TARGET] + i * WIDTH;
                const real *restrict source = in[SOURCE] + j * WIDTH;
                real *restrict sum = out[0] + i * C;
                LOOP
                {
                    const real gate = target[c] + source[c] + edge[c];
                    const real core = target[C + c] + source[C + c] + edge[C + c];
                    sum[c] += weight * sigmoid(gate) * ACTIVATION(core).value;
                }
            }
        }
    }
}

/* Gradients of sum <cotangent, message>. Those of features and weights are written, the other ones
   are added to. */
static void gradient(const edges_t *edges, const real **in, const real **cotangents, real **out)
{
    static _Thread_local rows_t rows, by_rows;
    real ignored[WIDTH] = {0};
    for (int64_t first = edges->begin; first < edges->end; first += BLOCK) {
        map_rows(edges, first, in[EDGE], in[MAP], in[BIAS], rows);
        clear_rows(by_rows);
        for (int b = 0; b < block_size(edges, first); b++) {
            const real *restrict edge = rows[b];
            real *restrict by_edge = by_rows[b];
            const int64_t p = first + b;
            const real weight = in[WEIGHT][p];
            real by_weight = 0;
            for (int64_t way = 0; way < edges->k; way++) {
                const int64_t i = edges->target[way * edges->n + p];
                const int64_t j = edges->source[way * edges->n + p];
                const real *restrict target = in[TARGET] + i * WIDTH;
                const real *restrict source = in[SOURCE] + j * WIDTH;
                const real *restrict cotangent = cotangents[0] + i * C;
                real *restrict by_target = out[TARGET] ? out[TARGET] + i * WIDTH : ignored;
                real z[WIDTH];
#pragma omp simd reduction(+ : by_weight)
                for (int c = 0; c < C; c++) {
                    const real gate = target[c] + source[c] + edge[c];
                    const real core = target[C + c] + source[C + c] + edge[C + c];
                    const real s = sigmoid(gate);
                    const jet_t u = ACTIVATION(core);
                    const real q = cotangent[c] * s;
                    by_weight += q * u.value;
                    z[c] = weight * q * u.value * (1 - s);
                    z[C + c] = weight * q * u.first;
                }
                WIDE_LOOP
                {
                    by_target[c] += z[c];
                    by_edge[c] += z[c];
                }
                if (out[SOURCE]) {
                    real *restrict by_source = out[SOURCE] + j * WIDTH;
                    WIDE_LOOP by_source[c] += z[c];
                }
            }
            if (out[WEIGHT])
                out[WEIGHT][p] = by_weight;
        }
        give_gradients(edges, first, by_rows, in[EDGE], in[MAP], out[EDGE], out[MAP], out[BIAS]);
    }
}

/* Derivatives along the tangents: first of the sums, then of the gradients. */
static void second(const edges_t *edges, const real **in, const real **cotangents,
                   const real **tangents, real **out)
{
    static const real zeros[WIDTH];
    static _Thread_local rows_t rows, d_rows, by_rows, d_by_rows;
    real ignored[WIDTH] = {0};
    real **gradients = out + 1;
    for (int64_t first = edges->begin; first < edges->end; first += BLOCK) {
        map_rows(edges, first, in[EDGE], in[MAP], in[BIAS], rows);
        map_rows(edges, first, tangents[EDGE], in[MAP], tangents[BIAS], d_rows);
        if (tangents[MAP])
            add_mapped(edges, first, in[EDGE], tangents[MAP], d_rows);
        clear_rows(by_rows);
        clear_rows(d_by_rows);
        for (int b = 0; b < block_size(edges, first); b++) {
            const real *restrict edge = rows[b];
            const real *restrict d_edge = d_rows[b];
            real *restrict by_edge = by_rows[b];
            real *restrict d_by_edge = d_by_rows[b];
            const int64_t p = first + b;
            const real weight = in[WEIGHT][p];
            const real d_weight = tangents[WEIGHT] ? tangents[WEIGHT][p] : 0;
            real d_by_weight = 0;
            for (int64_t way = 0; way < edges->k; way++) {
                const int64_t i = edges->target[way * edges->n + p];
                const int64_t j = edges->source[way * edges->n + p];
                const real *restrict target = in[TARGET] + i * WIDTH;
                const real *restrict source = in[SOURCE] + j * WIDTH;
                const real *restrict d_target = row_of(tangents[TARGET], i, WIDTH, zeros);
                const real *restrict d_source = row_of(tangents[SOURCE], j, WIDTH, zeros);
                const real *restrict cotangent = cotangents[0] + i * C;
                real *restrict d_sum = out[0] + i * C;
                real *restrict d_by_target =
                    gradients[TARGET] ? gradients[TARGET] + i * WIDTH : ignored;
                real d_z[WIDTH];
#pragma omp simd reduction(+ : d_by_weight)
                for (int c = 0; c < C; c++) {
                    const real gate = target[c] + source[c] + edge[c];
                    const real core = target[C + c] + source[C + c] + edge[C + c];
                    const real d_gate = d_target[c] + d_source[c] + d_edge[c];
                    const real d_core = d_target[C + c] + d_source[C + c] + d_edge[C + c];
                    const real s = sigmoid(gate), s1 = s * (1 - s), s2 = s1 * (1 - 2 * s);
                    const jet_t u = ACTIVATION(core);
                    const real by_gate = s1 * u.value, by_core = s * u.first;
                    const real change = by_gate * d_gate + by_core * d_core;
                    const real q = weight * cotangent[c], d_q = d_weight * cotangent[c];
                    d_sum[c] += weight * change + d_weight * s * u.value;
                    d_by_weight += cotangent[c] * change;
                    d_z[c] = q * (s2 * u.value * d_gate + s1 * u.first * d_core) + d_q * by_gate;
                    d_z[C + c] =
                        q * (s1 * u.first * d_gate + s * u.second * d_core) + d_q * by_core;
                    by_edge[c] += q * by_gate;
                    by_edge[C + c] += q * by_core;
                }
                WIDE_LOOP
                {
                    d_by_target[c] += d_z[c];
                    d_by_edge[c] += d_z[c];
                }
                if (gradients[SOURCE]) {
                    real *restrict d_by_source = gradients[SOURCE] + j * WIDTH;
                    WIDE_LOOP d_by_source[c] += d_z[c];
                }
            }
            if (gradients[WEIGHT])
                gradients[WEIGHT][p] = d_by_weight;
        }
        give_second(edges, first, by_rows, d_by_rows, in[EDGE], in[MAP], tangents[EDGE],
                    tangents[MAP], gradients[EDGE], gradients[MAP], gradients[BIAS]);
    }
}

#include "edge_ranges.h"
