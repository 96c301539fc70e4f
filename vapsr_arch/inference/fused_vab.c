/* A vast-receptive-field attention block (VAB) in one pass over the image, N x H x W x C (channels_last), float32 or bf16.
 *
 *     u = gelu(proj_1 x)                              1x1, d_model -> d_atten
 *     d = depthwise(pointwise u)                      p = 1x1, then 5x5
 *     out = LayerNorm(x + proj_2(u * dilated d))      5x5 with dilation 3, then 1x1, d_atten -> d_model
 *
 * Layer by layer, each of these tensors travels to memory and back. Here they stay in the processor's caches: the image is
 * worked through in strips of STRIP columns, a strip row by row, and of u, p and d only the last rows are kept, in rings.
 * Every stage trails the one before by the reach of its kernel, downwards and to the right: while row r and the columns
 * from `left` are made of u and p, those of d are row r - 2 from left - 2, and those of the output row r - 8 from left - 8.
 * A strip hands the columns that the next one needs on to it, so that nothing is computed twice but at the borders between
 * the parts of the image that different threads work on.
 *
 * In the rings and rows, channels come in blocks of 16: row[channel / 16][column][channel % 16]. Weights are packed alike.
 *
 * In bf16, the image and the operands of the 1x1 convolutions are rounded to it; everything else, sums first, is float32. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#define BLOCK 16  /* channels */
#define STRIP 168 /* columns; a multiple of the tiles below, times the dilation. Narrower ones hand more on than they save */
#define MARGIN 12 /* columns kept left of a strip: the width of the dilated kernel, less one */
#define SLACK 24  /* columns right of a strip that whole tiles may touch */
#define COLUMNS (MARGIN + STRIP + SLACK)
#define TAPS 25
#define DILATION 3
#define REACH_P 8 /* how far from an output pixel p is needed, in rows and columns */
#define REACH_D 6 /* and d */
#define DEPTH_U (REACH_P + 1)
#define DEPTH_P 5
#define DEPTH_D (2 * REACH_D + 1)
#define LEAST 1024 /* pixels for which a thread is worth its start */
#define OUTPUTS 8  /* of one register tile of a depthwise convolution */

/* One register, and the pixels of a tile of a 1x1 convolution: as many as fit beside its weights. */
#if defined(__AVX512F__)
#define LANES 16
#define PIXELS 12
#elif defined(__AVX__)
#define LANES 8
#define PIXELS 6
#elif defined(__aarch64__)
#define LANES 4
#define PIXELS 6
#else
#define LANES 4
#define PIXELS 2
#endif
#define VECS (BLOCK / LANES)
#define LINE 64 /* bytes of a cache line */
#define AHEAD 4 /* cache lines fetched while a tile takes in BLOCK channels */

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL4 _Pragma("GCC unroll 4")
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

typedef float vec __attribute__((vector_size(4 * LANES)));

INLINE vec load(const float *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float *p, vec v) { memcpy(p, &v, sizeof v); }

/* What float32 and bf16 differ in: the size of a number of the image, and its reading and writing in vectors. */
#if defined(__AVX512BF16__)
INLINE size_t image_size(int bf16) { return bf16 ? sizeof(uint16_t) : sizeof(float); }

INLINE vec load_image(const char *image, int bf16) {
    if (!bf16)
        return load((const float *)image);
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)image)), 16);
}

INLINE void store_image(char *image, vec v, int bf16) {
    if (!bf16)
        store((float *)image, v);
    else
        _mm256_storeu_si256((__m256i *)image, (__m256i)_mm512_cvtneps_pbh((__m512)v));
}
#else
INLINE size_t image_size(int bf16) { return (void)bf16, sizeof(float); }
INLINE vec load_image(const char *image, int bf16) { return (void)bf16, load((const float *)image); }
INLINE void store_image(char *image, vec v, int bf16) { (void)bf16, store((float *)image, v); }
#endif

/* Pointers into the packed parameters of one VAB, in this order. */
typedef struct {
    const float *proj_1, *proj_1_bias, *pointwise, *pointwise_bias, *depthwise, *depthwise_bias, *dilated, *dilated_bias,
        *proj_2, *proj_2_bias, *norm, *norm_bias;
} Parameters;

