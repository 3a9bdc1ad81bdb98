// Attention of some rows over some tiles of the cache: all of them see the same entries, each up to a last one.
#pragma once

#include "attention_parts.h"
#include "attention_tiles.h"

namespace worldmodel {

// ends: see attend; all rows see `whole` tiles as far as any does.
template <class A, int R>
inline void score_tiles(const Cache<A> &cache, size_t base, const VisibleTile *seen, int count, const Rows<A> &queries,
                        const int *rows, const int *ends, int whole, float factor, AttentionScratch<A> &scratch) {
  for (int index = 0; index < count; ++index) {
    const size_t entry = base + size_t(seen[index].tile) * LANES;
    const typename A::Stored *stored = cache.keys + entry * cache.size;
    typename A::Sum sums[R];
    const typename A::Given *given[R];
    EACH_ROW {
      sums[r] = queries.start(rows[r], 0);
      given[r] = queries.row(rows[r]);
    }
    for (int step = 0; step < cache.size / A::GROUP; ++step) {
      EACH_ROW A::multiply_add(sums[r], stored + step * A::GROUP * LANES, given[r] + step * A::GROUP);
    }
    Floats scale = splat(factor);
    if constexpr (std::is_same_v<A, Int8>) scale = scale * load(cache.key_scale + entry);
    EACH_ROW {
      Floats scores = queries.finish(sums[r], rows[r], 0) * scale;
      const uint32_t entries =
          index < whole ? seen[index].entries : up_to(seen[index].entries, ends[r] - index * LANES);
      if (entries != ALL_ENTRIES) scores = only(scores, entries);
      store(scratch.scores + size_t(r) * scratch.width + index * LANES, scores);
    }
  }
}

// A row's shares as what values are multiplied with. They are at most `peak`; their steps are added up, too.
inline void split_shares(const float *shares, int count, float peak, int row, AttentionScratch<Int8> &scratch) {
  const Floats steps = splat(peak > 0 ? SHARE_STEPS / peak : 0.0f);
  Int8::Given *high = scratch.high + size_t(row) * scratch.width, *low = scratch.low + size_t(row) * scratch.width;
  Ints high_total = splat(0), low_total = splat(0);
  for (int index = 0; index < count; ++index) {
    const Ints whole = nearest(load(shares + index * LANES) * steps);
    if constexpr (Int8::SHARE_PARTS == 1) {
      store_small(high + index * LANES, whole);
      continue;
    }
    const Ints above = whole >> 7, below = whole & splat(127);
    high_total = high_total + above;
    low_total = low_total + below;
    store_small(high + index * LANES, above);
    store_small(low + index * LANES, below);
  }
  scratch.high_total[row] = sum(high_total);
  scratch.low_total[row] = sum(low_total);
}

// A row's scores (powers of two) become its shares, which add up to 1 / factor.
template <class A>
inline void softmax(const Cache<A> &cache, size_t base, const VisibleTile *seen, int count, int row,
                    AttentionScratch<A> &scratch) {
  float *scores = scratch.scores + size_t(row) * scratch.width;
  Floats largest = load(scores);
  for (int index = 1; index < count; ++index) largest = maximum(largest, load(scores + index * LANES));
  const Floats top = splat(maximum(largest));
  Floats total = splat(0.0f), most = splat(0.0f);
  for (int index = 0; index < count; ++index) {
    Floats share = power_of_two(load(scores + index * LANES) - top);
    total = total + share;
    if constexpr (std::is_same_v<A, Int8>) {  // a value's scale goes with its share
      share = share * load(cache.value_scale + base + size_t(seen[index].tile) * LANES);
      most = maximum(share, most);
    }
    store(scores + index * LANES, share);
  }
  if constexpr (std::is_same_v<A, Int8>) {
    const float peak = maximum(most);
    if constexpr (TILED<A>)
      split_tile_shares(scores, peak, row, scratch);
    else
      split_shares(scores, count, peak, row, scratch);
    scratch.factor[row] = peak / SHARE_STEPS / sum(total);
  } else {
    scratch.factor[row] = 1.0f / sum(total);
  }
}

// Mixed values of R rows from `row`, T tiles of a head's numbers from `tile`. out[r]: (size,).
template <class A, int R, int T>
inline void mix(const Cache<A> &cache, size_t base, const VisibleTile *seen, int count, int row, int tile,
                const AttentionScratch<A> &scratch, float *const *out) {
  constexpr bool INT8 = std::is_same_v<A, Int8>;
  constexpr int GROUP = A::GROUP, SHARE_PARTS = INT8 ? Int8::SHARE_PARTS : 1;
  const typename A::Given *given[R][SHARE_PARTS];
  for (int r = 0; r < R; ++r) {
    if constexpr (INT8) {
      given[r][0] = scratch.high + size_t(row + r) * scratch.width;
      if constexpr (SHARE_PARTS == 2) given[r][1] = scratch.low + size_t(row + r) * scratch.width;
    } else {
      given[r][0] = scratch.scores + size_t(row + r) * scratch.width;
    }
  }
  std::conditional_t<INT8, Mixed, Floats> mixed[R][T] = {};
  const int most = INT8 ? Int8::SHARED_TILES : count;
  for (int first = 0; first < count; first += most) {
    typename A::Sum sums[R][T][SHARE_PARTS];
    for (int r = 0; r < R; ++r)
      for (int t = 0; t < T; ++t) {
        if constexpr (!INT8) {
          sums[r][t][0] = splat(0.0f);
        } else if constexpr (SHARE_PARTS == 1) {
          sums[r][t][0] = splat(0);
        } else {
          sums[r][t][0] = Int8::start(scratch.high_total[row + r]);
          sums[r][t][1] = Int8::start(scratch.low_total[row + r]);
        }
      }
    for (int index = first; index < std::min(first + most, count); ++index) {
      const typename A::Stored *stored = cache.values + (base + size_t(seen[index].tile) * LANES) * cache.size;
      for (int step = 0; step < LANES / GROUP; ++step) {
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
            for (int part = 0; part < SHARE_PARTS; ++part)
              multiply_add_share<A>(sums[r][t][part], stored + (step * cache.size + (tile + t) * LANES) * GROUP,
                                    given[r][part] + index * LANES + step * GROUP);
      }
    }
    for (int r = 0; r < R; ++r)
      for (int t = 0; t < T; ++t) {
        if constexpr (INT8)
          mixed[r][t].add(sums[r][t]);
        else
          mixed[r][t] = sums[r][t][0];
      }
  }
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) {
      Floats value;
      if constexpr (INT8)
        value = mixed[r][t].value();
      else
        value = mixed[r][t];
      store(out[r] + (tile + t) * LANES, value * splat(scratch.factor[row + r]));
    }
}

