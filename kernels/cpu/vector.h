// Sixteen numbers at a time, the same on every processor: each operation is rounded once (no fused multiply-add), and
// sums over the sixteen run in one fixed order. So every path that this is compiled for gives the same bits.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

namespace worldmodel {

constexpr int LANES = 16;
#if defined(__AVX512F__)
constexpr int WIDTH = 16;  // numbers in a register
#elif defined(__AVX__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif
constexpr int PARTS = LANES / WIDTH;

using FloatPart = float __attribute__((vector_size(WIDTH * 4), may_alias));
using IntPart = int32_t __attribute__((vector_size(WIDTH * 4), may_alias));

struct Floats {
  FloatPart part[PARTS];
};
struct Ints {
  IntPart part[PARTS];
};

#define EACH_PART                  \
  _Pragma("GCC unroll 4") for (int i = 0; i < PARTS; ++i)

// Addresses are multiples of 64 bytes.
inline Floats load(const float *from) {
  Floats out;
  EACH_PART out.part[i] = reinterpret_cast<const FloatPart *>(from)[i];
  return out;
}
inline Ints load(const int32_t *from) {
  Ints out;
  EACH_PART out.part[i] = reinterpret_cast<const IntPart *>(from)[i];
  return out;
}
inline void store(float *to, Floats x) { EACH_PART reinterpret_cast<FloatPart *>(to)[i] = x.part[i]; }
inline void store(int32_t *to, Ints x) { EACH_PART reinterpret_cast<IntPart *>(to)[i] = x.part[i]; }

inline Floats splat(float x) {
  Floats out;
  EACH_PART out.part[i] = x - FloatPart{};
  return out;
}
inline Ints splat(int32_t x) {
  Ints out;
  EACH_PART out.part[i] = x - IntPart{};
  return out;
}

#define ELEMENTWISE(TYPE, OP)                                  \
  inline TYPE operator OP(TYPE a, TYPE b) {                    \
    TYPE out;                                                  \
    EACH_PART out.part[i] = a.part[i] OP b.part[i];            \
    return out;                                                \
  }
ELEMENTWISE(Floats, +)
ELEMENTWISE(Floats, -)
ELEMENTWISE(Floats, *)
ELEMENTWISE(Floats, /)
ELEMENTWISE(Ints, +)
ELEMENTWISE(Ints, -)
ELEMENTWISE(Ints, &)
#undef ELEMENTWISE

inline Ints operator<<(Ints a, int by) {
  EACH_PART a.part[i] = a.part[i] << by;
  return a;
}
inline Ints operator>>(Ints a, int by) {
  EACH_PART a.part[i] = a.part[i] >> by;
  return a;
}
inline Floats maximum(Floats a, Floats b) {
  EACH_PART a.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
  return a;
}
inline Floats minimum(Floats a, Floats b) {
  EACH_PART a.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
  return a;
}
inline Floats absolute(Floats a) {
  EACH_PART a.part[i] = (FloatPart)((IntPart)a.part[i] & 0x7fffffff);
  return a;
}
// a where `bits` are not 0, else b.
inline Floats where_set(Ints bits, Floats a, Floats b) {
  EACH_PART a.part[i] = bits.part[i] != 0 ? a.part[i] : b.part[i];
  return a;
}
inline Floats to_floats(Ints a) {
  Floats out;
  EACH_PART out.part[i] = __builtin_convertvector(a.part[i], FloatPart);
  return out;
}

// To the nearest whole number, halves to even. |x| < 2^22.
inline Ints nearest(Floats x) {
  constexpr float MAGIC = 12582912.0f;  // 1.5 * 2^23: what is added to it loses its fraction
  Ints out;
  EACH_PART out.part[i] = (IntPart)(x.part[i] + MAGIC) - (IntPart)(MAGIC - FloatPart{});
  return out;
}

// Folded half on half, until one number is left.
#if defined(__AVX2__)
inline float folded_sum(__m256 eight) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline int32_t folded_sum(__m256i eight) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xee));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0x55)));
}
inline float folded_maximum(__m256 eight) {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
#endif
#if defined(__AVX512F__)
inline float sum(Floats x) {
  const __m512 all = (__m512)x.part[0];
  return folded_sum(_mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1)));
}
inline int32_t sum(Ints x) {
  const __m512i all = (__m512i)x.part[0];
  return folded_sum(_mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti32x8_epi32(all, 1)));
}
inline float maximum(Floats x) {
  const __m512 all = (__m512)x.part[0];
  return folded_maximum(_mm256_max_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1)));
}
#elif defined(__AVX2__)
inline float sum(Floats x) { return folded_sum((__m256)(x.part[0] + x.part[1])); }
inline int32_t sum(Ints x) { return folded_sum((__m256i)(x.part[0] + x.part[1])); }
inline float maximum(Floats x) { return folded_maximum(_mm256_max_ps((__m256)x.part[0], (__m256)x.part[1])); }
#else
inline float sum(Floats x) {
  alignas(64) float lane[LANES];
  store(lane, x);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = lane[i] + lane[i + half];
  return lane[0];
}
inline int32_t sum(Ints x) {
  alignas(64) int32_t lane[LANES];
  store(lane, x);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = lane[i] + lane[i + half];
  return lane[0];
}
inline float maximum(Floats x) {
  alignas(64) float lane[LANES];
  store(lane, x);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  return lane[0];
}
#endif

