/* CGCNN's message, weight * sigmoid(gate) * g(core), [gate, core] = target + source + edge.

   CHANNELS, and ACTIVATION: the function g. Inputs, and gradients in this order: target (N, 2C),
   source (N, 2C), edge (P, 2C), weight (P). */
#include "edge_math.h"

enum { TARGET, SOURCE, EDGE, WEIGHT };
#define C CHANNELS
#define LOOP _Pragma("omp simd") for (int c = 0; c < C; c++)

/* Sums of messages (N, C), to be added to. */
EXPORT void value(const edges_t *edges, const real **in, real **out)
{
    for (int64_t p = edges->begin; p < edges->end; p++) {
        const real *restrict edge = in[EDGE] + p * 2 * C;
        const real weight = in[WEIGHT][p];
        for (int64_t way = 0; way < edges->k; way++) {
            const int64_t i = edges->target[way * edges->n + p];
            const int64_t j = edges->source[way * edges->n + p];
            const real *restrict target = in[TARGET] + i * 2 * C;
            const real *restrict source = in[SOURCE] + j * 2 * C;
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

/* Gradients of sum <cotangent, message>: those of atoms are added to, those of edges written. */
EXPORT void gradient(const edges_t *edges, const real **in, const real **cotangents, real **out)
{
    real ignored[2 * C];
    for (int64_t p = edges->begin; p < edges->end; p++) {
        const real *restrict edge = in[EDGE] + p * 2 * C;
        const real weight = in[WEIGHT][p];
        real *restrict by_edge = out[EDGE] ? out[EDGE] + p * 2 * C : ignored;
        real by_weight = 0;
        for (int c = 0; c < 2 * C; c++)
            by_edge[c] = 0;
        for (int64_t way = 0; way < edges->k; way++) {
            const int64_t i = edges->target[way * edges->n + p];
            const int64_t j = edges->source[way * edges->n + p];
            const real *restrict target = in[TARGET] + i * 2 * C;
            const real *restrict source = in[SOURCE] + j * 2 * C;
            const real *restrict cotangent = cotangents[0] + i * C;
            real *restrict by_target = out[TARGET] ? out[TARGET] + i * 2 * C : ignored;
            real z[2 * C];
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
#pragma omp simd
            for (int c = 0; c < 2 * C; c++) {
                by_target[c] += z[c];
                by_edge[c] += z[c];
            }
            if (out[SOURCE]) {
                real *restrict by_source = out[SOURCE] + j * 2 * C;
#pragma omp simd
                for (int c = 0; c < 2 * C; c++)
                    by_source[c] += z[c];
            }
        }
        if (out[WEIGHT])
            out[WEIGHT][p] = by_weight;
    }
}

/* Derivatives of the sums and of the gradients along tangents; out: the sums', then as gradients. */
EXPORT void second(const edges_t *edges, const real **in, const real **cotangents,
                   const real **along, real **out)
{
    static const real zeros[2 * C];
    real ignored[2 * C];
    real **gradients = out + 1;
    for (int64_t p = edges->begin; p < edges->end; p++) {
        const real *restrict edge = in[EDGE] + p * 2 * C;
        const real *restrict h_edge = row_of(along[EDGE], p, 2 * C, zeros);
        const real weight = in[WEIGHT][p];
        const real h_weight = along[WEIGHT] ? along[WEIGHT][p] : 0;
        real *restrict by_edge = gradients[EDGE] ? gradients[EDGE] + p * 2 * C : ignored;
        real by_weight = 0;
        for (int c = 0; c < 2 * C; c++)
            by_edge[c] = 0;
        for (int64_t way = 0; way < edges->k; way++) {
            const int64_t i = edges->target[way * edges->n + p];
            const int64_t j = edges->source[way * edges->n + p];
            const real *restrict target = in[TARGET] + i * 2 * C;
            const real *restrict source = in[SOURCE] + j * 2 * C;
            const real *restrict h_target = row_of(along[TARGET], i, 2 * C, zeros);
            const real *restrict h_source = row_of(along[SOURCE], j, 2 * C, zeros);
            const real *restrict cotangent = cotangents[0] + i * C;
            real *restrict sum = out[0] + i * C;
            real *restrict by_target = gradients[TARGET] ? gradients[TARGET] + i * 2 * C : ignored;
            real z[2 * C];
#pragma omp simd reduction(+ : by_weight)
            for (int c = 0; c < C; c++) {
                const real gate = target[c] + source[c] + edge[c];
                const real core = target[C + c] + source[C + c] + edge[C + c];
                const real h_gate = h_target[c] + h_source[c] + h_edge[c];
                const real h_core = h_target[C + c] + h_source[C + c] + h_edge[C + c];
                const real s = sigmoid(gate), s1 = s * (1 - s), s2 = s1 * (1 - 2 * s);
                const jet_t u = ACTIVATION(core);
                const real by_gate = s1 * u.value, by_core = s * u.first;
                const real change = by_gate * h_gate + by_core * h_core;
                const real q = weight * cotangent[c], h_q = h_weight * cotangent[c];
                sum[c] += weight * change + h_weight * s * u.value;
                by_weight += cotangent[c] * change;
                z[c] = q * (s2 * u.value * h_gate + s1 * u.first * h_core) + h_q * by_gate;
                z[C + c] = q * (s1 * u.first * h_gate + s * u.second * h_core) + h_q * by_core;
            }
#pragma omp simd
            for (int c = 0; c < 2 * C; c++) {
                by_target[c] += z[c];
                by_edge[c] += z[c];
            }
            if (gradients[SOURCE]) {
                real *restrict by_source = gradients[SOURCE] + j * 2 * C;
#pragma omp simd
                for (int c = 0; c < 2 * C; c++)
                    by_source[c] += z[c];
            }
        }
        if (gradients[WEIGHT])
            gradients[WEIGHT][p] = by_weight;
    }
}
