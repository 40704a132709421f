/* Neighbours in crystals: all pairs of an atom and an image of an atom within a cutoff.

   Atoms are moved into their cell, and the images near the cell are sorted into layers along the
   direction in which it is highest. An atom is compared with the images in the layers around it. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* INTERFACE_VERSION of _compiled_search.py: raise both when the arguments change. */
#define INTERFACE_VERSION 1

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* Larger crystals and wider searches are left to the caller, and so is all that is an error. */
#define MOST_ATOMS 8192
#define MOST_IMAGES 262144
#define LARGEST_SHIFT 127
/* Cells that an atom may lie away from its own: a cast of more to int32_t is undefined. */
#define MOST_CELLS 1e9
#define LEFT (-1)
#define NO_ROOM (-2)

/* Fractions of a cell that rounding may take an image away from where it is. */
#define MARGIN 1e-6
/* Layers in a cutoff: thinner ones leave out more images, and take longer to sort. */
#define LAYERS 4.0
#define MOST_LAYERS 4096

/* The images of one crystal, by layers. */
typedef struct {
    double *x, *y, *z, *height, *squared;
    int32_t *atom, *shift, *near;  /* shift: three for each image */
    int64_t capacity;
} images_t;

/* One crystal in its cell. */
typedef struct {
    const double *positions, *cell;
    const uint8_t *pbc;
    int64_t n_atoms;
    double inverse[9];   /* column k is normal to the cell vectors other than k */
    double steepness[3]; /* lengths of these columns: 1 / height of the cell */
    double *fractions;   /* (n_atoms, 3), 0 to 1 in periodic directions */
    int32_t *wraps;      /* (n_atoms, 3) */
} crystal_t;

EXPORT int64_t interface(void) { return INTERFACE_VERSION; }

static void invert(const double *m, double *inverse, double *steepness)
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            const int a = (j + 1) % 3, b = (j + 2) % 3, c = (i + 1) % 3, d = (i + 2) % 3;
            inverse[3 * i + j] = m[3 * a + c] * m[3 * b + d] - m[3 * a + d] * m[3 * b + c];
        }
    const double det = m[0] * inverse[0] + m[1] * inverse[3] + m[2] * inverse[6];
    for (int i = 0; i < 9; i++)
        inverse[i] /= det;
    for (int k = 0; k < 3; k++)
        steepness[k] = sqrt(inverse[k] * inverse[k] + inverse[3 + k] * inverse[3 + k] +
                            inverse[6 + k] * inverse[6 + k]);
}

/* Moves atoms into the cell, and finds the span of their fractional coordinates. Returns whether
   all of these are numbers that can be counted in cells: in a singular cell none is. */
static int wrap(crystal_t *crystal, double *lowest, double *highest)
{
    for (int k = 0; k < 3; k++) {
        lowest[k] = INFINITY;
        highest[k] = -INFINITY;
    }
    for (int64_t i = 0; i < crystal->n_atoms; i++)
        for (int k = 0; k < 3; k++) {
            const double *p = crystal->positions + 3 * i, *m = crystal->inverse + k;
            double fraction = p[0] * m[0] + p[1] * m[3] + p[2] * m[6];
            const double cells = crystal->pbc[k] ? floor(fraction) : 0.0;
            if (!(fabs(fraction) < INFINITY && fabs(cells) < MOST_CELLS))
                return 0;
            fraction -= cells;
            crystal->wraps[3 * i + k] = (int32_t)cells;
            crystal->fractions[3 * i + k] = fraction;
            lowest[k] = fmin(lowest[k], fraction);
            highest[k] = fmax(highest[k], fraction);
        }
    return 1;
}

/* First and last image of an atom that may be a neighbour of any atom, along each vector. */
static void image_range(const crystal_t *crystal, int64_t atom, const double *low,
                        const double *high, int32_t *first, int32_t *last)
{
    for (int k = 0; k < 3; k++) {
        const double fraction = crystal->fractions[3 * atom + k];
        first[k] = crystal->pbc[k] ? (int32_t)ceil(low[k] - fraction) : 0;
        last[k] = crystal->pbc[k] ? (int32_t)floor(high[k] - fraction) : 0;
    }
}

