// Keys and values of the ring's blocks. A block has `length` entries in tiles of sixteen; a tile is an operand as
// arithmetic.h keeps it: of keys, sixteen entries side by side for each GROUP of a head's numbers; of values, sixteen
// numbers side by side for each GROUP of entries.
#pragma once

#include "arithmetic.h"

namespace worldmodel {

template <class A>
struct Cache {
  int size = 0;  // of a head's vector, padded
  int layers = 0, heads = 0, tiles = 0;
  Buffer<typename A::Stored> keys, values;
  Buffer<float> key_scale, value_scale;

  Cache() = default;
  Cache(int layers_, int heads_, int tiles_, int head_dim)
      : size(operand_width<A>(head_dim)),
        layers(layers_),
        heads(heads_),
        tiles(tiles_),
        keys(count() * size),
        values((count() + (TILED<A> ? TILE_INPUTS - LANES : 0)) * size),  // a product may read behind the last
        key_scale(count()),
        value_scale(count()) {}

  // Entries before those of a tile, over all layers and heads.
  size_t first(int layer, int head, int tile) const { return ((size_t(layer) * heads + head) * tiles + tile) * LANES; }

  // key, value: (size,) floats, zero behind the head's own numbers.
  void write(int layer, int head, int tile, int lane, const float *key, const float *value, Rows<A> &scratch) {
    const size_t entry = first(layer, head, tile);
    constexpr int GROUP = A::GROUP;
    scratch.set(0, key);
    auto *to = keys + entry * size + lane * GROUP;
    for (int i = 0; i < size; i += LANES) {
      const auto stored = sixteen(scratch.row(0) + i);
      for (int j = 0; j < LANES; j += GROUP)
        std::memcpy(to + (i + j) * LANES, stored.number + j, GROUP * sizeof(stored.number[0]));
    }
    if constexpr (std::is_same_v<A, Int8>) key_scale[entry + lane] = scratch.scale[0];
    scratch.set(0, value);
    to = values + entry * size + lane / GROUP * GROUP * size + lane % GROUP;
    for (int i = 0; i < size; i += LANES) {
      const auto stored = sixteen(scratch.row(0) + i);
      for (int j = 0; j < LANES; ++j) to[(i + j) * GROUP] = stored.number[j];
    }
    if constexpr (std::is_same_v<A, Int8>) value_scale[entry + lane] = scratch.scale[0];
  }

  // Makes some tiles as they were at first: entries whose keys and values are zero.
  void clear(int first_tile, int count) {
    for (int layer = 0; layer < layers; ++layer)
      for (int head = 0; head < heads; ++head) {
        const size_t entry = first(layer, head, first_tile), entries = size_t(count) * LANES;
        if constexpr (std::is_same_v<A, Int8>) {  // what has no scale is zero
          std::memset(key_scale + entry, 0, entries * sizeof(float));
          std::memset(value_scale + entry, 0, entries * sizeof(float));
        } else {
          std::memset(keys + entry * size, 0, entries * size * sizeof(float));
          std::memset(values + entry * size, 0, entries * size * sizeof(float));
        }
      }
  }

 private:
  struct Sixteen {
    typename A::Stored number[LANES];
  };
  static Sixteen sixteen(const typename A::Given *given) {
    Sixteen out;
    for (int i = 0; i < LANES; ++i) out.number[i] = typename A::Stored(given[i] + A::ZERO);
    return out;
  }
  size_t count() const { return size_t(layers) * heads * tiles * LANES; }
};

}  // namespace worldmodel
