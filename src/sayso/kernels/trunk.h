// What lies between the matrix products of a decoder layer, for training: norms, rotation, gated units,
// and the way back through each. No output depends on the number of threads.
#pragma once

#include <algorithm>
#include <vector>

#include "vectors.h"

// Sums in LANES partial sums; the order does not depend on anything but the width.
template <typename Term> static inline float sum_over(int64_t width, Term term) {
    Floats partial = {};
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) partial += term(i, Floats{});
    float total = sum(partial);
    for (; i < width; ++i) total += term(i, 0.0f);
    return total;
}

template <typename T> static inline T at(const float *x, int64_t i) {
    T out;
    std::memcpy(&out, x + i, sizeof out);
    return out;
}

// The last vector of a row may be a part of one.
template <typename Work> static inline void by_vectors(int64_t from, int64_t to, Work work) {
    for (int64_t i = from; i < to; i += LANES) work(i, std::min<int64_t>(LANES, to - i));
}

static inline Floats load_some(const float *from, int64_t count) {
    if (count == LANES) return load(from);
    Floats out = {};
    std::memcpy(&out, from, count * sizeof(float));
    return out;
}

static inline void store_some(float *to, Floats value, int64_t count) {
    std::memcpy(to, &value, count * sizeof(float));
}

extern "C" {

// out = x / rms(x) * weight for each row, and one over the rms of each.
void sayso_norm(const float *x, const float *weight, int64_t rows, int64_t width, double epsilon,
                float *out, float *inverse, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < rows; ++r) {
        const float *row = x + r * width;
        const float squares = sum_over(width, [&](int64_t i, auto kind) {
            const auto value = at<decltype(kind)>(row, i);
            return value * value;
        });
        const float factor = (float)(1.0 / std::sqrt((double)squares / width + epsilon));
        inverse[r] = factor;
        by_vectors(0, width, [&](int64_t i, int64_t n) {
            store_some(out + r * width + i, load_some(row + i, n) * factor * load_some(weight + i, n), n);
        });
    }
}

// Back through it. The gradient of the weight is summed over blocks of rows, then block by block.
void sayso_norm_back(const float *grad, const float *x, const float *weight, const float *inverse,
                     int64_t rows, int64_t width, float *grad_x, float *grad_weight, int64_t threads) {
    constexpr int64_t BLOCKS = 32;
    std::vector<float> partial(grad_weight ? BLOCKS * width : 0);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t b = 0; b < BLOCKS; ++b) {
        float *sums = grad_weight ? partial.data() + b * width : nullptr;
        for (int64_t r = rows * b / BLOCKS; r < rows * (b + 1) / BLOCKS; ++r) {
            const float *g = grad + r * width, *row = x + r * width;
            const float factor = inverse[r];
            const float along = sum_over(width, [&](int64_t i, auto kind) {
                using T = decltype(kind);
                return at<T>(g, i) * at<T>(weight, i) * at<T>(row, i);
            });
            const float back = along * factor * factor / width;
            by_vectors(0, width, [&](int64_t i, int64_t n) {
                const Floats value = load_some(row + i, n), given = load_some(g + i, n);
                if (grad_x)
                    store_some(grad_x + r * width + i,
                               factor * (given * load_some(weight + i, n) - back * value), n);
                if (sums) store_some(sums + i, load_some(sums + i, n) + given * value * factor, n);
            });
        }
    }
    if (grad_weight)
        for (int64_t i = 0; i < width; ++i) {
            float total = 0;
            for (int64_t b = 0; b < BLOCKS; ++b) total += partial[b * width + i];
            grad_weight[i] = total;
        }
}

// Heads [rows, heads, width] turned by the angles of each row; or, going back, against them.
void sayso_rotate(const float *x, const float *cosine, const float *sine, int64_t rows, int64_t heads,
                  int64_t width, int64_t is_back, float *out, int64_t threads) {
    const int64_t half = width / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < rows; ++r) {
        const float *c = cosine + r * width, *s = sine + r * width;
        for (int64_t h = 0; h < heads; ++h) {
            const float *from = x + (r * heads + h) * width;
            float *to = out + (r * heads + h) * width;
            by_vectors(0, half, [&](int64_t i, int64_t n) {
                const Floats a = load_some(from + i, n), b = load_some(from + half + i, n);
                const Floats c1 = load_some(c + i, n), c2 = load_some(c + half + i, n);
                const Floats s1 = load_some(s + i, n), s2 = load_some(s + half + i, n);
                store_some(to + i, is_back ? a * c1 + b * s2 : a * c1 - b * s1, n);
                store_some(to + half + i, is_back ? b * c2 - a * s1 : b * c2 + a * s2, n);
            });
        }
    }
}

// SiLU(gate) * up, number by number.
void sayso_gate(const float *gate, const float *up, int64_t count, float *out, int64_t threads) {
    constexpr int64_t PIECE = 4096;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t p = 0; p < count; p += PIECE)
        by_vectors(p, std::min(p + PIECE, count), [&](int64_t i, int64_t n) {
            const Floats g = load_some(gate + i, n);
            store_some(out + i, g * sigmoid(g) * load_some(up + i, n), n);
        });
}

void sayso_gate_back(const float *grad, const float *gate, const float *up, int64_t count,
                     float *grad_gate, float *grad_up, int64_t threads) {
    constexpr int64_t PIECE = 4096;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t p = 0; p < count; p += PIECE)
        by_vectors(p, std::min(p + PIECE, count), [&](int64_t i, int64_t n) {
            const Floats g = load_some(gate + i, n), d = load_some(grad + i, n), s = sigmoid(g);
            store_some(grad_up + i, d * g * s, n);
            store_some(grad_gate + i, d * load_some(up + i, n) * s * (1.0f + g * (1.0f - s)), n);
        });
}
}
