// Twice as many outputs as the layer's middle has, gate and up by turns of a tile, become silu(gate) * up.
#pragma once

#include "linear.h"

namespace worldmodel {

// The middle's tiles first..last - 1 of `count` rows. out: (rows, stride).
template <class A>
inline void gate_up(
    const Matrix<A> &matrix, const Rows<A> &rows, int count, int first, int last, float *out, int stride) {
  for (int tile = first; tile < last; ++tile)
    in_blocks(count, MAX_ROWS, [&](int row, int some) {
      with_constant<MAX_ROWS>(some, [&](auto constant) {
        Floats gate[constant.value], up[constant.value];
        multiply<A, constant.value>(matrix, 2 * tile, rows, row, gate);
        multiply<A, constant.value>(matrix, 2 * tile + 1, rows, row, up);
        for (int r = 0; r < constant.value; ++r) {
          const Floats silu = gate[r] / (splat(1.0f) + exponential(splat(0.0f) - gate[r]));
          store(out + size_t(row + r) * stride + tile * LANES, silu * up[r]);
        }
      });
    });
}

}  // namespace worldmodel
