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

#ifdef PADDED
#define MAP_ROW PADDED
#else
#define MAP_ROW 0
#endif

#define EACH_RANGE \
    _Pragma("omp parallel for schedule(dynamic) num_threads((int)n_threads)") \
    for (int64_t range = 0; range < n_ranges; range++)

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
    EACH_RANGE value(ranges + range, in, out + range * n_out);
}

EXPORT void gradient_of_ranges(int64_t n_ranges, int64_t n_threads, const edges_t *ranges,
                               int64_t n_out, real **out, const real **in,
                               const real **cotangents)
{
    EACH_RANGE gradient(ranges + range, in, cotangents, out + range * n_out);
}

EXPORT void second_of_ranges(int64_t n_ranges, int64_t n_threads, const edges_t *ranges,
                             int64_t n_out, real **out, const real **in, const real **cotangents,
                             const real **tangents)
{
    EACH_RANGE second(ranges + range, in, cotangents, tangents, out + range * n_out);
}
