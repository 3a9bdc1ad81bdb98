// Whole frames: inputs, passes, cache, guidance and sampling. Twin of worldmodel/engine/decoder.py, whose words these are.
// Frames of several players go through the passes together, so that a weight is read once for all of them.
#pragma once

#include "decoder.h"
#include "inputs.h"
#include "plan.h"

namespace worldmodel {

// Players whose frames go through the passes together.
constexpr int AT_ONCE = 16;

class Frames final : public Helped, private Source {
 public:
  explicit Frames(const Model &m)
      : m_(m),
        sizes_(m.sizes, m.sizes + m.parts),
        columns_(std::accumulate(sizes_.begin(), sizes_.end(), 0)),
        plan_(m),
        inputs_(m, most_frames()) {
    if (m.chain != nullptr)
      chain_.assign(m.chain, m.chain + size_t(columns_ - sizes_.back()) * (columns_ - sizes_.front()));
    decoder_ = any_decoder(m, plan_.most_rows(most_frames()), m.players * plan_.ring() * plan_.tiles(),
                           plan_.most_seen());
  }

  // Frames of different players.
  void decode(const Frame *frames, int count) {
    const int turns = (count + AT_ONCE - 1) / AT_ONCE;
    for (int turn = 0; turn < turns; ++turn) {
      const int first = count * turn / turns;
      decode_together(frames + first, count * (turn + 1) / turns - first);
    }
  }

  void help(int thread) override { decoder_->help(thread); }

 private:
  int most_frames() const { return std::min(m_.players, AT_ONCE); }

  void decode_together(const Frame *frames, int count) {
    frames_ = frames;
    bool wanted = false;
    for (int frame = 0; frame < count; ++frame) {
      wanted = wanted || frames[frame].forced == nullptr || frames[frame].scores != nullptr;
      inputs_.add_actions(frames[frame], frame);
    }
    if (!wanted && count == 1 && frames->lanes == 1) {
      std::copy(frames->forced, frames->forced + m_.image, frames->tokens);
      plan_.make_known(*frames);
    } else {
      plan_.make(frames, count);
    }
    decoder_->run(plan_.passes(), wanted, *this);
  }

  void embed(const Row &row, float *x) const override { inputs_.embed(frames_[row.frame], row, x); }

  // The token of a pass's row, or what is known of it.
  void draw(const Pass &pass, const Drawn &drawn, float *logits, int stride, SamplingScratch &scratch) const override {
    const Frame &frame = frames_[drawn.frame];
    const int slot = pass.rows[pass.silent + drawn.row].slot, where = inputs_.place(slot);
    if (frame.forced == nullptr || frame.scores != nullptr) {
      float *scores = logits + size_t(drawn.row) * stride;
      if (frame.lanes > 1) {
        const float *idle = logits + size_t(drawn.row + pass.group) * stride;
        const Floats guidance = splat(frame.sampling.guidance);
        for (int i = 0; i < stride; i += LANES)
          store(scores + i, load(scores + i) + guidance * (load(scores + i) - load(idle + i)));
      }
      if (frame.scores != nullptr) std::copy(scores, scores + columns_, frame.scores + size_t(slot) * columns_);
      if (frame.forced == nullptr)
        frame.tokens[where] =
            draw_parts(scores, sizes_, columns_, m_.chain != nullptr ? chain_.data() : nullptr, frame.sampling,
                       uint32_t(where), uint32_t(m_.image), scratch);
    }
    if (frame.forced != nullptr) frame.tokens[where] = frame.forced[where];
  }

  const Model m_;  // whose tables are only read while this is made; afterwards they say what there is
  const std::vector<int32_t> sizes_;  // of a token's parts
  const int columns_;
  Plan plan_;
  Inputs inputs_;
  std::vector<float> chain_;
  std::unique_ptr<AnyDecoder> decoder_;
  const Frame *frames_ = nullptr;
};

}  // namespace worldmodel
