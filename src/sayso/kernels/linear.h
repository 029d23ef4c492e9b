// y = x W^T + b on packed weights, in fp32 or in int8 with int32 sums.
//
// Packed: panels of TILE_COLUMNS output columns, each panel its whole depth in the order in which the
// tile reads it. Every output is summed in the order of the depth by one thread, so that a row does not
// depend on its neighbours or on the number of threads.
#pragma once

#include "vectors.h"

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#include <immintrin.h>
#define HAS_INT8 1
#else
#define HAS_INT8 0
#endif

struct Linear {
    const void *weight;      // packed; fp32 or int8
    const float *scale;      // int8: of each output column, else null
    const int32_t *offset;   // int8: minus 128 times the sum of a group's weights, [panel, group, column]
    const float *bias;       // or null
    const float *down;       // packed low-rank part [rank, depth], or null
    const float *up;         // packed [columns, rank], scaling included
    int64_t columns, depth, rank;
};

// int8: so many numbers of a row share a scale. One scale a row is half again as fast and five times
// as far from float32: a few large activations would take the others' precision.
constexpr int64_t GROUP = 64;

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Adds or writes one tile row; the last panel may be narrower than the tile.
static inline void put(float *to, const Floats *value, int64_t width, bool add) {
    if (width >= TILE_COLUMNS) {
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; ++v) {
            float *at = to + v * LANES;
            store(at, add ? load(at) + value[v] : value[v]);
        }
        return;
    }
    float flat[TILE_COLUMNS];
    std::memcpy(flat, value, sizeof flat);
    for (int64_t i = 0; i < width; ++i) to[i] = add ? to[i] + flat[i] : flat[i];
}

// The next panel is fetched while this one is used: each of its rows' tiles asks for a part.
struct Ahead {
    const char *at;
    int64_t step;  // bytes per step of the depth

    Ahead part(int64_t row, int64_t rows, int64_t bytes) const { return {at + bytes * row / rows, step}; }
};

static inline Ahead ahead_of(const void *next, int64_t step_bytes, int64_t rows) {
    return {(const char *)next, step_bytes * TILE_ROWS / (rows > TILE_ROWS ? rows : TILE_ROWS)};
}

template <int ROWS>
static inline void tile_fp32(const float *x, int64_t stride, const float *w, int64_t depth, Ahead next,
                             Floats (&acc)[ROWS][TILE_VECTORS]) {
    for (int64_t k = 0; k < depth; ++k, w += TILE_COLUMNS) {
        __builtin_prefetch(next.at + k * next.step, 0, 2);
        Floats b[TILE_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; ++v) b[v] = load(w + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const Floats a = splat(x[r * stride + k]);
#pragma GCC unroll 8
            for (int v = 0; v < TILE_VECTORS; ++v) acc[r][v] += a * b[v];
        }
    }
}

template <int ROWS>
static void rows_fp32(const float *x, int64_t stride, const float *w, int64_t depth,
                      const float *bias, float *y, int64_t y_stride, int64_t width, bool add,
                      Ahead next) {
    Floats acc[ROWS][TILE_VECTORS] = {};
    tile_fp32<ROWS>(x, stride, w, depth, next, acc);
    float b[TILE_COLUMNS] = {};
    if (bias)
        for (int64_t i = 0; i < width && i < TILE_COLUMNS; ++i) b[i] = bias[i];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; ++v) acc[r][v] += load(b + v * LANES);
        put(y + r * y_stride, acc[r], width, add);
    }
}

// Panels [first, last) of y = x W^T + bias, or y += ….
static void panels_fp32(const float *x, int64_t x_stride, int64_t rows, const float *w,
                        const float *bias, int64_t columns, int64_t depth, float *y,
                        int64_t y_stride, bool add, int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
        const float *panel = w + p * depth * TILE_COLUMNS;
        const int64_t step = TILE_COLUMNS * sizeof(float), bytes = p + 1 < last ? step * depth : 0;
        const Ahead next = ahead_of(panel + bytes / sizeof(float), bytes ? step : 0, rows);
        const int64_t column = p * TILE_COLUMNS, width = columns - column;
        const float *b = bias ? bias + column : nullptr;
        int64_t r = 0;
        for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
            rows_fp32<TILE_ROWS>(x + r * x_stride, x_stride, panel, depth, b,
                                 y + r * y_stride + column, y_stride, width, add,
                                 next.part(r, rows, bytes));
        for (; r + 2 <= rows; r += 2)
            rows_fp32<2>(x + r * x_stride, x_stride, panel, depth, b, y + r * y_stride + column,
                         y_stride, width, add, next.part(r, rows, bytes));
        for (; r < rows; ++r)
            rows_fp32<1>(x + r * x_stride, x_stride, panel, depth, b, y + r * y_stride + column,
                         y_stride, width, add, next.part(r, rows, bytes));
    }
}

