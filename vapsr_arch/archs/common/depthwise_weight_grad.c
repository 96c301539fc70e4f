/* Gradient of a depthwise convolution's kernel: stride 1, odd K x K, "same" padding, channels_last float32.
 *
 * grad[kh][kw][c] = sum over n, h, w of x[n][h + dilation (kh - K/2)][w + dilation (kw - K/2)][c] * g[n][h][w][c]
 *
 * Each thread takes whole rows of g. Along a row, K accumulators of LANES channels stay in registers, so that a value of g
 * is read once for K products; the few columns whose window leaves the image are summed one kernel column at a time. */
#include <stdlib.h>
#include <string.h>

#define LANES 16

typedef float vec __attribute__((vector_size(4 * LANES)));

static inline vec load(const float *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* One kernel row over one image row: `columns[kw * channels]` += sum over w of x[w + dilation (kw - K/2)] * g[w]. */
#define KERNEL_ROW(K)                                                                                                        \
    static void kernel_row_##K(const float *x, const float *g, float *columns, long width, long channels, long dilation) {   \
        const long pad = dilation * (K / 2);                                                                                 \
        const long inner_begin = pad < width ? pad : width;                                                                  \
        const long inner_end = width - pad > inner_begin ? width - pad : inner_begin;                                        \
        for (long c = 0; c < channels; c += LANES) {                                                                         \
            vec sums[K] = {0};                                                                                               \
            for (long w = inner_begin; w < inner_end; w++) {                                                                 \
                const vec gw = load(g + w * channels + c);                                                                   \
                for (int k = 0; k < K; k++)                                                                                  \
                    sums[k] += gw * load(x + (w + dilation * k - pad) * channels + c);                                       \
            }                                                                                                                \
            for (int k = 0; k < K; k++) {                                                                                    \
                const long shift = dilation * k - pad;                                                                       \
                const long begin = shift < 0 ? -shift : 0, end = shift > 0 ? width - shift : width;                          \
                for (long w = begin; w < end; w++) {                                                                         \
                    if (w == inner_begin && inner_begin < inner_end)                                                         \
                        w = inner_end;                                                                                       \
                    if (w < end)                                                                                             \
                        sums[k] += load(g + w * channels + c) * load(x + (w + shift) * channels + c);                        \
                }                                                                                                            \
                sums[k] += load(columns + k * channels + c);                                                                 \
                memcpy(columns + k * channels + c, &sums[k], sizeof sums[k]);                                                \
            }                                                                                                                \
        }                                                                                                                    \
    }

KERNEL_ROW(3)
KERNEL_ROW(5)
KERNEL_ROW(7)

/* x, g: batch x height x width x channels; grad: K x K x channels, set here. Channels are a multiple of LANES.
 * Returns 0, or 1 where memory or the kernel size is wanting. */
int depthwise_weight_grad(const float *x, const float *g, float *grad, long batch, long height, long width, long channels,
                          long kernel, long dilation, int threads) {
    void (*kernel_row)(const float *, const float *, float *, long, long, long) =
        kernel == 3 ? kernel_row_3 : kernel == 5 ? kernel_row_5 : kernel == 7 ? kernel_row_7 : NULL;
    const long size = kernel * kernel * channels, row = width * channels;
    float *partial = calloc((size_t)threads * size, sizeof *partial);
    if (!partial || !kernel_row) {
        free(partial);
        return 1;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        const long rows = batch * height;
        for (long r = rows * t / threads; r < rows * (t + 1) / threads; r++) {
            for (long k = 0; k < kernel; k++) {
                const long shift = dilation * (k - kernel / 2), h = r % height + shift;
                if (h >= 0 && h < height)
                    kernel_row(x + (r + shift) * row, g + r * row, partial + t * size + k * kernel * channels, width,
                               channels, dilation);
            }
        }
    }
    memset(grad, 0, size * sizeof *grad);
    for (int t = 0; t < threads; t++)
        for (long i = 0; i < size; i++)
            grad[i] += partial[t * size + i];
    free(partial);
    return 0;
}
