// What goes into the slots of a block: rows of tables, added up. Twin of worldmodel/engine/decoder.py's InputTables.
#pragma once

#include <vector>

#include "linear.h"
#include "plan.h"

namespace worldmodel {

// Rows of `columns` numbers, padded; none for null.
inline Buffer<float> table(const float *rows, int count, int columns) {
  const int width = padded(columns);
  Buffer<float> out(size_t(rows == nullptr ? 0 : count) * width);
  if (rows != nullptr)
    for (int row = 0; row < count; ++row)
      std::memcpy(out + size_t(row) * width, rows + size_t(row) * columns, columns * sizeof(float));
  return out;
}

inline void append(std::vector<const float *> &rows, const float *matrix, int count, int inputs) {
  for (int row = 0; row < count; ++row) rows.push_back(matrix + size_t(row) * inputs);
}

class Inputs {
 public:
  // frames: as many at once.
  Inputs(const Model &m, int frames)
      : m_(m),
        width_(padded(m.hidden)),
        embedding_(table(m.embedding, m.inputs, m.hidden)),
        start_(table(m.start, 1, m.hidden)),
        place_(table(m.place, m.length, m.hidden)),
        no_previous_(table(m.no_previous, 1, m.hidden)),
        previous_(projected(m.previous)),
        action_(projected(m.action)),
        sources_(m.sources, m.sources + m.image),
        places_(m.places, m.places + m.image),
        tail_(m.tail_places, m.tail_places + m.tail),
        sizes_(m.sizes, m.sizes + m.parts),
        action_sum_(size_t(frames) * m.lanes * width_) {}

  // The place in the picture of an image slot.
  int place(int slot) const { return places_[slot]; }

  // What each lane's action adds to its image slots. number: of the frame, among those at once.
  void add_actions(const Frame &frame, int number) {
    float *sum = action_sum_ + size_t(number) * m_.lanes * width_;
    std::memset(sum, 0, size_t(m_.lanes) * width_ * sizeof(float));
    if (m_.action == nullptr || frame.previous == nullptr) return;
    for (int lane = 0; lane < frame.lanes; ++lane)
      for (int i = 0; i < actions(); ++i)
        add(sum + size_t(lane) * width_, action_ + size_t(frame.actions[lane * actions() + i]) * width_);
  }

  // x: (width,), the input of a row's slot.
  void embed(const Frame &frame, const Row &row, float *x) const {
    std::memset(x, 0, width_ * sizeof(float));
    if (row.slot >= m_.image) {
      const int index = row.slot - m_.image;
      if (index < m_.tail)
        add_code(x, embedding_, frame.previous[tail_[index]]);
      else
        add(x, embedding_ + size_t(frame.actions[row.lane * actions() + index - m_.tail]) * width_);
    } else {
      const int source = sources_[row.slot];
      if (source < 0)
        add(x, start_);
      else
        add_code(x, embedding_, frame.tokens[source]);
      if (m_.previous != nullptr && frame.previous != nullptr)
        add_code(x, previous_, frame.previous[places_[row.slot]]);
      else if (m_.previous != nullptr)
        add(x, no_previous_);
      if (m_.action != nullptr && frame.previous != nullptr)
        add(x, action_sum_ + (size_t(row.frame) * m_.lanes + row.lane) * width_);
    }
    if (m_.place != nullptr) add(x, place_ + size_t(row.slot) * width_);
  }

 private:
  // The embeddings that a (hidden, hidden) matrix turns, as a table. Here and not before: so they are the same everywhere.
  Buffer<float> projected(const float *matrix) const {
    Buffer<float> out(size_t(matrix == nullptr ? 0 : m_.inputs) * width_);
    if (matrix == nullptr) return out;
    std::vector<const float *> outputs;
    append(outputs, matrix, m_.hidden, m_.hidden);
    const Matrix<Float32> turning(outputs, m_.hidden);
    Rows<Float32> given(m_.inputs, m_.hidden, 0);
    for (int row = 0; row < m_.inputs; ++row) given.set(row, embedding_ + size_t(row) * width_);
    for (int tile = 0; tile < turning.tiles; ++tile)
      linear(turning, given, m_.inputs, tile,
             [&](int row, int, Floats made) { store(out + size_t(row) * width_ + tile * LANES, made); });
    return out;
  }

  int actions() const { return m_.length - m_.image - m_.tail; }

  void add(float *x, const float *row) const {
    for (int i = 0; i < width_; i += LANES) store(x + i, load(x + i) + load(row + i));
  }
  // An image token's row of a table.
  void add_code(float *x, const float *rows, int32_t token) const {
    for (const int32_t size : sizes_) {
      add(x, rows + size_t(token % size) * width_);
      token /= size, rows += size_t(size) * width_;
    }
  }

  const Model m_;  // whose tables are only read while this is made; afterwards they say what there is
  const int width_;
  const Buffer<float> embedding_, start_, place_, no_previous_, previous_, action_;
  const std::vector<int32_t> sources_, places_, tail_, sizes_;
  Buffer<float> action_sum_;
};

}  // namespace worldmodel
