/* A linear map of the features of pairs, computed for a few pairs when they are needed, so that its
   wide rows stay in the cache.

   A kernel defines WIDTH, the numbers of a row. The map has one row for each of the r features, padded
   with zeros to PADDED numbers; so have the rows of the BLOCK pairs that are computed together. */
#ifndef GNNPRE_EDGE_MAP_H
#define GNNPRE_EDGE_MAP_H

#include "edge_math.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define LANES (VECTOR_BYTES / (REAL_BITS / 8))
#define PADDED ((WIDTH + 15) / 16 * 16)
#define BLOCK 8
#define TILE 4 /* pairs (or features) and vectors that are held in registers together */
#define UNROLL _Pragma("GCC unroll 8")

typedef real vec_t __attribute__((vector_size(VECTOR_BYTES), aligned(REAL_BITS / 8), may_alias));
/* Declare as static _Thread_local: rows of wide maps are too large for the stack of a thread. */
typedef real rows_t[BLOCK][PADDED] __attribute__((aligned(64)));

static inline vec_t load(const real *x) { return *(const vec_t *)x; }
static inline void store(real *x, vec_t v) { *(vec_t *)x = v; }

/* Features of pair p + b; beyond the end of the range, those of its last pair. */
static inline const real *features_of(const edges_t *edges, const real *features, int64_t p, int b)
{
    const int64_t row = p + b < edges->end ? p + b : edges->end - 1;
    return features + row * edges->r;
}

/* rows[b][v] += sum_k features[b][k] map[k][v] for one tile of TILE pairs and n vectors. */
static inline __attribute__((always_inline)) void map_tile(
    const int n, real *restrict rows, const real *const *features, int64_t r, const real *map)
{
    vec_t sums[TILE][TILE];
    UNROLL for (int b = 0; b < TILE; b++)
        UNROLL for (int v = 0; v < n; v++)
            sums[b][v] = load(rows + b * PADDED + v * LANES);
    for (int64_t k = 0; k < r; k++) {
        UNROLL for (int v = 0; v < n; v++)
        {
            const vec_t weight = load(map + k * PADDED + v * LANES);
            UNROLL for (int b = 0; b < TILE; b++)
                sums[b][v] += features[b][k] * weight;
        }
    }
    UNROLL for (int b = 0; b < TILE; b++)
        UNROLL for (int v = 0; v < n; v++)
            store(rows + b * PADDED + v * LANES, sums[b][v]);
}

/* Add the mapped features of the pairs from p on to their rows. */
static inline void add_mapped(const edges_t *edges, int64_t p, const real *features,
                              const real *map, rows_t rows)
{
    for (int b = 0; b < BLOCK; b += TILE) {
        const real *each[TILE];
        for (int t = 0; t < TILE; t++)
            each[t] = features_of(edges, features, p, b + t);
        int c = 0;
        for (; c + TILE * LANES <= PADDED; c += TILE * LANES)
            map_tile(TILE, rows[b] + c, each, edges->r, map + c);
        for (; c < PADDED; c += LANES)
            map_tile(1, rows[b] + c, each, edges->r, map + c);
    }
}

/* Rows of the pairs from p on: the bias, if there is one, plus the mapped features. */
static inline void map_rows(const edges_t *edges, int64_t p, const real *features,
                            const real *map, const real *bias, rows_t rows)
{
    for (int b = 0; b < BLOCK; b++)
        for (int c = 0; c < PADDED; c++)
            rows[b][c] = bias ? bias[c] : 0;
    if (features && map)
        add_mapped(edges, p, features, map, rows);
}

static inline int block_size(const edges_t *edges, int64_t p)
{
    return edges->end - p < BLOCK ? (int)(edges->end - p) : BLOCK;
}

static inline void clear_rows(rows_t rows)
{
    for (int b = 0; b < BLOCK; b++)
        for (int c = 0; c < PADDED; c++)
            rows[b][c] = 0;
}

static inline void clear_features(const edges_t *edges, int64_t p, real *features)
{
    for (int64_t k = 0; k < block_size(edges, p) * edges->r; k++)
        features[p * edges->r + k] = 0;
}