static int enlarge(images_t *images, int64_t n)
{
    if (n <= images->capacity)
        return 1;
    n += n / 2;
    double *reals = realloc(images->x, (size_t)n * 5 * sizeof(double));
    if (reals)
        images->x = reals;
    int32_t *integers = realloc(images->atom, (size_t)n * 5 * sizeof(int32_t));
    if (integers)
        images->atom = integers;
    if (!reals || !integers)
        return 0;
    images->y = reals + n;
    images->z = reals + 2 * n;
    images->height = reals + 3 * n;
    images->squared = reals + 4 * n;
    images->shift = integers + n;
    images->near = integers + 4 * n;
    images->capacity = n;
    return 1;
}

/* Edges of one crystal, or LEFT, or NO_ROOM. */
static int64_t search_crystal(crystal_t *crystal, images_t *images, int64_t *layers, double cutoff,
                              double largest, double nearest, int64_t room, int16_t *source,
                              int16_t *target, int8_t *shift)
{
    const double *cell = crystal->cell;
    double low[3], high[3];
    int32_t first[3], last[3];
    invert(cell, crystal->inverse, crystal->steepness);
    if (!wrap(crystal, low, high))
        return LEFT;
    int up = 0; /* the direction of the layers */
    double tallest = -1.0;
    for (int k = 0; k < 3; k++) {
        /* so thin a cell has more images than are counted, and more than an int32_t holds */
        if (crystal->pbc[k] && !(cutoff * crystal->steepness[k] < MOST_IMAGES))
            return LEFT;
        const double height = (high[k] - low[k]) / crystal->steepness[k];
        if (height > tallest) {
            tallest = height;
            up = k;
        }
        low[k] -= cutoff * crystal->steepness[k] + MARGIN;
        high[k] += cutoff * crystal->steepness[k] + MARGIN;
    }
    /* 1. how many images there are in each layer */
    const double bottom = low[up] / crystal->steepness[up];
    const double span = high[up] / crystal->steepness[up] - bottom;
    const double thickness = fmax(cutoff / LAYERS, span / (MOST_LAYERS - 2));
    const int64_t n_layers = (int64_t)(span / thickness) + 2;
    memset(layers, 0, (size_t)(n_layers + 1) * sizeof(*layers));
    int64_t n_images = 0;
    for (int64_t i = 0; i < crystal->n_atoms; i++) {
        image_range(crystal, i, low, high, first, last);
        const int64_t sheet = (int64_t)(last[(up + 1) % 3] - first[(up + 1) % 3] + 1) *
                              (last[(up + 2) % 3] - first[(up + 2) % 3] + 1);
        n_images += sheet * (last[up] - first[up] + 1);
        if (n_images > MOST_IMAGES)
            return LEFT;
        for (int32_t m = first[up]; m <= last[up]; m++) {
            const double height = (crystal->fractions[3 * i + up] + m) / crystal->steepness[up];
            layers[(int64_t)((height - bottom) / thickness) + 1] += sheet;
        }
    }
    if (!enlarge(images, n_images))
        return LEFT;
    for (int64_t n = 0; n < n_layers; n++)
        layers[n + 1] += layers[n];
    /* 2. the images, layer by layer; layers[n] goes from the first image of a layer to its end */
    for (int64_t i = 0; i < crystal->n_atoms; i++) {
        const double *f = crystal->fractions + 3 * i;
        image_range(crystal, i, low, high, first, last);
        for (int32_t a = first[0]; a <= last[0]; a++)
            for (int32_t b = first[1]; b <= last[1]; b++)
                for (int32_t c = first[2]; c <= last[2]; c++) {
                    const int32_t m[3] = {a, b, c};
                    const double height = (f[up] + m[up]) / crystal->steepness[up];
                    const int64_t n = layers[(int64_t)((height - bottom) / thickness)]++;
                    const double move[3] = {m[0] - crystal->wraps[3 * i],
                                            m[1] - crystal->wraps[3 * i + 1],
                                            m[2] - crystal->wraps[3 * i + 2]};
                    const double *p = crystal->positions + 3 * i;
                    images->x[n] = p[0] + move[0] * cell[0] + move[1] * cell[3] + move[2] * cell[6];
                    images->y[n] = p[1] + move[0] * cell[1] + move[1] * cell[4] + move[2] * cell[7];
                    images->z[n] = p[2] + move[0] * cell[2] + move[1] * cell[5] + move[2] * cell[8];
                    images->atom[n] = (int32_t)i;
                    for (int k = 0; k < 3; k++)
                        images->shift[3 * n + k] = m[k];
                }
    }
    /* 3. neighbours of each atom */
    int64_t n_edges = 0;
    for (int64_t i = 0; i < crystal->n_atoms; i++) {
        const int32_t *own = crystal->wraps + 3 * i;
        const double *p = crystal->positions + 3 * i;
        const double x = p[0] - own[0] * cell[0] - own[1] * cell[3] - own[2] * cell[6];
        const double y = p[1] - own[0] * cell[1] - own[1] * cell[4] - own[2] * cell[7];
        const double z = p[2] - own[0] * cell[2] - own[1] * cell[5] - own[2] * cell[8];
        const double height = crystal->fractions[3 * i + up] / crystal->steepness[up] - bottom;
        const int64_t lowest = (int64_t)fmax(0.0, (height - cutoff) / thickness - MARGIN);
        const int64_t highest = (int64_t)((height + cutoff) / thickness + MARGIN);
        const int64_t begin = lowest ? layers[lowest - 1] : 0;
        const int64_t end = layers[highest < n_layers ? highest : n_layers - 1];
        for (int64_t n = begin; n < end; n++) {
            const double dx = images->x[n] - x, dy = images->y[n] - y, dz = images->z[n] - z;
            images->squared[n] = dx * dx + dy * dy + dz * dz;
        }
        int64_t n_near = 0;
        for (int64_t n = begin; n < end; n++) {
            images->near[n_near] = (int32_t)n;
            n_near += images->squared[n] <= largest;
        }
        if (n_edges + n_near > room)
            return NO_ROOM;
        for (int64_t k = 0; k < n_near; k++) {
            const int64_t n = images->near[k], atom = images->atom[n];
            const int32_t *m = images->shift + 3 * n, *wraps = crystal->wraps + 3 * atom;
            if (images->squared[n] < nearest) {
                if (atom == i && !m[0] && !m[1] && !m[2])
                    continue;
                return LEFT; /* an atom that was entered twice */
            }
            for (int axis = 0; axis < 3; axis++) {
                const int32_t cells = m[axis] - wraps[axis] + own[axis];
                if (cells > LARGEST_SHIFT || cells < -LARGEST_SHIFT)
                    return LEFT;
                shift[3 * n_edges + axis] = (int8_t)cells;
            }
            source[n_edges] = (int16_t)atom;
            target[n_edges] = (int16_t)i;
            n_edges++;
        }
    }
    return n_edges;
}