static Parameters unpack(const float *p, long d_model, long d_atten, int bf16) {
    Parameters q;
    const long each = bf16 ? 2 : 1; /* weights of a 1x1 convolution in the place of a float */
    const long sizes[] = {d_model * d_atten / each, d_atten, d_atten * d_atten / each, d_atten, TAPS * d_atten, d_atten,
                          TAPS * d_atten, d_atten, d_atten * d_model / each, d_model, d_model, d_model};
    const float **const fields[] = {&q.proj_1, &q.proj_1_bias, &q.pointwise, &q.pointwise_bias, &q.depthwise,
                                    &q.depthwise_bias, &q.dilated, &q.dilated_bias, &q.proj_2, &q.proj_2_bias, &q.norm,
                                    &q.norm_bias};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; p += sizes[i++])
        *fields[i] = p;
    return q;
}

/* A 1x1 convolution of `count` columns and a few more; weight[out block][in channel][16]. Arithmetic is all it waits for:
 * meanwhile `ahead`, memory that is needed soon, of `ahead_size` bytes, comes nearer. */
typedef void Conv1x1(const float *in, float *out, const float *weight, const float *bias, long in_channels, long out_channels,
                     long count, const char *ahead, size_t ahead_size);

static void conv1x1(const float *in, float *out, const float *weight, const float *bias, long in_channels, long out_channels,
                    long count, const char *ahead, size_t ahead_size) {
    const char *const ahead_end = ahead + ahead_size;
    for (long column = 0; column < count; column += PIXELS)
        for (long o = 0; o < out_channels; o += BLOCK) {
            const float *x = in + column * BLOCK, *w = weight + o * in_channels;
            vec sums[PIXELS][VECS];
            UNROLL for (int i = 0; i < PIXELS; i++)
                UNROLL for (int v = 0; v < VECS; v++)
                    sums[i][v] = load(bias + o + v * LANES);
            for (long c = 0; c < in_channels; c += BLOCK, x += COLUMNS * BLOCK) {
                for (int i = 0; i < AHEAD && ahead < ahead_end; i++, ahead += LINE)
                    __builtin_prefetch(ahead);
                UNROLL4 for (int k = 0; k < BLOCK; k++, w += BLOCK)
                    UNROLL for (int i = 0; i < PIXELS; i++)
                        UNROLL for (int v = 0; v < VECS; v++)
                            sums[i][v] += x[i * BLOCK + k] * load(w + v * LANES);
            }
            UNROLL for (int i = 0; i < PIXELS; i++)
                UNROLL for (int v = 0; v < VECS; v++)
                    store(out + o * COLUMNS + (column + i) * BLOCK + v * LANES, sums[i][v]);
        }
}

#if defined(__AVX512BF16__)
/* In bf16: an instruction multiplies two input channels at once; weight[out block][in channel / 2][16][2]. */
static void conv1x1_bf16(const float *in, float *out, const float *weight, const float *bias, long in_channels,
                         long out_channels, long count, const char *ahead, size_t ahead_size) {
    const char *const ahead_end = ahead + ahead_size;
    int32_t pairs[in_channels / BLOCK][PIXELS][BLOCK / 2];
    for (long column = 0; column < count; column += PIXELS) {
        for (long c = 0; c < in_channels; c += BLOCK)
            UNROLL for (int i = 0; i < PIXELS; i++)
                store_image((char *)pairs[c / BLOCK][i], load(in + c * COLUMNS + (column + i) * BLOCK), 1);
        for (long o = 0; o < out_channels; o += BLOCK) {
            const float *w = weight + o * in_channels / 2;
            __m512 sums[PIXELS];
            UNROLL for (int i = 0; i < PIXELS; i++)
                sums[i] = (__m512)load(bias + o);
            for (long c = 0; c < in_channels / BLOCK; c++) {
                for (int i = 0; i < AHEAD / 2 && ahead < ahead_end; i++, ahead += LINE)
                    __builtin_prefetch(ahead);
                UNROLL for (int k = 0; k < BLOCK / 2; k++, w += BLOCK)
                    UNROLL for (int i = 0; i < PIXELS; i++)
                        sums[i] = _mm512_dpbf16_ps(sums[i], (__m512bh)load(w), (__m512bh)_mm512_set1_epi32(pairs[c][i][k]));
            }
            UNROLL for (int i = 0; i < PIXELS; i++)
                store(out + o * COLUMNS + (column + i) * BLOCK, (vec)sums[i]);
        }
    }
}
#endif

/* gelu(x) = x Phi(x) = max(x, 0) - |x| / 2 erfc(|x| / sqrt 2), with erfc(a / sqrt 2) = p(a)^-16, the form of Abramowitz and
 * Stegun, Handbook of Mathematical Functions, 7.1.28. The coefficients are a minimax fit to gelu itself: off by 2e-7, and
 * by 7e-7 with float32's rounding. */
