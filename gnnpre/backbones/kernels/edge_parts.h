/* The functions of a kernel on parts of the edges, in as many threads as wanted: those of OpenMP,
   which torch uses too. To be included at the end of a kernel.

   With more than one thread no atom may have edges in two parts. Each part writes to n_out places of
   its own, which may be the same for what atoms and edges have. */
#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define EACH_PART \
    _Pragma("omp parallel for schedule(dynamic) num_threads((int)n_threads)") \
    for (int64_t part = 0; part < n_parts; part++)

EXPORT void value_of_parts(int64_t n_parts, int64_t n_threads, const edges_t *parts, int64_t n_out,
                           real **out, const real **in)
{
    EACH_PART value(parts + part, in, out + part * n_out);
}

EXPORT void gradient_of_parts(int64_t n_parts, int64_t n_threads, const edges_t *parts,
                              int64_t n_out, real **out, const real **in, const real **cotangents)
{
    EACH_PART gradient(parts + part, in, cotangents, out + part * n_out);
}

EXPORT void second_of_parts(int64_t n_parts, int64_t n_threads, const edges_t *parts, int64_t n_out,
                            real **out, const real **in, const real **cotangents,
                            const real **tangents)
{
    EACH_PART second(parts + part, in, cotangents, tangents, out + part * n_out);
}
