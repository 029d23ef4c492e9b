// Attention of a few tokens over keys and values that some of them share.
//
// Both lie in blocks of LANES positions. Keys lie depth by depth, so that LANES scores come from one
// multiply-add per depth; values lie position by position. A head's width is padded to LANES. `Kept` is
// what a number is kept as; whatever it is, it is float once it is loaded. A block of bytes ends with
// the scale of each of its positions.
#pragma once

#include <type_traits>
#include <vector>

#include "vectors.h"

template <typename Kept> constexpr bool IS_SCALED = std::is_same<Kept, Byte>::value;

// Numbers of type Kept from one block to the next.
template <typename Kept> constexpr int64_t block_size(int64_t padded) {
    return LANES * (padded + (IS_SCALED<Kept> ? sizeof(float) : 0));
}

static inline float *scales_of(Byte *block, int64_t padded) { return (float *)(block + LANES * padded); }
static inline const float *scales_of(const Byte *block, int64_t padded) {
    return (const float *)(block + LANES * padded);
}

template <typename Kept> struct Segment {
    const Kept *keys, *values;  // of one layer and head, from the segment's first block on
    int64_t length;
};

constexpr int QUERIES = 8;
constexpr int MOST_PER_ROW = 64;  // query heads of one key head
constexpr int64_t AHEAD = 4;  // blocks from the one that is read to the one that is fetched from memory

// One block, or two side by side: sums of one alone wait for themselves.
template <int COUNT, int BLOCKS, typename Kept>
static inline void scores_of_blocks(const float *q, int64_t stride, int64_t depth, const Kept *keys,
                                    const Kept *next, int64_t padded, float *out,
                                    int64_t out_stride) {
    const int64_t size = block_size<Kept>(padded);
    Floats acc[COUNT][BLOCKS] = {};
    for (int64_t d = 0; d < depth; ++d) {
        Floats k[BLOCKS];
#pragma GCC unroll 8
        for (int b = 0; b < BLOCKS; ++b) {
            k[b] = load(keys + b * size + d * LANES);
            __builtin_prefetch(next + b * size + d * LANES, 0, 2);
        }
#pragma GCC unroll 8
        for (int i = 0; i < COUNT; ++i) {
            const Floats x = splat(q[i * stride + d]);
#pragma GCC unroll 8
            for (int b = 0; b < BLOCKS; ++b) acc[i][b] += x * k[b];
        }
    }
    if constexpr (IS_SCALED<Kept>)
#pragma GCC unroll 8
        for (int b = 0; b < BLOCKS; ++b)
#pragma GCC unroll 8
            for (int i = 0; i < COUNT; ++i) acc[i][b] *= load(scales_of(keys + b * size, padded));
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i)
#pragma GCC unroll 8
        for (int b = 0; b < BLOCKS; ++b) store(out + i * out_stride + b * LANES, acc[i][b]);
}

template <int COUNT, typename Kept>
static void scores_of(const float *q, int64_t stride, int64_t depth, int64_t padded,
                      const Segment<Kept> &s, float *out, int64_t out_stride) {
    const int64_t blocks = (s.length + LANES - 1) / LANES, size = block_size<Kept>(padded);
    for (int64_t block = 0; block < blocks; block += 2) {
        const int64_t ahead = block + AHEAD;  // after the keys come the values
        const Kept *next = ahead < blocks ? s.keys + ahead * size : s.values + (ahead - blocks) * size;
        const auto one_or_two =
            block + 1 < blocks ? scores_of_blocks<COUNT, 2, Kept> : scores_of_blocks<COUNT, 1, Kept>;
        one_or_two(q, stride, depth, s.keys + block * size, next, padded, out + block * LANES, out_stride);
    }
    for (int i = 0; i < COUNT; ++i)
        for (int64_t p = s.length; p % LANES; ++p) out[i * out_stride + p] = -INFINITY;
}

template <typename Kept>
static void scores(const float *q, int64_t count, int64_t stride, int64_t depth, int64_t padded,
                   const Segment<Kept> &s, float *out, int64_t out_stride) {
    int64_t i = 0;
    for (; i + QUERIES <= count; i += QUERIES)
        scores_of<QUERIES>(q + i * stride, stride, depth, padded, s, out + i * out_stride, out_stride);
    for (; i + 3 <= count; i += 3)
        scores_of<3>(q + i * stride, stride, depth, padded, s, out + i * out_stride, out_stride);
    for (; i < count; ++i)
        scores_of<1>(q + i * stride, stride, depth, padded, s, out + i * out_stride, out_stride);
}

