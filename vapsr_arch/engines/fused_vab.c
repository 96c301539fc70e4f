/* A vast-receptive-field attention block (VAB) in one pass over the image, N x H x W x C (channels_last), float32 or bf16.
 *
 *     u = gelu(proj_1 x)                              1x1, d_model -> d_atten
 *     d = depthwise(pointwise u)                      p = 1x1, then 5x5
 *     out = LayerNorm(x + proj_2(u * dilated d))      5x5 with dilation 3, then 1x1, d_atten -> d_model
 *
 * Layer by layer, each of these tensors travels to memory and back. Here they stay in the processor's caches: the image is
 * worked through in strips of equal width, a strip row by row, and of u, p and d only the last rows are kept, in rings.
 * Every stage trails the one before by the reach of its kernel, downwards and to the right: while row r and the columns
 * from `left` are made of u and p, those of d are row r - 2 from left - 2, and those of the output row r - 8 from left - 8.
 * A strip hands the columns that the next one needs on to it, so that nothing is computed twice but at the borders between
 * the parts of the image that different threads work on.
 *
 * In the rings and rows, channels come in blocks of 16: row[channel / 16][column][channel % 16]. Weights are packed alike.
 *
 * In bf16, the image and the operands of all convolutions are rounded to it; everything else, sums first, is float32. There is an
 * instruction that multiplies two pairs of bf16 and adds both products to a sum. What it works on lies in pairs: of channels in
 * the 1x1 convolutions; of columns in the depthwise ones, see `add_taps`. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#define BLOCK 16  /* channels */
#define UNIT 24   /* columns; a multiple of the tiles below, times the dilation */
#define STRIP 264 /* the widest, in columns; a multiple of UNIT. Narrower ones hand on more than they save */
#define MARGIN 12 /* columns kept left of a strip: the width of the dilated kernel, less one */
#define SLACK 24  /* columns right of a strip that whole tiles may touch */
#define COLUMNS (MARGIN + STRIP + SLACK)
#define TAPS 25
#define PAIRED_TAPS 30 /* in the place of a float32 each: 5 rows of 3 pairs, twice */
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
    const long taps = bf16 ? PAIRED_TAPS : TAPS;
    const long sizes[] = {d_model * d_atten / each, d_atten, d_atten * d_atten / each, d_atten, taps * d_atten, d_atten,
                          taps * d_atten, d_atten, d_atten * d_model / each, d_model, d_model, d_model};
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
/* Rounds two columns of 16 channels and leaves them as a pair, [16][2]. */
INLINE void store_pair(float *out, __m512 first, __m512 second) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20,
                                           4, 19, 3, 18, 2, 17, 1, 16, 0);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(second, first)));
}

/* In bf16; weight[out block][in channel / 2][16][2]. The output is float32, or the pairs of neighbouring columns. */
INLINE void conv1x1_pairs(const float *in, float *out, const float *weight, const float *bias, long in_channels,
                          long out_channels, long count, const char *ahead, size_t ahead_size, const int paired) {
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
            if (paired)
                UNROLL for (int i = 0; i < PIXELS; i += 2)
                    store_pair(out + (o * COLUMNS + (column + i) * BLOCK) / 2, sums[i], sums[i + 1]);
            else
                UNROLL for (int i = 0; i < PIXELS; i++)
                    store(out + o * COLUMNS + (column + i) * BLOCK, (vec)sums[i]);
        }
    }
}

static void conv1x1_bf16(const float *in, float *out, const float *weight, const float *bias, long in_channels,
                         long out_channels, long count, const char *ahead, size_t ahead_size) {
    conv1x1_pairs(in, out, weight, bias, in_channels, out_channels, count, ahead, ahead_size, 0);
}

