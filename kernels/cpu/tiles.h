// The processor's matrix unit, where it has one (AMX): sixteen rows of 64 int8 inputs with sixteen outputs, at once. A
// tile of an operand as Int8 keeps it (arithmetic.h) is what the unit wants, byte for byte.
#pragma once

#include <cstddef>
#include <cstdint>
#if defined(__AMX_INT8__)
#include <immintrin.h>
#endif

namespace worldmodel {

// What one product takes: rows, and inputs of each. Where there are fewer rows, it computes what nobody reads; so there
// must be memory behind a last row.
constexpr int TILE_ROWS = 16, TILE_INPUTS = 64;

#if defined(__AMX_INT8__)
constexpr bool HAS_TILES = true;
constexpr int TILES_AHEAD = 4;  // products under way: one takes as long as the vectors' work on several
constexpr int LEAST_TILE_ROWS = 3;  // for fewer rows, products of single vectors are as fast
constexpr int FETCHED_AHEAD = 8;    // tiles of a matrix

// While it lives, its thread's tile registers have that shape; afterwards none, so that nobody saves or restores them.
class TileRegisters {
 public:
  TileRegisters() { _tile_loadconfig(&SHAPE); }
  ~TileRegisters() { _tile_release(); }
  TileRegisters(const TileRegisters &) = delete;
  TileRegisters &operator=(const TileRegisters &) = delete;

 private:
  // As the processor reads it.
  struct alignas(64) Shape {
    uint8_t palette, first_row, reserved[14];
    uint16_t bytes[16];  // of a row of each register; there are eight
    uint8_t rows[16];
  };
  static constexpr Shape SHAPE{1,
                               0,
                               {},
                               {TILE_INPUTS, TILE_INPUTS, TILE_INPUTS, TILE_INPUTS, TILE_INPUTS, TILE_INPUTS,
                                TILE_INPUTS, TILE_INPUTS},
                               {TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS,
                                TILE_ROWS}};
};

// The compiler does not know that a tile is read from memory: what is written there has to be written before.
inline void before_tiles() { asm volatile("" ::: "memory"); }

// Has a tile brought near, while something else is computed: the processor foresees too little of what tiles want.
inline void fetch_tile(const uint8_t *stored) {
  for (int line = 0; line < TILE_ROWS; ++line) __builtin_prefetch(stored + line * 64);
}

// sums: (TILE_ROWS, 16), of rows that are `stride` bytes apart with TILE_INPUTS of a stored operand.
inline void multiply_tile(const int8_t *given, size_t stride, const uint8_t *stored, int32_t *sums) {
  _tile_zero(0);
  _tile_loadd(1, given, stride);
  _tile_loadd(2, stored, 64);
  _tile_dpbsud(0, 1, 2);
  _tile_stored(0, sums, 64);
}

#else
constexpr bool HAS_TILES = false;

struct TileRegisters {};
#endif

}  // namespace worldmodel
