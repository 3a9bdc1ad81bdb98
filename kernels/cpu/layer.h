// A layer's weights.
#pragma once

#include <vector>

#include "inputs.h"

namespace worldmodel {

template <class A>
struct Layer {
  Buffer<float> norm, post_norm;
  Matrix<A> qkv, output, gate_up, down;

  // next: see Model::weights; moved to the layer behind.
  Layer(const Model &m, const float *const *&next) {
    norm = table(*next++, 1, m.hidden);
    std::vector<const float *> rows;
    for (const int heads : {m.heads, m.kv_heads, m.kv_heads}) append(rows, *next++, heads * m.head_dim, m.hidden);
    qkv = Matrix<A>(rows, m.hidden);
    output = matrix(*next++, m.hidden, m.heads * m.head_dim);
    post_norm = table(*next++, 1, m.hidden);
    rows.clear();
    const float *gate = *next++, *up = *next++;
    for (int first = 0; first < padded(m.mlp); first += LANES)
      for (const float *half : {gate, up})
        for (int row = first; row < first + LANES; ++row)
          rows.push_back(row < m.mlp ? half + size_t(row) * m.hidden : nullptr);
    gate_up = Matrix<A>(rows, m.hidden);
    down = matrix(*next++, m.hidden, m.mlp);
  }

  static Matrix<A> matrix(const float *weights, int outputs, int inputs) {
    std::vector<const float *> rows;
    append(rows, weights, outputs, inputs);
    return Matrix<A>(rows, inputs);
  }
};

}  // namespace worldmodel