template <int COUNT, int VECTORS, typename Kept>
static void mixed_of(const float *p, int64_t p_stride, const Kept *values, int64_t padded,
                     int64_t length, float *out, int64_t stride) {
    Floats acc[COUNT][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) acc[i][v] = load(out + i * stride + v * LANES);
    const int64_t size = block_size<Kept>(padded), between = size - LANES * padded;
    for (int64_t t = 0; t < length; ++t, values += t % LANES ? padded : padded + between) {
        const Kept *next = t + AHEAD * LANES < length ? values + AHEAD * size : values;
        for (size_t at = 0; at < VECTORS * LANES * sizeof(Kept); at += 64)
            __builtin_prefetch((const char *)next + at, 0, 2);
        Floats x[VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) x[v] = load(values + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < COUNT; ++i) {
            const Floats weight = splat(p[i * p_stride + t]);
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; ++v) acc[i][v] += weight * x[v];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) store(out + i * stride + v * LANES, acc[i][v]);
}

template <int COUNT, typename Kept>
static void mixed_rows(const float *p, int64_t p_stride, const Segment<Kept> &s, int64_t padded,
                       float *out, int64_t stride) {
    int64_t d = 0;
    for (; d + 4 * LANES <= padded; d += 4 * LANES)
        mixed_of<COUNT, 4>(p, p_stride, s.values + d, padded, s.length, out + d, stride);
    for (; d < padded; d += LANES)
        mixed_of<COUNT, 1>(p, p_stride, s.values + d, padded, s.length, out + d, stride);
}

template <typename Kept>
static void mixed(float *p, int64_t count, int64_t p_stride, const Segment<Kept> &s, int64_t padded,
                  float *out, int64_t stride) {
    if constexpr (IS_SCALED<Kept>)
        for (int64_t t = 0; t < s.length; t += LANES) {
            const Kept *block = s.values + t / LANES * block_size<Kept>(padded);
            const Floats scale = load(scales_of(block, padded));
            for (int64_t i = 0; i < count; ++i)
                store(p + i * p_stride + t, load(p + i * p_stride + t) * scale);
        }
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        mixed_rows<4>(p + i * p_stride, p_stride, s, padded, out + i * stride, stride);
    for (; i + 3 <= count; i += 3)
        mixed_rows<3>(p + i * p_stride, p_stride, s, padded, out + i * stride, stride);
    for (; i < count; ++i) mixed_rows<1>(p + i * p_stride, p_stride, s, padded, out + i * stride, stride);
}

// Turns scores into weights that are not normalised yet; returns one over their sum.
static float weigh(float *score, int64_t length) {
    Floats most = splat(-INFINITY);
    for (int64_t t = 0; t < length; t += LANES) {
        const Floats s = load(score + t);
        most = select(s > most, s, most);
    }
    const Floats top = splat(largest(most));
    Floats total = {};
    for (int64_t t = 0; t < length; t += LANES) {
        const Floats weight = exponential(load(score + t) - top);
        store(score + t, weight);
        total += weight;
    }
    return 1.0f / sum(total);
}

static inline int64_t padded_to_lanes(int64_t length) { return (length + LANES - 1) / LANES * LANES; }

// Some queries over the segments that all of them share, then each row's over its own.
//
// Queries lie row by row, `per_row` of each; they are scaled already. `buffer` is scratch.
template <typename Kept>
static void attend(const float *q, int64_t rows, int64_t per_row, int64_t depth, int64_t padded,
                   const Segment<Kept> *common, int64_t num_common, const Segment<Kept> *own,
                   float *out, std::vector<float> &buffer) {
    int64_t shared = 0, longest = 0;
    for (int64_t c = 0; c < num_common; ++c) shared += padded_to_lanes(common[c].length);
    for (int64_t r = 0; r < rows; ++r)
        longest = own[r].length > longest ? own[r].length : longest;
    const int64_t stride = shared + padded_to_lanes(longest), count = rows * per_row;
    if ((int64_t)buffer.size() < count * stride) buffer.resize(count * stride);
    float *s = buffer.data();
    int64_t at = 0;
    for (int64_t c = 0; c < num_common; at += padded_to_lanes(common[c++].length))
        scores(q, count, padded, depth, padded, common[c], s + at, stride);
    float norm[QUERIES * MOST_PER_ROW];
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t first = r * per_row;
        if (own[r].length)
            scores(q + first * padded, per_row, padded, depth, padded, own[r],
                   s + first * stride + shared, stride);
        for (int64_t i = first; i < first + per_row; ++i)
            norm[i] = weigh(s + i * stride, shared + padded_to_lanes(own[r].length));
    }
    std::memset(out, 0, count * padded * sizeof(float));
    at = 0;
    for (int64_t c = 0; c < num_common; at += padded_to_lanes(common[c++].length))
        mixed(s + at, count, stride, common[c], padded, out, padded);
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t first = r * per_row;
        if (own[r].length)
            mixed(s + first * stride + shared, per_row, stride, own[r], padded, out + first * padded,
                  padded);
        for (int64_t i = first; i < first + per_row; ++i)
            for (int64_t d = 0; d < padded; ++d) out[i * padded + d] *= norm[i];
    }
}
