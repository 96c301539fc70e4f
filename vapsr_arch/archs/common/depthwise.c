/* Depthwise convolution, and the gradient of its kernel: stride 1, odd K x K, "same" padding, channels_last float32.
 *
 *     y[n][h][w][c] = bias[c] + sum over i, j of x[n][h + dilation (i - K/2)][w + dilation (j - K/2)][c] * weight[i][j][c]
 *     grad[i][j][c] = sum over n, h, w of x[n][h + dilation (i - K/2)][w + dilation (j - K/2)][c] * g[n][h][w][c]
 *
 * Both work on tiles of BLOCK channels. A tile of x is copied first, with the margin that the kernel reaches and zeros beyond
 * the image: then it lies densely in the processor's cache, and all pixels of the tile are computed alike. Results do not
 * depend on the number of threads. */
#include <stdlib.h>
#include <string.h>

#define BLOCK 16   /* channels */
#define ROWS 12    /* of a tile; with all channels, it and what is made of it stay in a cache of half a megabyte */
#define COLUMNS 48 /* of a tile; a multiple of OUTPUTS */

/* Lanes of a register, and the pixels whose sums fill most registers. */
#if defined(__AVX512F__)
#define LANES 16
#define OUTPUTS 12
#elif defined(__AVX__)
#define LANES 8
#define OUTPUTS 6
#else
#define LANES 4
#define OUTPUTS 4
#endif
#define VECS (BLOCK / LANES)

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define MIN(a, b) ((a) < (b) ? (a) : (b))

typedef float vec __attribute__((vector_size(4 * LANES)));

INLINE vec load(const float *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float *p, vec v) { memcpy(p, &v, sizeof v); }

/* Where a tile lies. */
typedef struct {
    long image, channel, top, left, rows, columns;
} Tile;

typedef struct {
    long batch, height, width, channels, kernel, dilation, pad, down, across, blocks, tiles, stride, copy_size;
} Plan;

static Plan plan(long batch, long height, long width, long channels, long kernel, long dilation) {
    Plan p = {batch, height, width, channels, kernel, dilation, dilation * (kernel / 2)};
    p.down = (height + ROWS - 1) / ROWS;
    p.across = (width + COLUMNS - 1) / COLUMNS;
    p.blocks = channels / BLOCK;
    p.tiles = batch * p.blocks * p.down * p.across;
    p.stride = (MIN(COLUMNS, width + OUTPUTS - 1) + 2 * p.pad) * BLOCK;
    p.copy_size = (MIN(ROWS, height) + 2 * p.pad) * p.stride;
    return p;
}

/* The blocks of channels of one place follow one another: they share lines of the cache. */
static Tile tile(const Plan *p, long number) {
    const long position = number / p->blocks, rows = position / p->across;
    Tile t = {rows / p->down, number % p->blocks * BLOCK, rows % p->down * ROWS, position % p->across * COLUMNS};
    t.rows = MIN(ROWS, p->height - t.top);
    t.columns = MIN(COLUMNS, p->width - t.left);
    return t;
}

/* The place of a pixel in the image, of the tile's first channel. */
INLINE size_t place(const Plan *p, const Tile *t, long row, long column) {
    return (((size_t)t->image * p->height + row) * p->width + column) * p->channels + t->channel;
}

static void copy_tile(const Plan *p, const Tile *t, const float *x, float *copy) {
    const long begin = t->left < p->pad ? p->pad - t->left : 0; /* of the copy's columns that lie in the image */
    const long end = MIN(p->width - t->left + p->pad, p->stride / BLOCK);
    for (long r = 0; r < t->rows + 2 * p->pad; r++, copy += p->stride) {
        const long row = t->top + r - p->pad;
        if (row < 0 || row >= p->height) {
            memset(copy, 0, p->stride * sizeof *copy);
            continue;
        }
        memset(copy, 0, begin * BLOCK * sizeof *copy);
        for (long c = begin; c < end; c++)
            memcpy(copy + c * BLOCK, x + place(p, t, row, t->left + c - p->pad), BLOCK * sizeof *copy);
        memset(copy + end * BLOCK, 0, (p->stride - end * BLOCK) * sizeof *copy);
    }
}

