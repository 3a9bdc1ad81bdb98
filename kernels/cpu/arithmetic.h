// The two arithmetics that the decoder is written for. Each says how an operand is kept (weights, keys, values: sixteen
// outputs side by side, GROUP inputs each), what it is multiplied with (rows of Given), and how products are added up.
// Int8: both in -127..127 with a scale, sums exact in int32 and so the same on every path.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

#include "tiles.h"
#include "vector.h"
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

namespace worldmodel {

[[noreturn]] inline void no_memory() {
#if defined(__cpp_exceptions)
  throw std::bad_alloc();
#else
  std::abort();
#endif
}

// Memory at a multiple of 64 bytes, zero at first.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t count) {
    const size_t bytes = (count * sizeof(T) + 127) / 64 * 64;
    data_ = static_cast<T *>(std::aligned_alloc(64, bytes));
    if (data_ == nullptr) no_memory();
    std::memset(static_cast<void *>(data_), 0, bytes);
  }
  Buffer(Buffer &&other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  Buffer &operator=(Buffer &&other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~Buffer() { std::free(data_); }
  operator T *() { return data_; }
  operator const T *() const { return data_; }

 private:
  T *data_ = nullptr;
};

struct Float32 {
  using Stored = float;
  using Given = float;
  using Sum = Floats;
  static constexpr int GROUP = 1;
  static constexpr Stored ZERO = 0;

  static void multiply_add(Sum &sum, const Stored *stored, const Given *given) {
    sum = sum + load(stored) * splat(*given);
  }
};

struct Int8 {
#if defined(__wasm_simd128__)  // which multiplies int16 alone: what is stored becomes that when it is read
  using Stored = int8_t;
  using Given = int16_t;
  static constexpr int GROUP = 2, ZERO = 0;
#else
  using Stored = uint8_t;  // value + 128
  using Given = int8_t;
  static constexpr int GROUP = 4, ZERO = 128;
#endif
  using Sum = Ints;
  // A share of attention has 14 bits: in one Given, or as 128 * high + low in two. As many tiles fit into a sum.
  static constexpr int SHARE_PARTS = sizeof(Given) == 1 ? 2 : 1, SHARED_TILES = SHARE_PARTS == 2 ? 1 << 13 : 64;

  // What a sum starts from, for a row of `given` whose values add up to `total`.
  static int32_t offset(int32_t total) {
#if defined(__AVX512VNNI__)
    return -128 * total;  // for the 128 that each stored value is too large
#else
    (void)total;
    return 0;
#endif
  }
  static Sum start(int32_t total) { return splat(offset(total)); }

#if defined(__AVX2__) && !defined(__AVX512VNNI__)
  static __m256i values(const Stored *stored, int part) {
    const __m256i bytes = _mm256_load_si256(reinterpret_cast<const __m256i *>(stored) + part);
    return _mm256_xor_si256(bytes, _mm256_set1_epi8(-128));
  }
  // Of 0..127 and -127..127: a pair of products is at most 2 * 127 * 127, which int16 holds.
  static void add_pairs(Sum &sum, int part, __m256i positive, __m256i other) {
    const __m256i pairs = _mm256_maddubs_epi16(positive, other);
    sum.part[part] = sum.part[part] + (IntPart)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }
#endif

  static void multiply_add(Sum &sum, const Stored *stored, const Given *given) {
#if defined(__AVX512VNNI__)
    int32_t four;
    std::memcpy(&four, given, 4);
    sum.part[0] = (IntPart)_mm512_dpbusd_epi32((__m512i)sum.part[0], _mm512_load_si512(stored), _mm512_set1_epi32(four));
#elif defined(__AVX2__)
    int32_t four;
    std::memcpy(&four, given, 4);
    const __m256i row = _mm256_set1_epi32(four), size = _mm256_abs_epi8(row);
    // |row| * (value with row's sign)
    EACH_PART add_pairs(sum, i, size, _mm256_sign_epi8(values(stored, i), row));
#elif defined(__ARM_FEATURE_DOTPROD)
    int32_t four;
    std::memcpy(&four, given, 4);
    const int8x16_t row = vreinterpretq_s8_s32(vdupq_n_s32(four));
    EACH_PART {
      const int8x16_t value = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(stored + 16 * i), vdupq_n_u8(128)));
      sum.part[i] = (IntPart)vdotq_s32((int32x4_t)sum.part[i], value, row);
    }
#elif defined(__wasm_simd128__)
    const v128_t row = wasm_v128_load32_splat(given);
    EACH_PART sum.part[i] = sum.part[i] + (IntPart)wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(stored + 8 * i), row);
#else
    alignas(64) int32_t added[LANES];
    for (int lane = 0; lane < LANES; ++lane) {
      added[lane] = 0;
      for (int j = 0; j < GROUP; ++j) added[lane] += (int32_t(stored[lane * GROUP + j]) - ZERO) * given[j];
    }
    sum = sum + load(added);
#endif
  }
};

