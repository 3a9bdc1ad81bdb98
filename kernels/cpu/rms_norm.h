// Root-mean-square normalisation (arXiv 1910.07467).
#pragma once

#include <cmath>

#include "vector.h"

namespace worldmodel {

// x, weight, out: (padded(size),), zero behind `size`.
inline void rms_norm(const float *x, const float *weight, int size, float epsilon, float *out) {
  Floats squares = splat(0.0f);
  for (int i = 0; i < size; i += LANES) squares = squares + load(x + i) * load(x + i);
  const Floats factor = splat(1.0f / std::sqrt(sum(squares) / float(size) + epsilon));
  for (int i = 0; i < size; i += LANES) store(out + i, load(x + i) * factor * load(weight + i));
}

}  // namespace worldmodel
