// Vectors of the widest registers this machine has, and the functions of one number on them.
//
// GNU vector extensions: the compiler makes AVX-512, AVX2, SSE or NEON of the same lines.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__F16C__)
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

// A number of 16 bits, IEEE. On the way in it is kept within what 16 bits can say; what is not finite
// becomes NaN.
struct Half {
    uint16_t bits;
};

static inline Floats load(const Half *from) {
#if defined(__AVX512F__)
    return (Floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif defined(__AVX2__) && defined(__F16C__)
    return (Floats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
    typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));
    Halves in;
    std::memcpy(&in, from, sizeof in);
    const Ints bits = __builtin_convertvector(in, Ints), size = bits & 0x7fff;
    const Floats value = (Floats)(size << 13) * 0x1p112f;
    return (Floats)((Ints)select(size > 0x7c00, splat(NAN), value) | (bits & 0x8000) << 16);
#endif
}

static inline void store(Half *to, Floats value) {
    const Floats most = splat(65504.0f), poison = value * 0.0f;
    value = select(value > most, most, select(value < -most, -most, value)) + poison;
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtps_ph((__m512)value, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__) && defined(__F16C__)
    _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT));
#else
    const Ints sign = (Ints)value >> 16 & 0x8000;
    const Ints size = (Ints)((Floats)((Ints)value & 0x7fffffff) * 0x1p-112f);
    const Ints rounded = (size + 0xfff + (size >> 13 & 1)) >> 13;  // ties to even
    const Ints bits = (Ints)select(value == value, (Floats)rounded, (Floats)(rounded * 0 + 0x7e00));
    for (int i = 0; i < LANES; ++i) to[i].bits = (uint16_t)(bits[i] | sign[i]);
#endif
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
