// Vectors of the widest registers this machine has, and the functions of one number on them.
//
// GNU vector extensions: the compiler makes AVX-512, AVX2, SSE or NEON of the same lines.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
constexpr int TILE_ROWS = 8;
#elif defined(__AVX2__)
constexpr int LANES = 8;
constexpr int TILE_ROWS = 4;
#else
constexpr int LANES = 4;
constexpr int TILE_ROWS = 4;
#endif

constexpr int TILE_VECTORS = 3;
constexpr int TILE_COLUMNS = TILE_VECTORS * LANES;

typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));

static inline Floats load(const float *from) {
    Floats out;
    std::memcpy(&out, from, sizeof out);
    return out;
}

static inline void store(float *to, Floats value) { std::memcpy(to, &value, sizeof value); }

static inline Floats splat(float value) { return value - Floats{}; }

static inline Floats select(Ints mask, Floats yes, Floats no) {
    return (Floats)((mask & (Ints)yes) | (~mask & (Ints)no));
}

// A number as one of 255 levels; whoever reads it knows their scale.
struct Byte {
    int8_t level;
};

typedef int8_t Levels __attribute__((vector_size(LANES)));

// Written out where it can be: of the general form some compilers make LANES scalar conversions.
static inline Floats load(const Byte *from) {
    Levels out;
    std::memcpy(&out, from, sizeof out);
#if defined(__AVX512F__)
    const Ints levels = (Ints)_mm512_cvtepi8_epi32((__m128i)out);
#elif defined(__AVX2__)
    const Ints levels = (Ints)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from));
#else
    const Ints levels = __builtin_convertvector(out, Ints);
#endif
    return __builtin_convertvector(levels, Floats);
}

static inline void store(Byte *to, Floats value) {  // within 127 of 0
    const float round = 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low bits
    const Ints level = (Ints)(value + round) - (Ints)splat(round);
    const Levels out = __builtin_convertvector(level, Levels);
    std::memcpy(to, &out, sizeof out);
}

static inline float sum(Floats value) {
    float total = 0;
    for (int i = 0; i < LANES; ++i) total += value[i];
    return total;
}

static inline float largest(Floats value) {
    float found = value[0];
    for (int i = 1; i < LANES; ++i) found = value[i] > found ? value[i] : found;
    return found;
}

static inline Floats magnitude(Floats value) { return select(value < 0.0f, -value, value); }

// e^x to about 1e-7 relative (range reduction by powers of two, then a polynomial; coefficients of
// Cephes' expf). Below -87 it is 0; NaN stays NaN.
static inline Floats exponential(Floats x) {
    const Ints is_zero = x < splat(-87.0f);
    const Floats bounded = select(x > splat(88.0f), splat(88.0f), select(is_zero, splat(-87.0f), x));
    const float round = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in the low bits
    const Floats shifted = bounded * 1.44269504088896341f + round;
    const Floats power = shifted - round;
    const Floats rest = bounded - power * 0.693359375f + power * 2.12194440e-4f;
    Floats p = splat(1.9875691500e-4f);
    p = p * rest + 1.3981999507e-3f;
    p = p * rest + 8.3334519073e-3f;
    p = p * rest + 4.1665795894e-2f;
    p = p * rest + 1.6666665459e-1f;
    p = p * rest + 5.0000001201e-1f;
    p = p * rest * rest + rest + 1.0f;
    const Ints exponent = ((Ints)shifted - (Ints)splat(round)) << 23;
    const Floats scaled = (Floats)((Ints)p + exponent);
    return select(is_zero, Floats{}, scaled);
}

static inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(-x)); }