// rows: which of `queries` (one a query head of a row of the pass), `number` of them, at most MAX_ROWS; head: of keys.
// ends: how many of the entries of `seen`, LANES a tile, each may see (its first one at least, and all at most). out:
// where each one's mixed values (size,) go.
template <class A>
inline void attend(const Cache<A> &cache, int layer, int head, const std::vector<VisibleTile> &seen,
                   const Rows<A> &queries, const int *rows, const int *ends, int number, float factor,
                   AttentionScratch<A> &scratch, float *const *out) {
  const size_t base = cache.first(layer, head, 0);
  const int count = (*std::max_element(ends, ends + number) + LANES - 1) / LANES;
  const int whole = *std::min_element(ends, ends + number) / LANES;
  if constexpr (TILED<A>) {
    find_runs(base, seen.data(), count, scratch);
    score_by_tiles(cache, base, seen.data(), count, queries, rows, ends, whole, number, factor, scratch);
    for (int row = 0; row < number; ++row) {
      for (int index = count * row / number; index < count * (row + 1) / number; ++index)
        fetch(cache.values, cache.size, base, seen[index]);
      softmax(cache, base, seen.data(), count, row, scratch);
    }
    return mix_by_tiles(cache, number, scratch, out);
  }
  with_constant<MAX_ROWS>(number, [&](auto constant) {
    score_tiles<A, constant.value>(cache, base, seen.data(), count, queries, rows, ends, whole, factor, scratch);
  });
  for (int row = 0; row < number; ++row) softmax(cache, base, seen.data(), count, row, scratch);
  in_blocks(number, VALUE_ROWS, [&](int row, int some) {
    in_blocks(cache.size / LANES, VALUE_TILES, [&](int tile, int tiles) {
      with_constant<VALUE_ROWS>(some, [&](auto r) {
        with_constant<VALUE_TILES>(tiles, [&](auto t) {
          mix<A, r.value, t.value>(cache, base, seen.data(), count, row, tile, scratch, out + row);
        });
      });
    });
  });
}

}  // namespace worldmodel