static void convolve(const Plan *p, const Tile *t, const float *copy, const float *weight, const float *bias, float *y) {
    for (long r = 0; r < t->rows; r++)
        for (long left = 0; left < t->columns; left += OUTPUTS) {
            vec sums[OUTPUTS][VECS];
            UNROLL for (int o = 0; o < OUTPUTS; o++)
                UNROLL for (int v = 0; v < VECS; v++)
                    sums[o][v] = bias ? load(bias + t->channel + v * LANES) : (vec){0};
            const float *w = weight + t->channel;
            for (long i = 0; i < p->kernel; i++) {
                const float *seen = copy + (r + i * p->dilation) * p->stride + left * BLOCK;
                for (long j = 0; j < p->kernel; j++, w += p->channels, seen += p->dilation * BLOCK)
                    UNROLL for (int v = 0; v < VECS; v++) {
                        const vec tap = load(w + v * LANES);
                        UNROLL for (int o = 0; o < OUTPUTS; o++)
                            sums[o][v] += tap * load(seen + o * BLOCK + v * LANES);
                    }
            }
            float *out = y + place(p, t, t->top + r, t->left + left);
            UNROLL for (int o = 0; o < OUTPUTS; o++)
                if (left + o < t->columns)
                    UNROLL for (int v = 0; v < VECS; v++)
                        store(out + o * p->channels + v * LANES, sums[o][v]);
        }
}

/* grad[K][K][BLOCK], set here: the part of a tile. */
#define CORRELATE(K)                                                                                                     \
    static void correlate_##K(const Plan *p, const Tile *t, const float *copy, const float *g, float *grad) {            \
        for (long i = 0; i < K; i++) {                                                                                   \
            vec sums[K][VECS] = {0};                                                                                     \
            for (long r = 0; r < t->rows; r++) {                                                                         \
                const float *seen = copy + (r + i * p->dilation) * p->stride;                                            \
                const float *out = g + place(p, t, t->top + r, t->left);                                                 \
                for (long c = 0; c < t->columns; c++, seen += BLOCK, out += p->channels)                                 \
                    UNROLL for (int v = 0; v < VECS; v++) {                                                              \
                        const vec times = load(out + v * LANES);                                                         \
                        UNROLL for (int j = 0; j < K; j++)                                                               \
                            sums[j][v] += times * load(seen + j * p->dilation * BLOCK + v * LANES);                      \
                    }                                                                                                    \
            }                                                                                                            \
            UNROLL for (int j = 0; j < K; j++)                                                                           \
                UNROLL for (int v = 0; v < VECS; v++)                                                                    \
                    store(grad + (i * K + j) * BLOCK + v * LANES, sums[j][v]);                                           \
        }                                                                                                                \
    }

CORRELATE(3)
CORRELATE(5)
CORRELATE(7)

/* x: batch x height x width x channels; weight: K x K x channels; bias: channels, or NULL; y: as x, set here. Channels are a
 * multiple of BLOCK. Returns 0, or 1 where there is not enough memory. */
int depthwise(const float *x, const float *weight, const float *bias, float *y, long batch, long height, long width,
              long channels, long kernel, long dilation, int threads) {
    const Plan p = plan(batch, height, width, channels, kernel, dilation);
    float *copies = malloc(threads * p.copy_size * sizeof *copies);
    if (!copies)
        return 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int thread = 0; thread < threads; thread++)
        for (long number = p.tiles * thread / threads; number < p.tiles * (thread + 1) / threads; number++) {
            const Tile t = tile(&p, number);
            copy_tile(&p, &t, x, copies + thread * p.copy_size);
            convolve(&p, &t, copies + thread * p.copy_size, weight, bias, y);
        }
    free(copies);
    return 0;
}

/* x, g: batch x height x width x channels; grad: K x K x channels, set here. K is 3, 5 or 7; channels are a multiple of BLOCK.
 * Returns 0, or 1 where there is not enough memory. */
int depthwise_weight_grad(const float *x, const float *g, float *grad, long batch, long height, long width, long channels,
                          long kernel, long dilation, int threads) {
    const Plan p = plan(batch, height, width, channels, kernel, dilation);
    const long taps = kernel * kernel, part_size = taps * BLOCK;
    float *copies = malloc((threads * p.copy_size + p.tiles * part_size) * sizeof *copies), *parts = copies + threads * p.copy_size;
    if (!copies)
        return 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int thread = 0; thread < threads; thread++)
        for (long number = p.tiles * thread / threads; number < p.tiles * (thread + 1) / threads; number++) {
            const Tile t = tile(&p, number);
            float *copy = copies + thread * p.copy_size;
            copy_tile(&p, &t, x, copy);
            (kernel == 3 ? correlate_3 : kernel == 5 ? correlate_5 : correlate_7)(&p, &t, copy, g, parts + number * part_size);
        }
    memset(grad, 0, taps * channels * sizeof *grad);
    for (long number = 0; number < p.tiles; number++) {
        const Tile t = tile(&p, number);
        for (long tap = 0; tap < taps; tap++)
            for (long c = 0; c < BLOCK; c++)
                grad[tap * channels + t.channel + c] += parts[number * part_size + tap * BLOCK + c];
    }
    free(copies);
    return 0;
}
