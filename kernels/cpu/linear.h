// Products of rows with a weight matrix, sixteen outputs ("a tile") at a time.
#pragma once

#include <vector>

#include "arithmetic.h"

namespace worldmodel {

template <class A>
struct Matrix {
  static constexpr bool SCALED = std::is_same_v<A, Int8>;
  int steps = 0, tiles = 0;             // of GROUP inputs, of LANES outputs
  int span_steps = 0, spans = 0;        // steps of a span, all of which share a scale
  Buffer<typename A::Stored> data;
  Buffer<float> scale;  // (tiles, spans, LANES)

  Matrix() = default;
  // rows: the matrix's, (inputs,) each; null ones are zero.
  Matrix(const std::vector<const float *> &rows, int inputs)
      : steps(((TILED<A> ? operand_width<A>(inputs) : inputs) + A::GROUP - 1) / A::GROUP),
        tiles((int(rows.size()) + LANES - 1) / LANES),
        span_steps(SCALED ? SPAN / A::GROUP : steps),
        spans((steps + span_steps - 1) / span_steps),
        data(size_t(tiles) * steps * A::GROUP * LANES),
        scale(size_t(tiles) * spans * LANES) {
    const int width = padded(inputs);
    Rows<A> one(1, width, SPAN);
    Buffer<float> values(width);
    for (int output = 0; output < tiles * LANES; ++output) {
      const int tile = output / LANES, lane = output % LANES;
      const float *row = output < int(rows.size()) ? rows[output] : nullptr;
      std::memset(values, 0, width * sizeof(float));
      if (row != nullptr) std::memcpy(values, row, inputs * sizeof(float));
      one.set(0, values);
      if constexpr (SCALED)
        for (int span = 0; span < spans; ++span) scale[(size_t(tile) * spans + span) * LANES + lane] = one.scale[span];
      auto *to = data + size_t(tile) * steps * A::GROUP * LANES + lane * A::GROUP;
      for (int input = 0; input < steps * A::GROUP; ++input)
        to[input / A::GROUP * A::GROUP * LANES + input % A::GROUP] = typename A::Stored(one.row(0)[input] + A::ZERO);
    }
  }
};

#if defined(__AMX_INT8__)
// As add_product, by the matrix unit: while the sums of a span become floats, it is at the next ones. Row: 0..R - 1, each
// a constant, so that the compiler keeps their outputs in registers.
template <int R, size_t... Row>
inline void add_tile_product(const Matrix<Int8> &matrix, int tile, const Rows<Int8> &rows, int first, Floats (&out)[R],
                             std::index_sequence<Row...>) {
  static_assert(SPAN == TILE_INPUTS, "a span is one tile");
  alignas(64) int32_t sums[TILES_AHEAD][TILE_ROWS * LANES];
  const int spans = matrix.spans;
  const size_t stride = rows.stride;
  const Int8::Given *given = rows.row(first);
  const Int8::Stored *stored = matrix.data + size_t(tile) * spans * SPAN * LANES;
  const float *scale = matrix.scale + size_t(tile) * spans * LANES, *row_scale = rows.scale + size_t(first) * spans;
  const int32_t *offset = rows.offset + size_t(first) * spans;
  Floats added[R] = {out[Row]...};
  before_tiles();
  for (int span = 1 - TILES_AHEAD; span < spans; ++span) {
    const int next = span + TILES_AHEAD - 1;
    if (next < spans) {
      if (first == 0) fetch_tile(stored + size_t(next + FETCHED_AHEAD) * SPAN * LANES);  // for the other rows, it is near
      multiply_tile(given + next * SPAN, stride, stored + size_t(next) * SPAN * LANES, sums[next % TILES_AHEAD]);
    }
    if (span < 0) continue;
    const Floats scales = load(scale + span * LANES);
    const int32_t *whole = sums[span % TILES_AHEAD];
    ((added[Row] = added[Row] + to_floats(load(whole + Row * LANES) + splat(offset[Row * spans + span])) *
                                    splat(row_scale[Row * spans + span]) * scales),
     ...);
  }
  ((out[Row] = added[Row]), ...);
}
#endif

// Adds the outputs of a tile for rows first..first + R - 1.
template <class A, int R>
inline void add_product(const Matrix<A> &matrix, int tile, const Rows<A> &rows, int first, Floats (&out)[R]) {
#if defined(__AMX_INT8__)
  if constexpr (TILED<A> && R >= LEAST_TILE_ROWS)
    return add_tile_product<R>(matrix, tile, rows, first, out, std::make_index_sequence<R>());
#endif
  const typename A::Given *given[R];
  EACH_ROW given[r] = rows.row(first + r);
  const typename A::Stored *stored = matrix.data + size_t(tile) * matrix.steps * A::GROUP * LANES;
  for (int span = 0, step = 0; span < matrix.spans; ++span) {
    typename A::Sum sums[R];
    EACH_ROW sums[r] = rows.start(first + r, span);
    for (const int end = std::min(step + matrix.span_steps, matrix.steps); step < end; ++step) {
      EACH_ROW A::multiply_add(sums[r], stored + size_t(step) * A::GROUP * LANES, given[r] + step * A::GROUP);
    }
    EACH_ROW {
      Floats part = rows.finish(sums[r], first + r, span);
      if constexpr (Matrix<A>::SCALED) part = part * load(matrix.scale + (size_t(tile) * matrix.spans + span) * LANES);
      out[r] = out[r] + part;
    }
  }
}

// The same, and nothing else.
template <class A, int R>
inline void multiply(const Matrix<A> &matrix, int tile, const Rows<A> &rows, int first, Floats (&out)[R]) {
  EACH_ROW out[r] = splat(0.0f);
  add_product<A, R>(matrix, tile, rows, first, out);
}

// use(row, tile, outputs) for each of `count` rows.
template <class A, class Use>
inline void linear(const Matrix<A> &matrix, const Rows<A> &rows, int count, int tile, Use &&use) {
  in_blocks(count, MAX_ROWS, [&](int row, int some) {
    with_constant<MAX_ROWS>(some, [&](auto constant) {
      Floats out[constant.value];
      multiply<A, constant.value>(matrix, tile, rows, row, out);
      for (int r = 0; r < constant.value; ++r) use(row + r, tile, out[r]);
    });
  });
}

}  // namespace worldmodel