static void gelu(float *row, long channels, long count) {
    for (long c = 0; c < channels; c += BLOCK, row += COLUMNS * BLOCK)
        for (long i = 0; i < count * BLOCK; i++) {
            const float a = fabsf(row[i]);
            float p = 6.9873675e-06f;
            p = p * a + 3.9654396e-05f;
            p = p * a + 7.5306582e-05f;
            p = p * a + 0.0033705225f;
            p = p * a + 0.022113702f;
            p = p * a + 0.052063982f;
            p = p * a + 1.0442749f;
            p *= p;
            p *= p;
            p *= p;
            p *= p;
            row[i] = (row[i] > 0 ? row[i] : 0) - a / p;
        }
}

/* A depthwise 5x5 convolution of `count` columns and a few more, times `scale` where there is one. rows[k] points at the
 * column of the first output's leftmost tap; weight[block][tap][16]. */
INLINE void depthwise(const float *const rows[5], float *out, const float *scale, const float *weight, const float *bias,
                      long channels, long count, const long dilation) {
    for (long c = 0; c < channels; c += BLOCK, weight += TAPS * BLOCK)
        for (long first = 0; first < count; first += OUTPUTS * dilation)
            for (long phase = first; phase < first + dilation; phase++)
                for (int v = 0; v < BLOCK; v += LANES) {
                    const long offset = c * COLUMNS + phase * BLOCK + v, step = dilation * BLOCK;
                    vec sums[OUTPUTS];
                    UNROLL for (int i = 0; i < OUTPUTS; i++)
                        sums[i] = load(bias + c + v);
                    for (int r = 0; r < 5; r++) {
                        const float *x = rows[r] + offset, *w = weight + r * 5 * BLOCK + v;
                        UNROLL for (int column = 0; column < OUTPUTS + 4; column++) {
                            const vec value = load(x + column * step);
                            UNROLL for (int k = 0; k < 5; k++)
                                if (column - k >= 0 && column - k < OUTPUTS)
                                    sums[column - k] += value * load(w + k * BLOCK);
                        }
                    }
                    UNROLL for (int i = 0; i < OUTPUTS; i++)
                        store(out + offset + i * step, scale ? sums[i] * load(scale + offset + i * step) : sums[i]);
                }
}

static void depthwise_plain(const float *const rows[5], float *out, const float *weight, const float *bias, long channels,
                            long count) {
    depthwise(rows, out, NULL, weight, bias, channels, count, 1);
}

static void depthwise_dilated(const float *const rows[5], float *out, const float *scale, const float *weight,
                              const float *bias, long channels, long count) {
    depthwise(rows, out, scale, weight, bias, channels, count, DILATION);
}

INLINE float total(vec v) {
    float four __attribute__((vector_size(16))) = {0}, part __attribute__((vector_size(16)));
    UNROLL for (int i = 0; i < LANES; i += 4) {
        memcpy(&part, (const char *)&v + 4 * i, sizeof part);
        four += part;
    }
    return (four[0] + four[2]) + (four[1] + four[3]);
}

/* out = LayerNorm(x + y) over the channels of each pixel; x and out are N x H x W x C, y is a row, overwritten. Each pass
 * goes over all columns, so that the sums of one do not wait for those of another. */
INLINE void add_and_norm(const char *x, float *y, char *out, const float *weight, const float *bias, long channels,
                         long count, const int bf16) {
    const size_t size = image_size(bf16);
    float means[STRIP], scales[STRIP];
    for (long i = 0; i < count; i++) {
        vec sum = {0};
        for (long c = 0; c < channels; c += BLOCK)
            UNROLL for (int v = 0; v < BLOCK; v += LANES) {
                float *const at = y + c * COLUMNS + i * BLOCK + v;
                const vec value = load(at) + load_image(x + (i * channels + c + v) * size, bf16);
                store(at, value);
                sum += value;
            }
        means[i] = total(sum) / channels;
    }
    for (long i = 0; i < count; i++) {
        vec sum = {0};
        for (long c = 0; c < channels; c += BLOCK)
            UNROLL for (int v = 0; v < BLOCK; v += LANES) {
                const vec off = load(y + c * COLUMNS + i * BLOCK + v) - means[i];
                sum += off * off;
            }
        scales[i] = 1 / sqrtf(total(sum) / channels + 1e-5f);
    }
    for (long i = 0; i < count; i++)
        for (long c = 0; c < channels; c += BLOCK)
            UNROLL for (int v = 0; v < BLOCK; v += LANES) {
                const vec off = load(y + c * COLUMNS + i * BLOCK + v) - means[i];
                store_image(out + (i * channels + c + v) * size, off * scales[i] * load(weight + c + v) + load(bias + c + v),
                            bf16);
            }
}