// As A::multiply_add, where what is given is in 0..127: shares.
template <class A>
inline void multiply_add_share(typename A::Sum &sum, const typename A::Stored *stored, const typename A::Given *given) {
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
  if constexpr (std::is_same_v<A, Int8>) {
    int32_t four;
    std::memcpy(&four, given, 4);
    const __m256i row = _mm256_set1_epi32(four);
    EACH_PART Int8::add_pairs(sum, i, row, Int8::values(stored, i));
    return;
  }
#endif
  A::multiply_add(sum, stored, given);
}

// How many rows are multiplied with a stored operand at once: as many sums as registers hold.
#if defined(__AMX_INT8__)
constexpr int MAX_ROWS = TILE_ROWS, VALUE_ROWS = 3, VALUE_TILES = 4;
#elif defined(__AVX512F__)
constexpr int MAX_ROWS = 14, VALUE_ROWS = 3, VALUE_TILES = 4;
#elif defined(__wasm_simd128__)
constexpr int MAX_ROWS = 4, VALUE_ROWS = 4, VALUE_TILES = 1;
#elif defined(__AVX2__)
constexpr int MAX_ROWS = 4, VALUE_ROWS = 2, VALUE_TILES = 1;
#else
constexpr int MAX_ROWS = 4, VALUE_ROWS = 1, VALUE_TILES = 2;
#endif

// Each of R rows, one after the other in the code: an array that is indexed by a constant alone stays in registers.
#define EACH_ROW \
  _Pragma("GCC unroll 16") for (int r = 0; r < R; ++r)

// Calls call(std::integral_constant<int, count>): count in 1..MOST becomes a constant of the compiler's.
template <int MOST, class Call>
inline void with_constant(int count, Call &&call) {
  if (count == MOST)
    call(std::integral_constant<int, MOST>{});
  else if constexpr (MOST > 1)
    with_constant<MOST - 1>(count, call);
}

// Calls call(first, count) for blocks of at most `most` of `rows`, of nearly one size.
template <class Call>
inline void in_blocks(int rows, int most, Call &&call) {
  const int blocks = (rows + most - 1) / most;
  for (int block = 0; block < blocks; ++block) {
    const int first = rows * block / blocks;
    call(first, rows * (block + 1) / blocks - first);
  }
}

// Numbers of a row in -127..127, their scale, and what their products start from: values[i] ~ out[i] * scale. count: a multiple of 16.
inline void quantise(const float *values, int count, Int8::Given *out, float &scale, int32_t &offset) {
  Floats largest = splat(0.0f);
  for (int i = 0; i < count; i += LANES) largest = maximum(absolute(load(values + i)), largest);
  const float most = maximum(largest);
  scale = most / 127.0f;
  const Floats factor = splat(most > 0 ? 127.0f / most : 0.0f);
  Ints added = splat(0);
  for (int i = 0; i < count; i += LANES) {
    const Ints whole = nearest(load(values + i) * factor);
    added = added + whole;
    store_small(out + i, whole);
  }
  offset = Int8::offset(sum(added));
}

// Inputs that share a scale in a matrix and in the rows that it is multiplied with: one large number among them costs the
// others their precision.
constexpr int SPAN = 64;

// Whether products are made by the matrix unit.
template <class A>
constexpr bool TILED = HAS_TILES && std::is_same_v<A, Int8>;

// Inputs of an operand, with zeros behind its own: whole tiles where they are multiplied by tiles.
template <class A>
constexpr int operand_width(int count) {
  constexpr int STEP = TILED<A> ? TILE_INPUTS : LANES;
  return (count + STEP - 1) / STEP * STEP;
}

// Rows that are multiplied with a stored operand. Int8: `span` numbers of a row share a scale.
template <class A>
struct Rows;

template <>
struct Rows<Float32> {
  int stride = 0;
  Buffer<float> data;
  Rows() = default;
  Rows(int rows, int columns, int) : stride(padded(columns)), data(size_t(rows) * stride) {}
  const float *row(int index) const { return data + size_t(index) * stride; }
  void set(int index, const float *values) { std::memcpy(data + size_t(index) * stride, values, stride * sizeof(float)); }
  Floats start(int, int) const { return splat(0.0f); }
  Floats finish(Floats sum, int, int) const { return sum; }
};

template <>
struct Rows<Int8> {
  int columns = 0, stride = 0, span = 0, spans = 0;
  Buffer<Int8::Given> data;
  Buffer<float> scale;
  Buffer<int32_t> offset;
  Rows() = default;
  Rows(int rows, int columns_, int span_)
      : columns(padded(columns_)),
        stride(operand_width<Int8>(columns)),
        span(span_),
        spans((columns + span - 1) / span),
        data(size_t(rows + (HAS_TILES ? TILE_ROWS - 1 : 0)) * stride),
        scale(size_t(rows) * spans),
        offset(size_t(rows) * spans) {}
  const Int8::Given *row(int index) const { return data + size_t(index) * stride; }
  void set(int index, const float *values) {
    Int8::Given *to = data + size_t(index) * stride;
    for (int i = 0; i < spans; ++i)
      quantise(values + i * span, std::min(span, columns - i * span), to + i * span, scale[index * spans + i],
               offset[index * spans + i]);
  }
  Ints start(int index, int which) const { return splat(offset[index * spans + which]); }
  Floats finish(Ints sum, int index, int which) const {
    return to_floats(sum) * splat(scale[index * spans + which]);
  }
};

}  // namespace worldmodel
