// Twice as many outputs as the layer's middle has, gate and up by turns of a tile, become silu(gate) * up.
#pragma once

#include "linear.h"

namespace worldmodel {

// A tile of the middle of `count` rows. out: (rows, stride).
inline Floats silu(Floats x) {
  return x / (splat(1.0f) + power_of_two(minimum(x * splat(-LOG2E), splat(126.0f))));
}

template <class A>
inline void gate_up(const Matrix<A> &matrix, const Rows<A> &rows, int count, int tile, float *out, int stride) {
  in_blocks(count, MAX_ROWS, [&](int row, int some) {
    with_constant<MAX_ROWS>(some, [&](auto constant) {
      Floats gate[constant.value], up[constant.value];
      multiply<A, constant.value>(matrix, 2 * tile, rows, row, gate);
      multiply<A, constant.value>(matrix, 2 * tile + 1, rows, row, up);
      for (int r = 0; r < constant.value; ++r)
        store(out + size_t(row + r) * stride + tile * LANES, silu(gate[r]) * up[r]);
    });
  });
}

}  // namespace worldmodel
