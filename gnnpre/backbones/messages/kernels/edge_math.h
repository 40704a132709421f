/* Shared by all kernels: the type of a number, activations with two derivatives, and the edges.

   Compile with REAL_BITS (32 or 64) and the macros that each kernel names. Loops over channels are
   vectorised; inf and nan have the same effect as in torch's functions. */
#ifndef GNNPRE_EDGE_MATH_H
#define GNNPRE_EDGE_MATH_H

#include <math.h>
#include <stdint.h>

#if REAL_BITS == 64
typedef double real;
typedef int64_t bits;
#define EXPONENT_BITS 52
#define EXPONENT_BIAS 1023
#define LOWEST -708.0
#define HIGHEST 709.0
#define TERMS_OF_EXP 13
#define TERMS_OF_LOG 17
#else
typedef float real;
typedef int32_t bits;
#define EXPONENT_BITS 23
#define EXPONENT_BIAS 127
#define LOWEST -87.0f
#define HIGHEST 88.0f
#define TERMS_OF_EXP 7
#define TERMS_OF_LOG 7
#endif

/* A range of the n pairs of atoms, each with k edges: one, or two in opposite directions. The edge of
   pair p in direction `way` goes from source[way * n + p] to target[way * n + p]. Python declares the
   same fields in _kernel_sums.py. */
typedef struct {
    int64_t begin, end; /* pairs of this range */
    int64_t n, k;
    int64_t r; /* features of a pair, for a linear map */
    const int64_t *target, *source;
} edges_t;

typedef union {
    real number;
    bits pattern;
} word_t;

/* exp(x) = 2^n exp(r) with |r| <= log(2) / 2, by the Taylor series of exp(r). Results below 1e-38 in
   single precision become 1e-38. */
static inline real exp_of(real x)
{
    static const real inverse_factorial[] = {
        1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
        1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
    const real argument = x;
    x = x > LOWEST ? x : LOWEST; /* nan becomes LOWEST: it cannot be converted to an integer */
    x = x < HIGHEST ? x : HIGHEST;
#if REAL_BITS == 64
    const real n = rint(x * 1.4426950408889634);
    const real r = fma(-n, 1.9082149292705877e-10, fma(-n, 0.6931471803691238, x));
#else
    const real n = rintf(x * 1.44269504f);
    const real r = fmaf(-n, -2.12194440e-4f, fmaf(-n, 0.693359375f, x));
#endif
    real sum = inverse_factorial[TERMS_OF_EXP];
    for (int term = TERMS_OF_EXP - 1; term >= 0; term--)
        sum = sum * r + inverse_factorial[term];
    word_t scale;
    scale.pattern = ((bits)n + EXPONENT_BIAS) << EXPONENT_BITS;
    const real result = argument > HIGHEST ? INFINITY : sum * scale.number;
    return argument != argument ? argument : result; /* nan */
}

static inline real sigmoid(real x) { return 1 / (1 + exp_of(-x)); }

/* log(1 + u) for 0 <= u <= 1, by the series of 2 artanh(u / (2 + u)). */
static inline real log1p_of(real u)
{
    const real s = u / (2 + u), s2 = s * s;
    real sum = (real)1 / (2 * TERMS_OF_LOG + 1);
    for (int term = TERMS_OF_LOG - 1; term >= 0; term--)
        sum = sum * s2 + (real)1 / (2 * term + 1);
    return 2 * s * sum;
}

/* The value of a function and its first two derivatives. */
typedef struct {
    real value, first, second;
} jet_t;

static inline jet_t silu(real x)
{
    const real s = sigmoid(x), rest = 1 - s;
    const jet_t jet = {x * s, s + x * s * rest, s * rest * (2 + x * (rest - s))};
    return jet;
}

static inline jet_t softplus(real x)
{
    const real small = exp_of(x < 0 ? x : -x); /* exp(-|x|) */
    const real large = 1 / (1 + small);
    const real s = x < 0 ? small * large : large;
    const jet_t jet = {(x < 0 ? 0 : x) + log1p_of(small), s, small * large * large};
    return jet;
}

/* The row of a tensor; zeros for an input that does not change (NULL). */
static inline const real *row_of(const real *x, int64_t row, int64_t width, const real *zeros)
{
    return x ? x + row * width : zeros;
}

#endif
