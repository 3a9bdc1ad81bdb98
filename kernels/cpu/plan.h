// What the passes of some players' frames compute and see. A known frame, of which nothing is asked, is one pass.
#pragma once

#include <algorithm>
#include <vector>

#include "model.h"
#include "pass.h"

namespace worldmodel {

class Plan {
 public:
  explicit Plan(const Model &m)
      : image_(m.image),
        length_(m.length),
        window_(m.window),
        lanes_(m.lanes),
        pairs_(m.head_dim / 2),
        ends_(m.ends, m.ends + m.passes),
        offsets_(m.offset, m.offset + m.offsets) {}

  const std::vector<Pass> &passes() const { return passes_; }
  int tiles() const { return (length_ + LANES - 1) / LANES; }  // of a block
  int ring() const { return window_ + lanes_; }                // blocks of a player
  // A tile that two lanes' entries share may be seen twice.
  int most_seen() const { return (int(offsets_.size()) + 2) * tiles() + 2; }
  // Rows of a pass of so many frames.
  int most_rows(int frames) const {
    int most = 0;
    for (int pass = 0; pass < int(ends_.size()); ++pass) most = std::max(most, ends_[pass] - begin(pass));
    return std::max((most + length_ - image_) * lanes_ * frames, length_);
  }

  // Of a frame whose tokens are known: its keys and values alone.
  void make_known(const Frame &frame) {
    passes_.assign(1, {});
    Pass &pass = passes_[0];
    pass.group = image_;
    if (frame.previous != nullptr) add_outro(pass, frame, 0, 0);
    add_slots(pass, frame, 0, 0, 0, image_);
    pass.silent = int(pass.rows.size());
  }

  void make(const Frame *frames, int count) {
    passes_.assign(ends_.size(), {});
    for (int index = 0; index < int(passes_.size()); ++index) {
      Pass &pass = passes_[index];
      pass.group = ends_[index] - begin(index);
      if (index == 0)
        for (int frame = 0; frame < count; ++frame)
          if (frames[frame].previous != nullptr)
            for (int lane = 0; lane < frames[frame].lanes; ++lane) add_outro(pass, frames[frame], frame, lane);
      pass.silent = int(pass.rows.size());
      for (int frame = 0; frame < count; ++frame) {
        for (int row = 0; row < pass.group; ++row) pass.drawn.push_back({frame, int(pass.rows.size()) - pass.silent + row});
        for (int lane = 0; lane < frames[frame].lanes; ++lane)
          add_slots(pass, frames[frame], frame, lane, begin(index), ends_[index]);
      }
    }
  }

 private:
  int begin(int pass) const { return pass ? ends_[pass - 1] : 0; }
  int at(const Frame &frame, int64_t block) const { return frame.player * ring() + int(block % (window_ + 1)); }
  // The lane of what the action is guided away from has its own block.
  int other(const Frame &frame) const { return frame.player * ring() + window_ + 1; }

  // own: the ring's block that the row's key goes to; cosine, sine: (length, pairs), of the row's block.
  Row row(int number, int lane, int slot, int own, const float *cosine, const float *sine) const {
    const size_t angles = size_t(slot) * pairs_;
    return {number, lane, slot, own * tiles() + slot / LANES, 0, cosine + angles, sine + angles};
  }

  void add_outro(Pass &pass, const Frame &frame, int number, int lane) const {
    const int64_t block = frame.block - 1;
    const int own = lane ? other(frame) : at(frame, block);
    Share share{int(pass.rows.size()), length_ - image_, {}};
    for (int slot = image_; slot < length_; ++slot)
      pass.rows.push_back(row(number, lane, slot, own, frame.outro_cosine, frame.outro_sine));
    for (const int offset : offsets_)
      if (block >= offset) see(share.seen, at(frame, block - offset), 0, length_);
    see(share.seen, at(frame, block), 0, image_);
    see(share.seen, own, image_, length_);
    for (int index = 0; index < share.count; ++index)
      pass.rows[share.first + index].seen = int(share.seen.size()) * LANES;
    pass.shares.push_back(std::move(share));
  }

  // The image slots first..last - 1, whole groups: a group sees those before it, and itself.
  void add_slots(Pass &pass, const Frame &frame, int number, int lane, int first, int last) const {
    const int own = lane ? other(frame) : at(frame, frame.block);
    Share share{int(pass.rows.size()), last - first, {}};
    for (int slot = first; slot < last; ++slot)
      pass.rows.push_back(row(number, lane, slot, own, frame.cosine, frame.sine));
    for (const int offset : offsets_) {
      if (frame.block < offset) continue;
      const bool apart = lane && offset == 1;
      see(share.seen, at(frame, frame.block - offset), 0, apart ? image_ : length_);
      if (apart) see(share.seen, other(frame), image_, length_);
    }
    const int before = int(share.seen.size()) * LANES;
    see(share.seen, own, 0, last);
    for (int index = 0; index < share.count; ++index)
      pass.rows[share.first + index].seen = before + *std::upper_bound(ends_.begin(), ends_.end(), first + index);
    pass.shares.push_back(std::move(share));
  }

  // Makes the entries first..last - 1 of the ring's block visible.
  void see(std::vector<VisibleTile> &seen, int ring, int first, int last) const {
    for (int tile = first / LANES; tile * LANES < last; ++tile) {
      const int from = std::max(first - tile * LANES, 0), to = std::min(last - tile * LANES, LANES);
      seen.push_back({ring * tiles() + tile, (ALL_ENTRIES >> (LANES - to)) & ~((1u << from) - 1)});
    }
  }

  int image_, length_, window_, lanes_, pairs_;
  std::vector<int32_t> ends_, offsets_;
  std::vector<Pass> passes_;
};

}  // namespace worldmodel
