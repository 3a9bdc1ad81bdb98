// Attention's products by the matrix unit (tiles.h), whose sums are those of attention.h.
#pragma once

#include "attention_parts.h"

namespace worldmodel {

#if defined(__AMX_INT8__)

inline void find_runs(size_t base, const VisibleTile *seen, int count, AttentionScratch<Int8> &scratch) {
  auto &runs = scratch.runs;
  runs.clear();
  for (int index = 0; index < count; ++index) {
    const bool beside = index > 0 && seen[index].tile == seen[index - 1].tile + 1;
    if (beside && runs.back().count < RUN_TILES)
      ++runs.back().count;
    else
      runs.push_back({index, 1, base + size_t(seen[index].tile) * LANES});
  }
}

// A tile of keys or values: see fetch_tile.
inline void fetch(const Int8::Stored *of, int size, size_t base, const VisibleTile &tile) {
  const Int8::Stored *from = of + (base + size_t(tile.tile) * LANES) * size;
  for (int input = 0; input < size; input += TILE_INPUTS) fetch_tile(from + input * LANES);
}
constexpr int KEYS_AHEAD = 4;  // tiles

// Scores of `number` rows; ends, whole: as in attention.h. While those of a tile become floats, the unit is at the next ones.
inline void score_by_tiles(const Cache<Int8> &cache, size_t base, const VisibleTile *seen, int count,
                           const Rows<Int8> &queries, const int *rows, const int *ends, int whole, int number,
                           float factor, AttentionScratch<Int8> &scratch) {
  const int size = cache.size;
  Int8::Given *given = scratch.queries;
  int32_t offset[TILE_ROWS];
  float scale[TILE_ROWS];
  for (int r = 0; r < number; ++r) {
    std::memcpy(given + size_t(r) * size, queries.row(rows[r]), size);
    offset[r] = queries.offset[rows[r]];
    scale[r] = queries.scale[rows[r]];
  }
  alignas(64) int32_t sums[TILES_AHEAD][TILE_ROWS * LANES];
  before_tiles();
  const auto multiply = [&](int index) {
    const Int8::Stored *stored = cache.keys + (base + size_t(seen[index].tile) * LANES) * size;
    _tile_zero(0);
    for (int input = 0; input < size; input += TILE_INPUTS) {
      if (index == 0 || size > TILE_INPUTS) _tile_loadd(1, given + input, size);  // or it is still there
      _tile_loadd(2, stored + input * LANES, 64);
      _tile_dpbsud(0, 1, 2);
    }
    _tile_stored(0, sums[index % TILES_AHEAD], 64);
  };
  for (int index = 1 - TILES_AHEAD; index < count; ++index) {
    const int next = index + TILES_AHEAD - 1;
    if (next + KEYS_AHEAD < count) fetch(cache.keys, size, base, seen[next + KEYS_AHEAD]);
    if (next < count) multiply(next);
    if (index < 0) continue;
    const Floats scales = splat(factor) * load(cache.key_scale + base + size_t(seen[index].tile) * LANES);
    const int32_t *products = sums[index % TILES_AHEAD];
    float *to = scratch.scores + index * LANES;
    for (int r = 0; r < number; ++r) {
      Floats scores = to_floats(load(products + r * LANES) + splat(offset[r])) * splat(scale[r]) * scales;
      const uint32_t entries =
          index < whole ? seen[index].entries : up_to(seen[index].entries, ends[r] - index * LANES);
      if (entries != ALL_ENTRIES) scores = only(scores, entries);
      store(to + size_t(r) * scratch.width, scores);
    }
  }
}

// As split_shares, a run after the other: where it has fewer tiles than a product takes, the shares behind them are 0.
inline void split_tile_shares(const float *shares, float peak, int row, AttentionScratch<Int8> &scratch) {
  const Floats steps = splat(peak > 0 ? SHARE_STEPS / peak : 0.0f);
  const size_t stride = scratch.runs.size() * TILE_INPUTS;
  Int8::Given *high = scratch.high + size_t(row) * stride, *low = scratch.low + size_t(row) * stride;
  // Packing leaves the four entries of one register behind those of another.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i ones = _mm512_set1_epi8(1), below = _mm512_set1_epi16(127);
  __m512i high_total = _mm512_setzero_si512(), low_total = high_total;
  for (const Run &run : scratch.runs) {
    const auto whole = [&](int index) {
      return index < run.count ? (__m512i)nearest(load(shares + (run.first + index) * LANES) * steps).part[0]
                               : _mm512_setzero_si512();
    };
    const __m512i front = _mm512_packus_epi32(whole(0), whole(1)), back = _mm512_packus_epi32(whole(2), whole(3));
    const __m512i above = _mm512_permutexvar_epi32(
        order, _mm512_packus_epi16(_mm512_srli_epi16(front, 7), _mm512_srli_epi16(back, 7)));
    const __m512i rest = _mm512_permutexvar_epi32(
        order, _mm512_packus_epi16(_mm512_and_si512(front, below), _mm512_and_si512(back, below)));
    high_total = _mm512_dpbusd_epi32(high_total, above, ones);
    low_total = _mm512_dpbusd_epi32(low_total, rest, ones);
    _mm512_store_si512(high, above);
    _mm512_store_si512(low, rest);
    high += TILE_INPUTS, low += TILE_INPUTS;
  }
  scratch.high_total[row] = sum(Ints{(IntPart)high_total});
  scratch.low_total[row] = sum(Ints{(IntPart)low_total});
}

// Mixed values of `number` rows. out[r]: (size,). All that a row sees fits into one sum (see native_problem in
// worldmodel/engine/host/native.py).
inline void mix_by_tiles(const Cache<Int8> &cache, int number, const AttentionScratch<Int8> &scratch,
                         float *const *out) {
  const size_t stride = scratch.runs.size() * TILE_INPUTS;
  const Int8::Given *high = scratch.high, *low = scratch.low;
  constexpr int GROUP = Int8::GROUP;
  alignas(64) int32_t sums[2][2][TILE_ROWS * LANES];  // of two tiles of a head's numbers: high and low
  before_tiles();
  for (int number_of = 0; number_of < cache.size; number_of += 2 * LANES) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t index = 0; index < scratch.runs.size(); ++index) {
      const Int8::Stored *stored = cache.values + scratch.runs[index].entry * cache.size + number_of * GROUP;
      _tile_loadd(4, high + index * TILE_INPUTS, stride);
      _tile_loadd(5, low + index * TILE_INPUTS, stride);
      _tile_loadd(6, stored, cache.size * GROUP);
      _tile_loadd(7, stored + LANES * GROUP, cache.size * GROUP);
      _tile_dpbsud(0, 4, 6);
      _tile_dpbsud(1, 5, 6);
      _tile_dpbsud(2, 4, 7);
      _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, sums[0][0], 64);
    _tile_stored(1, sums[0][1], 64);
    _tile_stored(2, sums[1][0], 64);
    _tile_stored(3, sums[1][1], 64);
    for (int t = 0; t < 2; ++t)
      for (int r = 0; r < number; ++r) {
        Mixed mixed;
        mixed.add({load(sums[t][0] + r * LANES) + Int8::start(scratch.high_total[r]),
                   load(sums[t][1] + r * LANES) + Int8::start(scratch.low_total[r])});
        store(out[r] + number_of + t * LANES, mixed.value() * splat(scratch.factor[r]));
      }
  }
}

#endif

}  // namespace worldmodel
