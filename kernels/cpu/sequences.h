// Rows of the one sequence that weights in a released order read (worldmodel/engine/released.py, which says what is read
// when): each sees all entries up to its own position, and those that nothing was written to as keys and values of zero.
#pragma once

#include "decoder.h"

namespace worldmodel {

// Rows to be read. Mirrored by kernels/native.py.
struct Reading {
  int32_t cache, rows, drawn;         // the last `drawn` rows say something of the next token
  const int32_t *tokens, *positions;  // (rows,) rows of the embedding; ascending places in the sequence
  const float *cosine, *sine;         // (entries of a cache, head_dim / 2)
  Sampling sampling;
  const int32_t *places;  // (drawn,) in the picture: what random numbers depend on
  int32_t *made;          // (drawn,) tokens, or null
  float *scores;          // (drawn, codes), or null
};

// Of the model, `length` is the tokens of a frame and its action, `window` the frames that a cache holds, and `players`
// the number of caches. Its tokens are of one part.
class Sequences final : public Helped, private Source {
 public:
  explicit Sequences(const Model &m)
      : width_(padded(m.hidden)),
        pairs_(m.head_dim / 2),
        codes_(m.sizes[0]),
        tiles_((m.window * m.length + LANES - 1) / LANES),
        embedding_(table(m.embedding, m.inputs, m.hidden)),
        passes_(1),
        decoder_(any_decoder(m, m.length, m.players * tiles_, tiles_)) {}

  // At most `length` rows.
  void read(const Reading &reading) {
    reading_ = &reading;
    Pass &pass = passes_[0];
    pass.rows.clear();
    pass.shares.clear();
    pass.drawn.clear();
    const int first = reading.cache * tiles_;
    for (int row = 0; row < reading.rows; ++row) {
      const int position = reading.positions[row];
      const size_t angles = size_t(position) * pairs_;
      pass.rows.push_back(
          {row, 0, position, first + position / LANES, position + 1, reading.cosine + angles, reading.sine + angles});
    }
    for (int row = 0; row < reading.drawn; ++row) pass.drawn.push_back({0, row});
    Share share{0, reading.rows, {}};
    for (int tile = 0; tile <= reading.positions[reading.rows - 1] / LANES; ++tile)
      share.seen.push_back({first + tile, ALL_ENTRIES});
    pass.shares.push_back(std::move(share));
    pass.silent = reading.rows - reading.drawn;
    pass.group = reading.drawn;
    decoder_->run(passes_, true, *this);
  }

  // Forgets what a cache was given.
  void clear(int cache) { decoder_->clear(cache * tiles_, tiles_); }

  void help(int thread) override { decoder_->help(thread); }

 private:
  void embed(const Row &row, float *x) const override {
    std::memcpy(x, embedding_ + size_t(reading_->tokens[row.frame]) * width_, width_ * sizeof(float));
  }

  void draw(const Pass &, const Drawn &drawn, float *logits, int stride, SamplingScratch &scratch) const override {
    float *scores = logits + size_t(drawn.row) * stride;
    if (reading_->scores != nullptr) std::copy(scores, scores + codes_, reading_->scores + size_t(drawn.row) * codes_);
    if (reading_->made != nullptr)
      reading_->made[drawn.row] = worldmodel::draw(scores, codes_, reading_->sampling,
                                                   uint32_t(reading_->places[drawn.row]), scratch);
  }

  const int width_, pairs_, codes_, tiles_;
  const Buffer<float> embedding_;
  std::vector<Pass> passes_;
  std::unique_ptr<AnyDecoder> decoder_;
  const Reading *reading_ = nullptr;
};

}  // namespace worldmodel