/* Writes the edges of consecutive crystals, and their number for each crystal; LEFT for one that
   the caller has to search. Returns the number of all edges, or NO_ROOM. */
EXPORT int64_t search(int64_t n_crystals, const int64_t *n_atoms, const double *positions,
                      const double *cells, const uint8_t *pbc, double cutoff, double largest,
                      double nearest, int64_t room, int16_t *source, int16_t *target,
                      int8_t *shift, int64_t *n_edges)
{
    images_t images = {0};
    double *fractions = malloc(MOST_ATOMS * 3 * sizeof(double));
    int32_t *wraps = malloc(MOST_ATOMS * 3 * sizeof(int32_t));
    int64_t *layers = malloc((MOST_LAYERS + 1) * sizeof(int64_t));
    const int has_memory = fractions && wraps && layers;
    int64_t total = 0;
    for (int64_t c = 0; c < n_crystals; c++) {
        if (n_edges[c] != LEFT) {
            crystal_t crystal = {.positions = positions, .cell = cells + 9 * c, .pbc = pbc + 3 * c,
                                 .n_atoms = n_atoms[c], .fractions = fractions, .wraps = wraps};
            n_edges[c] = LEFT;
            if (has_memory && n_atoms[c] <= MOST_ATOMS)
                n_edges[c] = search_crystal(&crystal, &images, layers, cutoff, largest, nearest,
                                            room - total, source + total, target + total,
                                            shift + 3 * total);
            if (n_edges[c] == NO_ROOM) {
                total = NO_ROOM;
                break;
            }
            total += n_edges[c] == LEFT ? 0 : n_edges[c];
        }
        positions += 3 * n_atoms[c];
    }
    free(images.x);
    free(images.atom);
    free(fractions);
    free(wraps);
    free(layers);
    return total;
}
