// Products of rows with a weight matrix, sixteen outputs ("a tile") at a time.
#pragma once

#include <vector>

#include "arithmetic.h"

namespace worldmodel {

template <class A>
struct Matrix {
  int steps = 0, tiles = 0;  // of GROUP inputs, of LANES outputs
  Buffer<typename A::Stored> data;
  Buffer<float> scale;  // of each output; 1 for float32

  Matrix() = default;
  // rows: the matrix's, (inputs,) each; null ones are zero.
  Matrix(const std::vector<const float *> &rows, int inputs)
      : steps((inputs + A::GROUP - 1) / A::GROUP),
        tiles((int(rows.size()) + LANES - 1) / LANES),
        data(size_t(tiles) * steps * A::GROUP * LANES),
        scale(size_t(tiles) * LANES) {
    const int width = padded(inputs);
    Rows<A> one(1, width);
    Buffer<float> values(width);
    for (int output = 0; output < tiles * LANES; ++output) {
      const float *row = output < int(rows.size()) ? rows[output] : nullptr;
      std::memset(values, 0, width * sizeof(float));
      if (row != nullptr) std::memcpy(values, row, inputs * sizeof(float));
      one.set(0, values);
      if constexpr (std::is_same_v<A, Int8>)
        scale[output] = one.scale[0];
      else
        scale[output] = 1.0f;
      for (int input = 0; input < steps * A::GROUP; ++input)
        at(output / LANES, input / A::GROUP)[output % LANES * A::GROUP + input % A::GROUP] =
            typename A::Stored(one.row(0)[input] + A::ZERO);
    }
  }
  typename A::Stored *at(int tile, int step) {
    return data + (size_t(tile) * steps + step) * A::GROUP * LANES;
  }
  const typename A::Stored *at(int tile, int step) const { return const_cast<Matrix *>(this)->at(tile, step); }
};

// The outputs of a tile for rows first..first + R - 1.
template <class A, int R>
inline void multiply(const Matrix<A> &matrix, int tile, const Rows<A> &rows, int first, Floats (&out)[R]) {
  typename A::Sum sums[R];
  const typename A::Given *given[R];
  for (int r = 0; r < R; ++r) {
    sums[r] = rows.start(first + r);
    given[r] = rows.row(first + r);
  }
  const typename A::Stored *stored = matrix.at(tile, 0);
  for (int step = 0; step < matrix.steps; ++step, stored += A::GROUP * LANES) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) A::multiply_add(sums[r], stored, given[r] + step * A::GROUP);
  }
  const Floats scale = load(matrix.scale + tile * LANES);
  for (int r = 0; r < R; ++r) {
    out[r] = rows.finish(sums[r], first + r);
    if constexpr (std::is_same_v<A, Int8>) out[r] = out[r] * scale;
  }
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
