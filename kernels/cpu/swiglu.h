// Twice as many outputs as the layer's middle has, gate and up by turns of a tile, become silu(gate) * up.
#pragma once

#include "linear.h"

namespace worldmodel {

// A tile of the middle of `count` rows. out: (rows, stride).
template <class A>
inline void gate_up(const Matrix<A> &matrix, const Rows<A> &rows, int count, int tile, float *out, int stride) {
  in_blocks(count, MAX_ROWS, [&](int row, int some) {
    with_constant<MAX_ROWS>(some, [&](auto constant) {
      Floats gate[constant.value], up[constant.value];
      multiply<A, constant.value>(matrix, 2 * tile, rows, row, gate);
      multiply<A, constant.value>(matrix, 2 * tile + 1, rows, row, up);
      for (int r = 0; r < constant.value; ++r) {
        const Floats lower = power_of_two(minimum(gate[r] * splat(-LOG2E), splat(126.0f)));
        const Floats silu = gate[r] / (splat(1.0f) + lower);
        store(out + size_t(row + r) * stride + tile * LANES, silu * up[r]);
      }
    });
  });
}

}  // namespace worldmodel