/* The last `depth` rows of a tensor, and in `carry` what the strip before left of each row: its last `kept` columns. */
typedef struct {
    float *rows, *carry;
    long depth, kept;
} Ring;

static float *ring_row(const Ring *ring, long row, long channels) {
    return ring->rows + row % ring->depth * channels * COLUMNS;
}

/* Takes the first `kept` columns of a row over, and leaves its last ones to the next strip, zero from `count` on. */
static void hand_over(const Ring *ring, long row, long first_row, long channels, long count, int first_strip) {
    for (long c = 0; c < channels; c += BLOCK) {
        float *const at = ring_row(ring, row, channels) + (c * COLUMNS + MARGIN * BLOCK);
        float *const carry = ring->carry + ((row - first_row) * channels + c) * ring->kept;
        const size_t size = sizeof(float) * BLOCK * ring->kept;
        if (first_strip)
            memset(at - ring->kept * BLOCK, 0, size);
        else
            memcpy(at - ring->kept * BLOCK, carry, size);
        if (count < STRIP)
            memset(at + count * BLOCK, 0, sizeof(float) * BLOCK * (STRIP - count));
        memcpy(carry, at + (STRIP - ring->kept) * BLOCK, size);
    }
}

typedef struct {
    long top, bottom, left, right;
} Region;

/* What one thread needs, in floats. */
static long scratch_size(long height, long d_model, long d_atten) {
    return COLUMNS * (2 * d_model + (DEPTH_U + DEPTH_P + DEPTH_D + 2) * d_atten) +
           (height + 2 * REACH_P) * d_atten * (REACH_P + 4 + MARGIN);
}

INLINE void vab_region(const char *x, char *out, float *scratch, Parameters q, long height, long width, long d_model,
                       long d_atten, Region region, Conv1x1 *const conv, const int bf16) {
    const size_t pixel_size = d_model * image_size(bf16);
    const long first_row = MAX(region.top - REACH_P, 0), last_row = MIN(region.bottom + REACH_P, height);
    const long carried = (last_row - first_row) * d_atten, row_size = d_atten * COLUMNS;
    Ring u = {.depth = DEPTH_U, .kept = REACH_P}, p = {.depth = DEPTH_P, .kept = 4}, d = {.depth = DEPTH_D, .kept = MARGIN};
    Ring *const rings[] = {&u, &p, &d};
    float *const zeros = scratch, *const product = zeros + row_size, *const x_row = product + row_size;
    float *const y_row = x_row + d_model * COLUMNS;
    scratch = y_row + d_model * COLUMNS;
    for (int i = 0; i < 3; i++) {
        rings[i]->rows = scratch;
        rings[i]->carry = scratch + rings[i]->depth * row_size;
        scratch = rings[i]->carry + rings[i]->kept * carried;
    }
    memset(zeros, 0, sizeof(float) * row_size);

    const long first_column = MAX(region.left - REACH_P, 0);
    for (long left = first_column; left < region.right + REACH_P; left += STRIP)
        for (long row = first_row; row < region.bottom + REACH_P; row++) {
            if (row < last_row) { /* u and p, from column `left` */
                const long count = MIN(MIN(region.right + REACH_P, width) - left, STRIP);
                float *const u_row = ring_row(&u, row, d_atten) + MARGIN * BLOCK;
                const char *const here = x + (row * width + left) * pixel_size;
                for (long i = 0; i < count; i++)
                    for (long c = 0; c < d_model; c += BLOCK)
                        for (int v = 0; v < BLOCK; v += LANES)
                            store(x_row + c * COLUMNS + i * BLOCK + v,
                                  load_image(here + i * pixel_size + (c + v) * image_size(bf16), bf16));
                conv(x_row, u_row, q.proj_1, q.proj_1_bias, d_model, d_atten, count, here, 0);
                gelu(u_row, d_atten, count);
                conv(u_row, ring_row(&p, row, d_atten) + MARGIN * BLOCK, q.pointwise, q.pointwise_bias, d_atten, d_atten,
                     count, here + width * pixel_size, row + 1 < last_row && count > 0 ? count * pixel_size : 0);
                hand_over(&u, row, first_row, d_atten, STRIP, left == first_column);
                hand_over(&p, row, first_row, d_atten, MAX(count, 0), left == first_column);
            }
            const long d_row = row - 2;
            if (d_row >= MAX(region.top - REACH_D, 0) && d_row < MIN(region.bottom + REACH_D, height)) { /* from left - 2 */
                const long count = MIN(MIN(region.right + REACH_D, width) - (left - 2), STRIP);
                float *const at = ring_row(&d, d_row, d_atten) + MARGIN * BLOCK;
                const float *rows[5];
                for (int k = 0; k < 5; k++) {
                    const long from = d_row + k - 2;
                    rows[k] = (from < 0 || from >= height ? zeros : ring_row(&p, from, d_atten)) + (MARGIN - 4) * BLOCK;
                }
                depthwise_plain(rows, at, q.depthwise, q.depthwise_bias, d_atten, count);
                if (left == 0)
                    for (long c = 0; c < d_atten; c += BLOCK)
                        memset(at + c * COLUMNS, 0, sizeof(float) * 2 * BLOCK);
                hand_over(&d, d_row, first_row, d_atten, MAX(count, 0), left == first_column);
            }
            const long out_row = row - REACH_P, from = MAX(left - REACH_P, region.left);
            const long count = MIN(left - REACH_P + STRIP, region.right) - from;
            if (out_row >= region.top && count > 0) {
                const float *rows[5];
                for (int k = 0; k < 5; k++) {
                    const long d_from = out_row + DILATION * (k - 2);
                    rows[k] = (d_from < 0 || d_from >= height ? zeros : ring_row(&d, d_from, d_atten)) +
                              (MARGIN + from - (left - 2) - REACH_D) * BLOCK;
                }
                depthwise_dilated(rows, product, ring_row(&u, out_row, d_atten) + (MARGIN + from - left) * BLOCK, q.dilated,
                                  q.dilated_bias, d_atten, count);
                const size_t at = (out_row * width + from) * pixel_size;
                conv(product, y_row, q.proj_2, q.proj_2_bias, d_atten, d_model, count, out + at, count * pixel_size);
                add_and_norm(x + at, y_row, out + at, q.norm, q.norm_bias, d_model, count, bf16);
            }
        }
}

