// What both kinds of attention's products, by vectors (attention.h) and by tiles (attention_tiles.h), have in common.
#pragma once

#include <algorithm>
#include <vector>

#include "cache.h"

namespace worldmodel {

struct VisibleTile {
  int32_t tile;
  uint32_t entries;  // a bit for each of its sixteen
};
constexpr uint32_t ALL_ENTRIES = 0xffff;

// Those of a tile's entries that are among its first `count` ones; count: any number.
inline uint32_t up_to(uint32_t entries, int count) {
  return count >= LANES ? entries : count <= 0 ? 0 : entries & (ALL_ENTRIES >> (LANES - count));
}

// The scores of a tile: those of entries that are not seen become so small that their share is 0.
inline Floats only(Floats scores, uint32_t entries) {
  alignas(64) static constexpr int32_t BITS[LANES] = {1,      1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                                                      1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
  return where_set(load(BITS) & splat(int32_t(entries)), scores, splat(-1e30f));
}

// Tiles that are seen, first..first + count - 1 of them, and lie side by side in the cache: a product of shares and values
// by the matrix unit takes so many at once. entry: the first one's.
struct Run {
  int first, count;
  size_t entry;
};
constexpr int RUN_TILES = TILE_INPUTS / LANES;

// One thread's working memory. tiles: so many are seen at most; size: of a head's vector.
template <class A>
struct AttentionScratch {
  int width = 0;  // entries
  Buffer<float> scores;
  Buffer<Int8::Given> high, low;  // shares of rows: see Int8::SHARE_PARTS; low is empty for one part
  int32_t high_total[MAX_ROWS], low_total[MAX_ROWS];
  float factor[MAX_ROWS];  // what a row's mixed values are multiplied with
  Buffer<Int8::Given> queries;  // of the rows, one behind the other
  std::vector<Run> runs;        // of what is seen

  AttentionScratch() = default;
  AttentionScratch(int tiles, int size)
      : width(tiles * LANES),
        scores(size_t(MAX_ROWS) * width),
        high(std::is_same_v<A, Int8> ? shares() : 0),
        low(std::is_same_v<A, Int8> && Int8::SHARE_PARTS == 2 ? shares() : 0),
        queries(TILED<A> ? size_t(TILE_ROWS) * size : 0) {
    runs.reserve(TILED<A> ? tiles : 0);
  }

 private:
  // Of all rows: by tiles, each one that is seen may be a run of its own.
  size_t shares() const { return size_t(MAX_ROWS) * width * (TILED<A> ? RUN_TILES : 1); }
};

constexpr float SHARE_STEPS = 16383.0f;  // of a row's largest share

// Products of shares with values: 128 * high + low, where low is in 0..127. So it is the same number in floats however
// it was added up.
struct Mixed {
  Ints high = splat(0), low = splat(0);
  void add(const Ints (&parts)[1]) {
    high = high + (parts[0] >> 7);
    low = low + (parts[0] & splat(127));
  }
  void add(const Ints (&parts)[2]) {
    high = high + parts[0];
    low = low + parts[1];
  }
  Floats value() const { return to_floats(high + (low >> 7)) * splat(128.0f) + to_floats(low & splat(127)); }
};

}  // namespace worldmodel
