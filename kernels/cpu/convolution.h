// Convolutions of 3x3 or 1x1 places as products of rows: a row has the channels of one place.
#pragma once

#include <vector>

#include "linear.h"

namespace worldmodel {

// The places of a picture, with a border of zeros around them.
template <class A>
struct Plane {
  int height = 0, width = 0;
  Rows<A> rows;
  Plane() = default;
  Plane(int height_, int width_, int channels)
      : height(height_), width(width_), rows((height_ + 2) * (width_ + 2), channels, SPAN) {}
  int at(int y, int x) const { return (y + 1) * (width + 2) + x + 1; }
  void set(int place, const float *channels) { rows.set(at(place / width, place % width), channels); }
};

template <class A>
struct Convolution {
  int size = 1, tiles = 0;
  std::vector<Matrix<A>> taps;
  Buffer<float> bias;

  Convolution() = default;
  // weights: (size * size, outputs, inputs); bias: (outputs,).
  Convolution(const float *weights, const float *bias_, int size_, int outputs, int inputs)
      : size(size_), tiles((outputs + LANES - 1) / LANES), bias(tiles * LANES) {
    std::memcpy(bias, bias_, outputs * sizeof(float));
    for (int tap = 0; tap < size * size; ++tap) {
      std::vector<const float *> rows;
      for (int output = 0; output < outputs; ++output) rows.push_back(weights + (size_t(tap) * outputs + output) * inputs);
      taps.emplace_back(rows, inputs);
    }
  }

  // use(place, outputs of the tile) for all places.
  template <class Use>
  void run(const Plane<A> &from, int tile, Use &&use) const {
    const int reach = size / 2;
    for (int y = 0; y < from.height; ++y)
      in_blocks(from.width, MAX_ROWS, [&](int x, int some) {
        with_constant<MAX_ROWS>(some, [&](auto constant) {
          Floats out[constant.value];
          for (Floats &one : out) one = load(bias + tile * LANES);
          for (int tap = 0; tap < size * size; ++tap)
            add_product<A, constant.value>(taps[tap], tile, from.rows, from.at(y + tap / size - reach, x + tap % size - reach),
                                           out);
          for (int r = 0; r < constant.value; ++r) use(y * from.width + x + r, out[r]);
        });
      });
  }
};

}  // namespace worldmodel
