/* The message filter * source, of filters (P, C) and sources (N, C). Compile with CHANNELS.
   Inputs and gradients are in this order. */
#include "edge_math.h"

enum { FILTER, SOURCE, N_INPUTS };
#define N_SUMS 1
#define C CHANNELS
#define LOOP _Pragma("omp simd") for (int c = 0; c < C; c++)

static void value(const edges_t *edges, const real **in, real **out)
{
    for (int64_t p = edges->begin; p < edges->end; p++) {
        const real *restrict filter = in[FILTER] + p * C;
        for (int64_t way = 0; way < edges->k; way++) {
            const real *restrict source = in[SOURCE] + edges->source[way * edges->n + p] * C;
            real *restrict sum = out[0] + edges->target[way * edges->n + p] * C;
            LOOP sum[c] += filter[c] * source[c];
        }
    }
}

/* Gradient and second derivative in one: the product is linear in each factor. */
static inline void add_gradients(const edges_t *edges, const real *filters, const real *sources,
                                 const real *cotangents, real **out)
{
    real ignored[C] = {0};
    for (int64_t p = edges->begin; p < edges->end; p++) {
        real *restrict by_filter = out[FILTER] ? out[FILTER] + p * C : ignored;
        LOOP by_filter[c] = 0;
        for (int64_t way = 0; way < edges->k; way++) {
            const int64_t j = edges->source[way * edges->n + p];
            const real *restrict g = cotangents + edges->target[way * edges->n + p] * C;
            if (sources) {
                const real *restrict source = sources + j * C;
                LOOP by_filter[c] += source[c] * g[c];
            }
            if (filters && out[SOURCE]) {
                const real *restrict filter = filters + p * C;
                real *restrict by_source = out[SOURCE] + j * C;
                LOOP by_source[c] += filter[c] * g[c];
            }
        }
    }
}

static void gradient(const edges_t *edges, const real **in, const real **cotangents, real **out)
{
    add_gradients(edges, in[FILTER], in[SOURCE], cotangents[0], out);
}

static void second(const edges_t *edges, const real **in, const real **cotangents,
                   const real **along, real **out)
{
    if (along[FILTER]) {
        const real *moved[] = {along[FILTER], in[SOURCE]};
        value(edges, moved, out);
    }
    if (along[SOURCE]) {
        const real *moved[] = {in[FILTER], along[SOURCE]};
        value(edges, moved, out);
    }
    add_gradients(edges, along[FILTER], along[SOURCE], cotangents[0], out + 1);
}

#include "edge_ranges.h"
