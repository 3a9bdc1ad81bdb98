// Products of 32 x 32 blocks in bf16, summed in float32: by the processor's tiles (AMX) where the path has them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tiles.h"
#include "vector.h"

namespace worldmodel {

using Bf16 = uint16_t;
constexpr int BLOCK = 32;  // rows and columns of a product, and the steps of its sums

constexpr int in_blocks_of(int count) { return (count + BLOCK - 1) / BLOCK * BLOCK; }

inline float widened(Bf16 x) {
  const uint32_t bits = uint32_t(x) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

// Sixteen, from any address.
inline Floats widened(const Bf16 *from) {
  using Part = Bf16 __attribute__((vector_size(WIDTH * sizeof(Bf16))));
  Floats out;
  EACH_PART {
    Part part;
    std::memcpy(&part, from + i * WIDTH, sizeof(part));
    out.part[i] = (FloatPart)(__builtin_convertvector(part, IntPart) << 16);
  }
  return out;
}

#if !defined(__AVX512BF16__)
// To the nearest, halves to even: bf16 in the upper halves of the lanes, and anything in the lower ones.
inline Ints rounded_bits(Floats x) {
  Ints out;
  EACH_PART {
    const IntPart bits = (IntPart)x.part[i];
    out.part[i] = bits + 0x7fff + ((bits >> 16) & 1);
  }
  return out;
}
#endif
inline Bf16 narrowed(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return Bf16((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

#if defined(__AVX512BF16__)
// The first sixteen, then the others. Numbers below the smallest normal one become zero.
inline __m512i narrowed(Floats first, Floats second) {
  return (__m512i)_mm512_cvtne2ps_pbh((__m512)second.part[0], (__m512)first.part[0]);
}
// Sixteen pairs.
inline __m512i paired(Floats first, Floats second) {
  alignas(64) static constexpr Bf16 PAIRS[2 * LANES] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(PAIRS), narrowed(first, second));
}
inline void store_paired(Bf16 *to, Floats first, Floats second) { _mm512_store_si512(to, paired(first, second)); }
// 32 side by side.
inline void store_narrowed(Bf16 *to, Floats first, Floats second) { _mm512_store_si512(to, narrowed(first, second)); }
#else
// Sixteen pairs, as the right operand of a product has them.
inline void store_paired(Bf16 *to, Floats first, Floats second) {
  const Ints low = rounded_bits(first), high = rounded_bits(second);
  Ints both;
  EACH_PART both.part[i] = ((low.part[i] >> 16) & 0xffff) | (high.part[i] & ~0xffff);
  std::memcpy(to, &both, sizeof(both));
}
// 32 side by side.
inline void store_narrowed(Bf16 *to, Floats first, Floats second) {
  store_small(to, rounded_bits(first) >> 16);
  store_small(to + LANES, rounded_bits(second) >> 16);
}
#endif

// a * b - c.
inline Floats difference(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  a.part[0] = (FloatPart)_mm512_fmsub_ps((__m512)a.part[0], (__m512)b.part[0], (__m512)c.part[0]);
  return a;
#else
  return a * b - c;
#endif
}

// 2^x for x <= 127, within 3e-6 of it: more exactly than bf16 tells it, in a third of the time.
inline Floats power_of_two_in_bf16(Floats x) {
#if defined(__AVX512DQ__)
  const __m512 given = (__m512)x.part[0], f = _mm512_reduce_ps(given, _MM_FROUND_TO_NEG_INF);  // above its floor
  __m512 p = _mm512_set1_ps(1.35341603e-2f);  // fitted so that the largest relative error is smallest
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.20114750e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.41442755e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93003833e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.00000262f));
  x.part[0] = (FloatPart)_mm512_scalef_ps(p, given);  // by its floor
  return x;
#else
  return power_of_two(x);
#endif
}

// See multiply_block. ROWS: 32, or 16 for the upper half alone.
template <int ROWS>
inline void multiply_rows(const Bf16 *left, int left_stride, const Bf16 *right, int right_stride, int steps, float *out,
                          int out_stride, bool add) {
#if defined(__AMX_BF16__)
  before_tiles();
  float *const lower = out + size_t(16) * out_stride;
  const size_t out_bytes = size_t(out_stride) * 4, left_bytes = size_t(left_stride) * 2,
               right_bytes = size_t(right_stride) * 2;
  if (add) {
    _tile_loadd(0, out, out_bytes);
    _tile_loadd(1, out + 16, out_bytes);
    if (ROWS > 16) {
      _tile_loadd(2, lower, out_bytes);
      _tile_loadd(3, lower + 16, out_bytes);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if (ROWS > 16) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  for (int step = 0; step < steps; ++step, left += BLOCK, right += size_t(BLOCK / 2) * right_stride) {
    _tile_loadd(4, left, left_bytes);
    _tile_loadd(6, right, right_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, right + 32, right_bytes);
    _tile_dpbf16ps(1, 4, 7);
    if (ROWS > 16) {
      _tile_loadd(5, left + size_t(16) * left_stride, left_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, out, out_bytes);
  _tile_stored(1, out + 16, out_bytes);
  if (ROWS > 16) {
    _tile_stored(2, lower, out_bytes);
    _tile_stored(3, lower + 16, out_bytes);
  }
#else
  for (int row = 0; row < ROWS; ++row)
    for (int column = 0; column < BLOCK; ++column) {
      float sum = add ? out[size_t(row) * out_stride + column] : 0.0f;
      for (int step = 0; step < steps * BLOCK; ++step)
        sum += widened(left[size_t(row) * left_stride + step]) *
               widened(right[size_t(step / 2) * right_stride + column * 2 + step % 2]);
      out[size_t(row) * out_stride + column] = sum;
    }
#endif
}

// out (32, 32) becomes, or gets added, the product of `rows` rows of `left` (computed in sixteens), `left_stride` numbers
// apart, and `right`: pairs of its rows side by side, `right_stride` numbers from one pair to the next. steps: of 32.
inline void multiply_block(const Bf16 *left, int left_stride, const Bf16 *right, int right_stride, int steps, float *out,
                           int out_stride, bool add, int rows = BLOCK) {
  if (rows > BLOCK / 2)
    multiply_rows<BLOCK>(left, left_stride, right, right_stride, steps, out, out_stride, add);
  else
    multiply_rows<BLOCK / 2>(left, left_stride, right, right_stride, steps, out, out_stride, add);
}

}  // namespace worldmodel