static void conv1x1_bf16_paired(const float *in, float *out, const float *weight, const float *bias, long in_channels,
                                long out_channels, long count, const char *ahead, size_t ahead_size) {
    conv1x1_pairs(in, out, weight, bias, in_channels, out_channels, count, ahead, ahead_size, 1);
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

/* A depthwise 5x5 convolution of `count` columns and a few more, times `scale` where there is one. rows[k] are the rows, and
 * `first` the column of the first output's leftmost tap in them; weight[block][tap][16]. */
typedef void Depthwise(const float *const rows[5], long first, float *out, const float *scale, const float *weight,
                       const float *bias, long channels, long count);

INLINE void depthwise(const float *const rows[5], long first, float *out, const float *scale, const float *weight,
                      const float *bias, long channels, long count, const long dilation) {
    for (long c = 0; c < channels; c += BLOCK, weight += TAPS * BLOCK)
        for (long tile = 0; tile < count; tile += OUTPUTS * dilation)
            for (long column = tile; column < tile + dilation; column++)
                for (int v = 0; v < BLOCK; v += LANES) {
                    const long offset = c * COLUMNS + column * BLOCK + v, step = dilation * BLOCK;
                    vec sums[OUTPUTS];
                    UNROLL for (int i = 0; i < OUTPUTS; i++)
                        sums[i] = load(bias + c + v);
                    for (int r = 0; r < 5; r++) {
                        const float *x = rows[r] + first * BLOCK + offset, *w = weight + r * 5 * BLOCK + v;
                        UNROLL for (int tap = 0; tap < OUTPUTS + 4; tap++) {
                            const vec value = load(x + tap * step);
                            UNROLL for (int k = 0; k < 5; k++)
                                if (tap - k >= 0 && tap - k < OUTPUTS)
                                    sums[tap - k] += value * load(w + k * BLOCK);
                        }
                    }
                    UNROLL for (int i = 0; i < OUTPUTS; i++)
                        store(out + offset + i * step, scale ? sums[i] * load(scale + offset + i * step) : sums[i]);
                }
}

static void depthwise_plain(const float *const rows[5], long first, float *out, const float *scale, const float *weight,
                            const float *bias, long channels, long count) {
    (void)scale;
    depthwise(rows, first, out, NULL, weight, bias, channels, count, 1);
}

static void depthwise_dilated(const float *const rows[5], long first, float *out, const float *scale, const float *weight,
                              const float *bias, long channels, long count) {
    depthwise(rows, first, out, scale, weight, bias, channels, count, DILATION);
}

#if defined(__AVX512BF16__)
/* In bf16, for an instruction that takes two taps of a channel at once. The inputs lie in pairs of columns that are `dilation`
 * apart: row[block][column / (2 dilation)][column % dilation][16][2], where the last index is column / dilation % 2. An output
 * whose leftmost tap is the first of a pair takes the taps (0 1)(2 3)(4 -), any other one (- 0)(1 2)(3 4), with a weight of
 * zero for -: weight[block][row][2][3][16][2] has both. This adds to `outputs` sums, `dilation` columns apart, of which the
 * leftmost tap of the first lies at x[0][odd]. */
INLINE void add_taps(__m512 *sums, const int outputs, const float *x, const float *w, const long dilation, const int odd) {
    UNROLL for (int pair = 0; pair < (outputs + odd) / 2 + 3; pair++) {
        const __m512bh value = (__m512bh)load(x + pair * dilation * BLOCK);
        UNROLL for (int k = 0; k < 3; k++)
            UNROLL for (int second = 0; second < 2; second++) {
                const int i = 2 * (pair - k) + second - odd;
                if (i >= 0 && i < outputs)
                    sums[i] = _mm512_dpbf16_ps(sums[i], value, (__m512bh)load(w + (3 * second + k) * BLOCK));
            }
    }
}

/* The output lies as the dilated convolution takes it. `first` is even. */
static void depthwise_plain_bf16(const float *const rows[5], long first, float *out, const float *scale, const float *weight,
                                 const float *bias, long channels, long count) {
    enum { GROUP = 2 * DILATION, TILE = 2 * GROUP };
    (void)scale;
    for (long c = 0; c < channels; c += BLOCK, weight += PAIRED_TAPS * BLOCK)
        for (long tile = 0; tile < count; tile += TILE) {
            __m512 sums[TILE];
            UNROLL for (int i = 0; i < TILE; i++)
                sums[i] = (__m512)load(bias + c);
            for (int r = 0; r < 5; r++)
                add_taps(sums, TILE, rows[r] + (c * COLUMNS + (first + tile) * BLOCK) / 2, weight + 6 * r * BLOCK, 1, 0);
            UNROLL for (int group = 0; group < TILE; group += GROUP)
                UNROLL for (int i = group; i < group + DILATION; i++)
                    store_pair(out + (c * COLUMNS + (tile + group) * BLOCK) / 2 + (i - group) * BLOCK, sums[i],
                               sums[i + DILATION]);
        }
}

INLINE void dilated_tile(const float *const rows[5], long offset, float *out, const float *scale, const float *weight, vec bias,
                         const int odd) {
    __m512 sums[OUTPUTS];
    UNROLL for (int i = 0; i < OUTPUTS; i++)
        sums[i] = (__m512)bias;
    for (int r = 0; r < 5; r++)
        add_taps(sums, OUTPUTS, rows[r] + offset, weight + 6 * r * BLOCK, DILATION, odd);
    UNROLL for (int i = 0; i < OUTPUTS; i++)
        store(out + i * DILATION * BLOCK, (vec)sums[i] * load(scale + i * DILATION * BLOCK));
}

static void depthwise_dilated_bf16(const float *const rows[5], long first, float *out, const float *scale, const float *weight,
                                   const float *bias, long channels, long count) {
    for (long c = 0; c < channels; c += BLOCK, weight += PAIRED_TAPS * BLOCK)
        for (long tile = 0; tile < count; tile += OUTPUTS * DILATION)
            for (long column = tile; column < tile + DILATION; column++) {
                const long tap = first + column, at = c * COLUMNS + column * BLOCK;
                const long offset = c * COLUMNS / 2 + (tap / (2 * DILATION) * DILATION + tap % DILATION) * BLOCK;
                if (tap / DILATION % 2)
                    dilated_tile(rows, offset, out + at, scale + at, weight, load(bias + c), 1);
                else
                    dilated_tile(rows, offset, out + at, scale + at, weight, load(bias + c), 0);
            }
}
#endif

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

/* The last `depth` rows of a tensor, and in `carry` what the strip before left of each row: its last `kept` columns.
 * `apart` is 0 for float32 and, for pairs of columns in bf16, the distance of the two. */
typedef struct {
    float *rows, *carry;
    long depth, kept, apart;
} Ring;

static float *ring_row(const Ring *ring, long row, long channels) {
    return ring->rows + row % ring->depth * channels * COLUMNS;
}

/* Where a column lies in a row of a ring, in floats: one that pairs begin with, or any in float32. */
INLINE long column_of(const Ring *ring, long column) { return column * BLOCK / (ring->apart ? 2 : 1); }

/* Zeroes the columns of a block from `first` to before `end`. */
static void clear(const Ring *ring, float *at, long first, long end) {
    const long apart = ring->apart, group = apart ? 2 * apart : 1;
    while (first < end)
        if (first % group == 0 && first + group <= end) {
            memset(at + column_of(ring, first), 0, sizeof(float) * column_of(ring, group));
            first += group;
        } else { /* one of a pair */
            uint16_t *const half = (uint16_t *)(at + (first / group * apart + first % apart) * BLOCK) + first / apart % 2;
            for (int i = 0; i < BLOCK; i++)
                half[2 * i] = 0;
            first++;
        }
}

/* Takes the first `kept` columns of a row over, and leaves its last ones to the next strip, zero from `count` on. If there is
 * a next one, less than MARGIN is wanting to `strip`. */
static void hand_over(const Ring *ring, long row, long first_row, long channels, long count, long strip, int first_strip) {
    for (long c = 0; c < channels; c += BLOCK) {
        float *const at = ring_row(ring, row, channels) + column_of(ring, c / BLOCK * COLUMNS + MARGIN);
        float *const carry = ring->carry + ((row - first_row) * channels + c) * ring->kept;
        const size_t size = sizeof(float) * column_of(ring, ring->kept);
        if (first_strip)
            memset(at - column_of(ring, ring->kept), 0, size);
        else
            memcpy(at - column_of(ring, ring->kept), carry, size);
        clear(ring, at, count, MIN(count + MARGIN, strip));
        memcpy(carry, at + column_of(ring, strip - ring->kept), size);
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

/* The width of strips that divide `columns` evenly, as few as can be. */
static long strip_width(long columns) {
    const long strips = (columns + STRIP - 1) / STRIP;
    return ((columns + strips - 1) / strips + UNIT - 1) / UNIT * UNIT;
}

/* The convolutions of a precision. */
typedef struct {
    Conv1x1 *conv, *conv_to_p;
    Depthwise *plain, *dilated;
    int bf16;
} Kernels;

INLINE void vab_region(const char *x, char *out, float *scratch, Parameters q, long height, long width, long d_model,
                       long d_atten, Region region, const Kernels kernels) {
    const int bf16 = kernels.bf16;
    const size_t pixel_size = d_model * image_size(bf16);
    const long first_row = MAX(region.top - REACH_P, 0), last_row = MIN(region.bottom + REACH_P, height);
    const long carried = (last_row - first_row) * d_atten, row_size = d_atten * COLUMNS;
    Ring u = {.depth = DEPTH_U, .kept = REACH_P};
    Ring p = {.depth = DEPTH_P, .kept = 4, .apart = bf16}, d = {.depth = DEPTH_D, .kept = MARGIN, .apart = bf16 * DILATION};
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
    if (bf16) { /* a weight of zero does not make zero of what is no number */
        memset(p.rows, 0, sizeof(float) * p.depth * row_size);
        memset(d.rows, 0, sizeof(float) * d.depth * row_size);
    }

    const long first_column = MAX(region.left - REACH_P, 0);
    const long strip = strip_width(region.right + REACH_P - first_column);
    for (long left = first_column; left < region.right + REACH_P; left += strip)
        for (long row = first_row; row < region.bottom + REACH_P; row++) {
            if (row < last_row) { /* u and p, from column `left` */
                const long count = MIN(MIN(region.right + REACH_P, width) - left, strip);
                float *const u_row = ring_row(&u, row, d_atten) + MARGIN * BLOCK;
                const char *const here = x + (row * width + left) * pixel_size;
                for (long i = 0; i < count; i++)
                    for (long c = 0; c < d_model; c += BLOCK)
                        for (int v = 0; v < BLOCK; v += LANES)
                            store(x_row + c * COLUMNS + i * BLOCK + v,
                                  load_image(here + i * pixel_size + (c + v) * image_size(bf16), bf16));
                kernels.conv(x_row, u_row, q.proj_1, q.proj_1_bias, d_model, d_atten, count, here, 0);
                gelu(u_row, d_atten, count);
                kernels.conv_to_p(u_row, ring_row(&p, row, d_atten) + column_of(&p, MARGIN), q.pointwise, q.pointwise_bias,
                                  d_atten, d_atten, count, here + width * pixel_size,
                                  row + 1 < last_row && count > 0 ? count * pixel_size : 0);
                hand_over(&u, row, first_row, d_atten, strip, strip, left == first_column);
                hand_over(&p, row, first_row, d_atten, MAX(count, 0), strip, left == first_column);
            }
            const long d_row = row - 2;
            if (d_row >= MAX(region.top - REACH_D, 0) && d_row < MIN(region.bottom + REACH_D, height)) { /* from left - 2 */
                const long count = MIN(MIN(region.right + REACH_D, width) - (left - 2), strip);
                float *const at = ring_row(&d, d_row, d_atten) + column_of(&d, MARGIN);
                const float *rows[5];
                for (int k = 0; k < 5; k++) {
                    const long from = d_row + k - 2;
                    rows[k] = from < 0 || from >= height ? zeros : ring_row(&p, from, d_atten);
                }
                kernels.plain(rows, MARGIN - 4, at, NULL, q.depthwise, q.depthwise_bias, d_atten, count);
                if (left == 0)
                    for (long c = 0; c < d_atten; c += BLOCK)
                        clear(&d, at + column_of(&d, c / BLOCK * COLUMNS), 0, 2);
                hand_over(&d, d_row, first_row, d_atten, MAX(count, 0), strip, left == first_column);
            }
            const long out_row = row - REACH_P, from = MAX(left - REACH_P, region.left);
            const long count = MIN(left - REACH_P + strip, region.right) - from;
            if (out_row >= region.top && count > 0) {
                const float *rows[5];
                for (int k = 0; k < 5; k++) {
                    const long d_from = out_row + DILATION * (k - 2);
                    rows[k] = d_from < 0 || d_from >= height ? zeros : ring_row(&d, d_from, d_atten);
                }
                kernels.dilated(rows, MARGIN + from - (left - 2) - REACH_D, product,
                                ring_row(&u, out_row, d_atten) + (MARGIN + from - left) * BLOCK, q.dilated, q.dilated_bias,
                                d_atten, count);
                const size_t at = (out_row * width + from) * pixel_size;
                kernels.conv(product, y_row, q.proj_2, q.proj_2_bias, d_atten, d_model, count, out + at, count * pixel_size);
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
               long d_atten, int threads, const Kernels kernels) {
    threads = MAX(MIN(threads, batch * height * width / LEAST), 1);
    long common = threads; /* the images are divided only as far as there are more threads */
    while (batch % common || threads % common)
        common--;
    const long parts = threads / common, rows = rows_of_grid(height, width, parts), columns = parts / rows;
    const Parameters q = unpack(parameters, d_model, d_atten, kernels.bf16);
    const size_t size = (scratch_size(height, d_model, d_atten) * sizeof(float) + 63) / 64 * 64;
    char *const scratch = aligned_alloc(64, size * threads);
    if (!scratch)
        return 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++)
        for (long i = batch * parts * t / threads; i < batch * parts * (t + 1) / threads; i++) {
            const long image = i / parts * height * width * d_model * image_size(kernels.bf16);
            const long r = i % parts / columns, c = i % columns;
            const Region region = {height * r / rows, height * (r + 1) / rows, width * c / columns, width * (c + 1) / columns};
            if (region.top < region.bottom && region.left < region.right)
                vab_region(x + image, out + image, (float *)(scratch + size * t), q, height, width, d_model, d_atten, region,
                           kernels);
        }
    free(scratch);
    return 0;
}

/* x, out: batch x height x width x d_model, apart from each other; d_model and d_atten are multiples of 16.
 * Returns 0, or 1 where memory is wanting. */
int fused_vab(const float *x, float *out, const float *parameters, long batch, long height, long width, long d_model,
              long d_atten, int threads) {
    return run((const char *)x, (char *)out, parameters, batch, height, width, d_model, d_atten, threads,
               (Kernels){conv1x1, conv1x1, depthwise_plain, depthwise_dilated, 0});
}

#if defined(__AVX512BF16__)
/* The same with x and out in bf16, and with the weights of the 1x1 convolutions in it. */
int fused_vab_bf16(const uint16_t *x, uint16_t *out, const float *parameters, long batch, long height, long width,
                   long d_model, long d_atten, int threads) {
    return run((const char *)x, (char *)out, parameters, batch, height, width, d_model, d_atten, threads,
               (Kernels){conv1x1_bf16, conv1x1_bf16_paired, depthwise_plain_bf16, depthwise_dilated_bf16, 1});
}
#endif