// Whole numbers that the smaller type holds.
#define STORE_SMALL(TYPE)                                               \
  inline void store_small(TYPE *to, Ints x) {                           \
    using Part = TYPE __attribute__((vector_size(WIDTH * sizeof(TYPE)))); \
    EACH_PART {                                                         \
      const Part part = __builtin_convertvector(x.part[i], Part);       \
      std::memcpy(to + i * WIDTH, &part, sizeof(part));                 \
    }                                                                   \
  }
#if defined(__AVX2__) && !defined(__AVX512F__)
inline void store_small(int8_t *to, Ints x) {  // the compiler's own way takes several times as long
  const __m256i words = _mm256_packs_epi32((__m256i)x.part[0], (__m256i)x.part[1]);
  const __m256i bytes = _mm256_packs_epi16(words, words);
  const __m256i in_order = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0));
  _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm256_castsi256_si128(in_order));
}
#else
STORE_SMALL(int8_t)
#endif
STORE_SMALL(uint16_t)  // of which the lower half is kept
#if defined(__wasm_simd128__)
inline void store_small(int16_t *to, Ints x) {
  for (int i = 0; i < PARTS; i += 2)
    wasm_v128_store(to + i * WIDTH, wasm_i16x8_narrow_i32x4((v128_t)x.part[i], (v128_t)x.part[i + 1]));
}
#endif
#undef STORE_SMALL

constexpr float LOG2E = 1.44269504f;

// 2^x for x <= 127, within 3e-7 of it; 0 below -126.
inline Floats power_of_two(Floats x) {
  constexpr float MAGIC = 12582912.0f;  // see `nearest`
  Floats out;
  EACH_PART {
    const FloatPart shifted = x.part[i] + MAGIC;
    const FloatPart f = x.part[i] - (shifted - MAGIC);
    FloatPart p = f * 1.535336188e-4f + 1.339887440e-3f;
    p = p * f + 9.618437357e-3f;
    p = p * f + 5.550332471e-2f;
    p = p * f + 2.402264791e-1f;
    p = p * f + 6.931472028e-1f;
    p = p * f + 1.0f;
#if defined(__AVX512F__)  // which has the rest in one: the same bits, since p * 2^k is exact
    const __mmask16 large = _mm512_cmp_ps_mask((__m512)x.part[i], _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
    out.part[i] = (FloatPart)_mm512_maskz_scalef_ps(large, (__m512)p, (__m512)(shifted - MAGIC));
#else
    const IntPart exponent = ((IntPart)shifted - (IntPart)(MAGIC - FloatPart{}) + 127) << 23;
    const IntPart small = x.part[i] < -126.0f;
    out.part[i] = (FloatPart)((IntPart)(p * (FloatPart)exponent) & ~small);
#endif
  }
  return out;
}

constexpr int padded(int count) { return (count + LANES - 1) / LANES * LANES; }

}  // namespace worldmodel
