/* The functions of a kernel on ranges of the pairs of edges, one range after the other or in
   threads: those of OpenMP, which torch uses too. Include it at the end of a kernel, which has
   defined its inputs (N_INPUTS) and the number of its sums (N_SUMS).

   With more than one thread, no atom may have edges in two ranges. Each range writes to n_out
   addresses; those of sums and of gradients of atoms and pairs are the same for all ranges. */
#include <stddef.h>

/* INTERFACE_VERSION of _kernel_sums.py: raise both when the arguments of a function change. */
#define INTERFACE_VERSION 2

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* Numbers below the smallest normal one (1e-38 in single precision) count as zero within a range:
   tails of the radial functions are that small, and many processors take a hundred times longer for
   them. The setting belongs to a thread, which has its old one again at the end. */
#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
typedef unsigned int float_mode;
static inline float_mode flush_subnormals(void)
{
    const float_mode before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* results (flush to zero) and operands (denormals are zero) */
    return before;
}
static inline void restore(float_mode before) { _mm_setcsr(before); }
#elif defined(__aarch64__) && defined(__GNUC__)
typedef uint64_t float_mode;
static inline float_mode flush_subnormals(void)
{
    float_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1ULL << 24)));
    return before;
}
static inline void restore(float_mode before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#else
typedef int float_mode;
static inline float_mode flush_subnormals(void) { return 0; }
static inline void restore(float_mode before) { (void)before; }
#endif

#ifdef PADDED
#define MAP_ROW PADDED
#else
#define MAP_ROW 0
#endif

/* CALL for each range, in threads. */
#define EACH_RANGE(CALL) \
    _Pragma("omp parallel for schedule(dynamic) num_threads((int)n_threads)") \
    for (int64_t range = 0; range < n_ranges; range++) { \
        const float_mode before = flush_subnormals(); \
        CALL; \
        restore(before); \
    }

/* What Python checks before it calls the functions below. Returns how many numbers it wrote. */
EXPORT int64_t interface(int64_t *numbers)
{
    const int64_t layout[] = {INTERFACE_VERSION, sizeof(real), sizeof(edges_t),
                              offsetof(edges_t, source), N_INPUTS, N_SUMS, MAP_ROW};
    const int64_t count = sizeof(layout) / sizeof(layout[0]);
    for (int64_t i = 0; i < count; i++)
        numbers[i] = layout[i];
    return count;
}

EXPORT void value_of_ranges(int64_t n_ranges, int64_t n_threads, const edges_t *ranges,
                            int64_t n_out, real **out, const real **in)
{
    EACH_RANGE(value(ranges + range, in, out + range * n_out))
}

EXPORT void gradient_of_ranges(int64_t n_ranges, int64_t n_threads, const edges_t *ranges,
                               int64_t n_out, real **out, const real **in,
                               const real **cotangents)
{
    EACH_RANGE(gradient(ranges + range, in, cotangents, out + range * n_out))
}

EXPORT void second_of_ranges(int64_t n_ranges, int64_t n_threads, const edges_t *ranges,
                             int64_t n_out, real **out, const real **in, const real **cotangents,
                             const real **tangents)
{
    EACH_RANGE(second(ranges + range, in, cotangents, tangents, out + range * n_out))
}