#if HAS_INT8
#if defined(__AVX512VNNI__)
typedef __m512i Bytes;
static inline Bytes bytes(const void *from) { return _mm512_loadu_si512(from); }
static inline Bytes repeat4(const uint8_t *from) {
    int32_t four;
    std::memcpy(&four, from, 4);
    return _mm512_set1_epi32(four);
}
// Written out: the compiler's own form of it copies the sums between registers and memory.
static inline void dot4(Bytes &sum, Bytes a, Bytes b) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}
#else
typedef __m256i Bytes;
static inline Bytes bytes(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }
static inline Bytes repeat4(const uint8_t *from) {
    int32_t four;
    std::memcpy(&four, from, 4);
    return _mm256_set1_epi32(four);
}
static inline void dot4(Bytes &sum, Bytes a, Bytes b) {
    __asm__("{vex} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
}
#endif

template <int ROWS>
static void rows_int8(const uint8_t *x, int64_t stride, const float *x_scale, int64_t groups,
                      const int8_t *w, const float *scale, const int32_t *offset, const float *bias,
                      float *y, int64_t y_stride, int64_t width, bool add, Ahead next) {
    float total[ROWS * TILE_COLUMNS];
    for (int64_t g = 0; g < groups; ++g, offset += TILE_COLUMNS) {
        Bytes acc[ROWS][TILE_VECTORS];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < TILE_VECTORS; ++v) acc[r][v] = bytes(offset + v * LANES);
        const uint8_t *part = x + g * GROUP;
        for (int64_t k = 0; k < GROUP; k += 4, w += 4 * TILE_COLUMNS) {
            __builtin_prefetch(next.at, 0, 2);  // of few rows, each has more than a cache line to fetch
            __builtin_prefetch(next.at + 64, 0, 2);
            next.at += next.step;
            Bytes b[TILE_VECTORS];
#pragma GCC unroll 8
            for (int v = 0; v < TILE_VECTORS; ++v) b[v] = bytes(w + 4 * v * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; ++r) {
                const Bytes a = repeat4(part + r * stride + k);
#pragma GCC unroll 8
                for (int v = 0; v < TILE_VECTORS; ++v) dot4(acc[r][v], a, b[v]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const Floats s = splat(x_scale[r * groups + g]);
            float *at = total + r * TILE_COLUMNS;
#pragma GCC unroll 8
            for (int v = 0; v < TILE_VECTORS; ++v) {
                const Floats sum = __builtin_convertvector((Ints)acc[r][v], Floats) * s;
                store(at + v * LANES, g ? load(at + v * LANES) + sum : sum);
            }
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        Floats out[TILE_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < TILE_VECTORS; ++v) {  // scale and bias are padded to whole panels
            out[v] = load(total + r * TILE_COLUMNS + v * LANES) * load(scale + v * LANES);
            if (bias) out[v] += load(bias + v * LANES);
        }
        put(y + r * y_stride, out, width, add);
    }
}

// Panels [first, last); bytes of x lie in whole groups, their scales row by row.
static void panels_int8(const uint8_t *x, int64_t x_stride, const float *x_scale, int64_t rows,
                        const Linear &l, float *y, int64_t y_stride, bool add, int64_t first,
                        int64_t last) {
    const int64_t groups = ceil_div(l.depth, GROUP), size = groups * GROUP * TILE_COLUMNS;
    for (int64_t p = first; p < last; ++p) {
        const int8_t *panel = (const int8_t *)l.weight + p * size;
        const int64_t step = 4 * TILE_COLUMNS, bytes = p + 1 < last ? size : 0;
        const Ahead next = ahead_of(panel + bytes, bytes ? step : 0, rows);
        const int64_t column = p * TILE_COLUMNS, width = l.columns - column;
        const float *bias = l.bias ? l.bias + column : nullptr, *scale = l.scale + column;
        const int32_t *offset = l.offset + p * groups * TILE_COLUMNS;
        int64_t r = 0;
        for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
            rows_int8<TILE_ROWS>(x + r * x_stride, x_stride, x_scale + r * groups, groups, panel, scale,
                                 offset, bias, y + r * y_stride + column, y_stride, width, add,
                                 next.part(r, rows, bytes));
        for (; r < rows; ++r)
            rows_int8<1>(x + r * x_stride, x_stride, x_scale + r * groups, groups, panel, scale, offset,
                         bias, y + r * y_stride + column, y_stride, width, add,
                         next.part(r, rows, bytes));
    }
}
#endif

// One row to unsigned bytes around 128, a scale for each group. What is not finite poisons the scale.
// `out` has room for whole groups.
static void quantise_row(const float *x, int64_t depth, uint8_t *out, float *scale) {
    const float round = 12582912.0f;  // 1.5 * 2^23: the sum's low bits are the rounded integer
    for (int64_t start = 0; start < depth; start += GROUP) {
        float part[GROUP] = {};
        std::memcpy(part, x + start, (depth - start < GROUP ? depth - start : GROUP) * sizeof(float));
        Floats most = {}, poison = {};
        for (int64_t i = 0; i < GROUP; i += LANES) {
            const Floats value = load(part + i), size = magnitude(value);
            most = select(size > most, size, most);
            poison += value * 0.0f;
        }
        const float top = largest(most), inverse = top > 0 ? 127.0f / top : 0.0f;
        scale[start / GROUP] = top / 127.0f + sum(poison);
        for (int64_t i = 0; i < GROUP; i += LANES) {
            const Ints level = (Ints)(load(part + i) * inverse + (round + 128.0f));
            for (int lane = 0; lane < LANES; ++lane) out[start + i + lane] = (uint8_t)level[lane];
        }
    }
}
