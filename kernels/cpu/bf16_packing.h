// The operands of products of blocks in bf16 (bf16_tiles.h), put in order from rows in memory; and what they make, put
// back into rows.
#pragma once

#include "bf16_tiles.h"

namespace worldmodel {

// Where the 32 rows of a block lie.
using BlockRows = const Bf16 *const *;

#if defined(__AVX512BW__) && defined(__AVX512BF16__)

// Sixteen rows of sixteen 32-bit numbers: rows become columns.
inline void transpose(__m512i *x) {
  __m512i y[16];
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      x[i + 2 * j] = _mm512_unpacklo_epi64(y[i + j], y[i + 2 + j]);
      x[i + 2 * j + 1] = _mm512_unpackhi_epi64(y[i + j], y[i + 2 + j]);
    }
  for (int j = 0; j < 4; ++j)  // each now holds columns j, 4 + j, 8 + j, 12 + j of four rows
    for (int i = 0; i < 16; i += 8) {
      y[i + j] = _mm512_shuffle_i32x4(x[i + j], x[i + 4 + j], 0x88);
      y[i + 4 + j] = _mm512_shuffle_i32x4(x[i + j], x[i + 4 + j], 0xdd);
    }
  for (int j = 0; j < 8; ++j) {
    x[j] = _mm512_shuffle_i32x4(y[j], y[8 + j], 0x88);
    x[8 + j] = _mm512_shuffle_i32x4(y[j], y[8 + j], 0xdd);
  }
}

// Of 64 numbers in two registers, the even ones (first = 0) or the odd ones (1).
inline __m512i every_second(__m512i low, __m512i high, int first) {
  alignas(64) static constexpr Bf16 EVEN[2 * LANES] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                                       32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62};
  const __m512i which = _mm512_add_epi16(_mm512_load_si512(EVEN), _mm512_set1_epi16(short(first)));
  return _mm512_permutex2var_epi16(low, which, high);
}

// Pairs of two registers' numbers: of their lower halves (upper = 0), or of their upper ones (1).
inline __m512i in_pairs(__m512i first, __m512i second, int upper) {
  alignas(64) static constexpr Bf16 PAIRS[2 * LANES] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                        8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i which = _mm512_add_epi16(_mm512_load_si512(PAIRS), _mm512_set1_epi16(short(16 * upper)));
  return _mm512_permutex2var_epi16(first, which, second);
}

#endif

// 32 rows as a right operand with them as columns: pairs of their numbers, (size / 2, 32, 2).
inline void as_columns(BlockRows rows, int size, Bf16 *to) {
  for (int at = 0; at < size; at += BLOCK)
    for (int half = 0; half < BLOCK; half += LANES) {
#if defined(__AVX512BW__) && defined(__AVX512BF16__)
      __m512i x[LANES];
      for (int i = 0; i < LANES; ++i) x[i] = _mm512_loadu_si512(rows[half + i] + at);
      transpose(x);
      for (int i = 0; i < LANES; ++i) _mm512_store_si512(to + (size_t(at / 2 + i) * BLOCK + half) * 2, x[i]);
#else
      for (int row = half; row < half + LANES; ++row)
        for (int i = at; i < at + BLOCK; ++i) to[(size_t(i / 2) * BLOCK + row) * 2 + i % 2] = rows[row][i];
#endif
    }
}

// 32 rows as a right operand: they in pairs, (16, size, 2).
inline void as_row_pairs(BlockRows rows, int size, Bf16 *to) {
  for (int pair = 0; pair < BLOCK / 2; ++pair) {
    const Bf16 *first = rows[2 * pair], *second = rows[2 * pair + 1];
    for (int at = 0; at < size; at += BLOCK) {
      Bf16 *here = to + (size_t(pair) * size + at) * 2;
#if defined(__AVX512BW__) && defined(__AVX512BF16__)
      const __m512i a = _mm512_loadu_si512(first + at), b = _mm512_loadu_si512(second + at);
      _mm512_store_si512(here, in_pairs(a, b, 0));
      _mm512_store_si512(here + BLOCK, in_pairs(a, b, 1));
#else
      for (int i = 0; i < BLOCK; ++i) here[2 * i] = first[at + i], here[2 * i + 1] = second[at + i];
#endif
    }
  }
}

// 32 rows as columns, (size, stride), of which they are the first 32.
inline void transposed(BlockRows rows, int size, Bf16 *to, int stride) {
#if defined(__AVX512BW__) && defined(__AVX512BF16__)
  for (int at = 0; at < size; at += BLOCK) {
    __m512i low[LANES], high[LANES];
    for (int i = 0; i < LANES; ++i) low[i] = _mm512_loadu_si512(rows[i] + at);
    for (int i = 0; i < LANES; ++i) high[i] = _mm512_loadu_si512(rows[LANES + i] + at);
    transpose(low), transpose(high);
    for (int i = 0; i < LANES; ++i)
      for (int odd = 0; odd < 2; ++odd)
        _mm512_store_si512(to + size_t(at + 2 * i + odd) * stride, every_second(low[i], high[i], odd));
  }
#else
  for (int row = 0; row < BLOCK; ++row)
    for (int i = 0; i < size; ++i) to[size_t(i) * stride + row] = rows[row][i];
#endif
}

// A made block's columns (size, 32), each by its factor, become rows; `count` of them.
inline void columns_to_rows(const float *made, const float *factors, int size, int count, Bf16 *const *rows) {
#if defined(__AVX512BW__) && defined(__AVX512BF16__)
  for (int at = 0; at < size; at += BLOCK)
    for (int half = 0; half < BLOCK; half += LANES) {
      __m512i x[LANES];
      const Floats factor = load(factors + half);
      for (int i = 0; i < LANES; ++i) {
        const float *from = made + size_t(at + 2 * i) * BLOCK + half;
        x[i] = paired(load(from) * factor, load(from + BLOCK) * factor);
      }
      transpose(x);
      for (int i = 0; i < LANES && half + i < count; ++i) _mm512_storeu_si512(rows[half + i] + at, x[i]);
    }
#else
  for (int row = 0; row < count; ++row)
    for (int i = 0; i < size; ++i) rows[row][i] = narrowed(made[size_t(i) * BLOCK + row] * factors[row]);
#endif
}

// The same in float32, all by one factor.
inline void columns_to_rows(const float *made, float factor, int size, int count, float *const *rows) {
#if defined(__AVX512BW__) && defined(__AVX512BF16__)
  for (int at = 0; at < size; at += LANES)
    for (int half = 0; half < BLOCK; half += LANES) {
      __m512i x[LANES];
      for (int i = 0; i < LANES; ++i)
        x[i] = (__m512i)(load(made + size_t(at + i) * BLOCK + half) * splat(factor)).part[0];
      transpose(x);
      for (int i = 0; i < LANES && half + i < count; ++i) _mm512_storeu_si512(rows[half + i] + at, x[i]);
    }
#else
  for (int row = 0; row < count; ++row)
    for (int i = 0; i < size; ++i) rows[row][i] = made[size_t(i) * BLOCK + row] * factor;
#endif
}

}  // namespace worldmodel