/* Divides an image into `parts` regions, by rows and columns, such that the least is computed twice. */
static long rows_of_grid(long height, long width, long parts) {
    long best = 1;
    double least = INFINITY;
    for (long rows = 1; rows <= parts; rows++) {
        const double work = ((double)height / rows + 2 * REACH_P) * ((double)width * rows / parts + 2 * REACH_P);
        if (parts % rows == 0 && work < least) {
            least = work;
            best = rows;
        }
    }
    return best;
}

INLINE int run(const char *x, char *out, const float *parameters, long batch, long height, long width, long d_model,
               long d_atten, int threads, Conv1x1 *const conv, const int bf16) {
    threads = MAX(MIN(threads, batch * height * width / LEAST), 1);
    long common = threads; /* the images are divided only as far as there are more threads */
    while (batch % common || threads % common)
        common--;
    const long parts = threads / common, rows = rows_of_grid(height, width, parts), columns = parts / rows;
    const Parameters q = unpack(parameters, d_model, d_atten, bf16);
    const size_t size = (scratch_size(height, d_model, d_atten) * sizeof(float) + 63) / 64 * 64;
    char *const scratch = aligned_alloc(64, size * threads);
    if (!scratch)
        return 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++)
        for (long i = batch * parts * t / threads; i < batch * parts * (t + 1) / threads; i++) {
            const long image = i / parts * height * width * d_model * image_size(bf16);
            const long r = i % parts / columns, c = i % columns;
            const Region region = {height * r / rows, height * (r + 1) / rows, width * c / columns, width * (c + 1) / columns};
            if (region.top < region.bottom && region.left < region.right)
                vab_region(x + image, out + image, (float *)(scratch + size * t), q, height, width, d_model, d_atten, region,
                           conv, bf16);
        }
    free(scratch);
    return 0;
}

/* x, out: batch x height x width x d_model, apart from each other; d_model and d_atten are multiples of 16.
 * Returns 0, or 1 where memory is wanting. */
int fused_vab(const float *x, float *out, const float *parameters, long batch, long height, long width, long d_model,
              long d_atten, int threads) {
    return run((const char *)x, (char *)out, parameters, batch, height, width, d_model, d_atten, threads, conv1x1, 0);
}

#if defined(__AVX512BF16__)
/* The same with x and out in bf16, and with the weights of the 1x1 convolutions in it. */
int fused_vab_bf16(const uint16_t *x, uint16_t *out, const float *parameters, long batch, long height, long width,
                   long d_model, long d_atten, int threads) {
    return run((const char *)x, (char *)out, parameters, batch, height, width, d_model, d_atten, threads, conv1x1_bf16, 1);
}
#endif