/* Add the gradient with respect to the features of the pairs from p on, given that of their rows. */
static inline void add_by_features(const edges_t *edges, int64_t p, rows_t by_rows,
                                   const real *map, real *by_features)
{
    const int n = block_size(edges, p);
    for (int64_t k = 0; k < edges->r; k++) {
        vec_t sums[BLOCK] = {0};
        for (int c = 0; c < PADDED; c += LANES) {
            const vec_t weight = load(map + k * PADDED + c);
            UNROLL for (int b = 0; b < BLOCK; b++)
                sums[b] += load(by_rows[b] + c) * weight;
        }
        for (int b = 0; b < n; b++) {
            real sum = 0;
            for (int lane = 0; lane < LANES; lane++)
                sum += sums[b][lane];
            by_features[(p + b) * edges->r + k] += sum;
        }
    }
}

/* The gradient of one tile: TILE rows of the map, n vectors of each. */
static inline __attribute__((always_inline)) void by_map_tile(
    const int n, const int64_t rows, const real *const *features, const real *by_rows,
    real *restrict by_map)
{
    vec_t sums[TILE][TILE];
    UNROLL for (int t = 0; t < TILE; t++)
        UNROLL for (int v = 0; v < n; v++)
            sums[t][v] = t < rows ? load(by_map + t * PADDED + v * LANES) : (vec_t){0};
    UNROLL for (int b = 0; b < BLOCK; b++)
        UNROLL for (int v = 0; v < n; v++)
        {
            const vec_t row = load(by_rows + b * PADDED + v * LANES);
            UNROLL for (int t = 0; t < TILE; t++)
                sums[t][v] += features[b][t < rows ? t : 0] * row;
        }
    UNROLL for (int t = 0; t < TILE; t++)
        if (t < rows)
            UNROLL for (int v = 0; v < n; v++)
                store(by_map + t * PADDED + v * LANES, sums[t][v]);
}

/* Add the gradient with respect to the map, given that of the rows, which are zero beyond the end. */
static inline void add_by_map(const edges_t *edges, int64_t p, rows_t by_rows,
                              const real *features, real *by_map)
{
    for (int64_t k = 0; k < edges->r; k += TILE) {
        const real *each[BLOCK];
        for (int b = 0; b < BLOCK; b++)
            each[b] = features_of(edges, features, p, b) + k;
        const int64_t rows = edges->r - k;
        int c = 0;
        for (; c + TILE * LANES <= PADDED; c += TILE * LANES)
            by_map_tile(TILE, rows, each, by_rows[0] + c, by_map + k * PADDED + c);
        for (; c < PADDED; c += LANES)
            by_map_tile(1, rows, each, by_rows[0] + c, by_map + k * PADDED + c);
    }
}

/* Gradients with respect to features, map and bias, given that of the rows; NULL if not needed. */
static inline void give_gradients(const edges_t *edges, int64_t p, rows_t by_rows,
                                  const real *features, const real *map, real *by_features,
                                  real *by_map, real *restrict by_bias)
{
    if (by_features) {
        clear_features(edges, p, by_features);
        add_by_features(edges, p, by_rows, map, by_features);
    }
    if (by_map)
        add_by_map(edges, p, by_rows, features, by_map);
    if (by_bias)
        for (int b = 0; b < BLOCK; b++)
            for (int c = 0; c < PADDED; c++)
                by_bias[c] += by_rows[b][c];
}

/* Their derivatives along the tangents of features and map; NULL if these do not change. */
static inline void give_second(const edges_t *edges, int64_t p, rows_t by_rows, rows_t d_by_rows,
                               const real *features, const real *map, const real *d_features,
                               const real *d_map, real *by_features, real *by_map, real *by_bias)
{
    give_gradients(edges, p, d_by_rows, features, map, by_features, by_map, by_bias);
    if (by_features && d_map)
        add_by_features(edges, p, by_rows, d_map, by_features);
    if (by_map && d_features)
        add_by_map(edges, p, by_rows, d_features, by_map);
}

#endif
