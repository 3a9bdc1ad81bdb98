// Rotary position embedding, rotate-half.
#pragma once

namespace worldmodel {

// x, out: (2 * pairs,); cosine, sine: (pairs,).
inline void rotate(const float *x, const float *cosine, const float *sine, int pairs, float *out) {
  for (int i = 0; i < pairs; ++i) {
    const float a = x[i], b = x[pairs + i];
    out[i] = a * cosine[i] - b * sine[i];
    out[pairs + i] = b * cosine[i] + a * sine[i];
  }
}

}  // namespace worldmodel
