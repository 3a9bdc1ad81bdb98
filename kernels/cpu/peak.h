// What a processor could do at most: products of int8 whose operands stay near, with nothing else done to them.
#pragma once

#include "linear.h"

namespace worldmodel {

constexpr int PEAK_STEPS = 4096;  // of a round: long beside what a round costs by itself

// Additions and multiplications of so many rounds, made by this thread.
inline int64_t int8_operations(int rounds) {
  volatile int32_t seen = 0;  // so that the compiler leaves nothing out
#if defined(__AMX_INT8__)
  const TileRegisters registers;
  alignas(64) int32_t sums[TILE_ROWS * LANES];
  for (int round = 0; round < rounds; ++round) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int step = 0; step < PEAK_STEPS; step += 4) {
      _tile_dpbsud(0, 4, 6);
      _tile_dpbsud(1, 4, 7);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, sums, 64);
    seen = sums[0];
  }
  return int64_t(2) * rounds * PEAK_STEPS * TILE_ROWS * TILE_INPUTS * LANES;
#else
  constexpr int STEPS = SPAN / Int8::GROUP;
  const Buffer<Int8::Stored> stored(SPAN * LANES);
  const Buffer<Int8::Given> given(MAX_ROWS * SPAN);
  for (int round = 0; round < rounds; ++round) {
    Ints sums[MAX_ROWS] = {};
    for (int step = 0; step < PEAK_STEPS; ++step)
#pragma GCC unroll 16
      for (int r = 0; r < MAX_ROWS; ++r)
        Int8::multiply_add(sums[r], stored + step % STEPS * Int8::GROUP * LANES,
                           given + r * SPAN + step % STEPS * Int8::GROUP);
    Ints all = splat(0);
    for (const Ints &one : sums) all = all + one;
    seen = sum(all);
  }
  return int64_t(2) * rounds * PEAK_STEPS * MAX_ROWS * Int8::GROUP * LANES;
#endif
}

}  // namespace worldmodel
