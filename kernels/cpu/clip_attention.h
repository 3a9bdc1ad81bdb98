// Attention over whole clips, for training: forward and backward, nothing of the size of its shares in memory (Dao et al.
// 2022, arXiv 2205.14135). Twin of WindowAttention (worldmodel/model/transformer.py). A frame's rows see the frames that
// lie `offset` before it, but for slots that are not kept, and of their own frame what `seen` says. Products are in bf16,
// the rest is float32.
//
// All is computed transposed, keys as rows and queries as columns: a query is a lane, and sums over its keys are sums of
// vectors. Query heads that share a key head lie side by side, in panels of 32. What a panel and a frame of keys take
// lies in the nearest caches.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "arithmetic.h"
#include "bf16_packing.h"

namespace worldmodel {

// Mirrored by kernels/clip_attention.py. Arrays are (clips, frames, length, heads or kv_heads, size), those that end in
// _rows (clips, kv_heads, frames, rows).
struct ClipAttention {
  int32_t clips, frames, length, heads, kv_heads, size, offsets, threads;  // size: a multiple of 32
  const int32_t *offset;
  const uint8_t *seen;  // (length, length): whether a slot sees another of its frame
  const uint8_t *kept;  // (length,): whether a slot is seen from later frames
  const Bf16 *query, *key, *value;
  Bf16 *out;
  float *log_rows;  // of each query, the logarithm (base 2) of what its shares are divided by
  const Bf16 *out_gradient;  // null: forward
  float *query_gradient, *key_gradient, *value_gradient;
};

inline int attention_rows(const ClipAttention &a) { return in_blocks_of(a.heads / a.kv_heads * a.length); }

// One clip's frames under one key head.
class AttentionTask {
 public:
  explicit AttentionTask(const ClipAttention &a)
      : a_(a),
        groups_(a.heads / a.kv_heads),
        size_(a.size),
        keys_(in_blocks_of(a.length)),
        pairs_(a.length + a.length % 2),
        rows_(attention_rows(a)),
        queries_(groups_ * a.length),
        per_key_frame_(size_t(keys_) * size_),
        scale_(1.0f / std::sqrt(float(a.size))),
        key_left_(a.frames * per_key_frame_),
        value_left_(backward_only(a.frames * per_key_frame_)),
        turned_(a.frames * per_key_frame_),
        zeros_(size_),
        query_columns_(size_t(rows_) * size_),
        gradient_columns_(backward_only(size_t(rows_) * size_)),
        query_pairs_(backward_only(size_t(rows_) * size_)),
        gradient_pairs_(backward_only(size_t(rows_) * size_)),
        own_(size_t(keys_) * rows_),
        scores_(size_t(keys_) * BLOCK),
        gradients_(backward_only(BLOCK * BLOCK)),
        shares_(size_t(BLOCK) * std::max(keys_, rows_)),
        changes_(backward_only(size_t(BLOCK) * rows_)),
        change_pairs_(backward_only(size_t(keys_) * rows_)),
        made_(size_t(size_) * (a.out_gradient ? rows_ : BLOCK)),
        key_gradient_(backward_only(a.frames * per_key_frame_)),
        value_gradient_(backward_only(a.frames * per_key_frame_)),
        delta_(backward_only(rows_)),
        frames_(a.offsets + 1) {
    for (int key = 0; key < keys_; ++key)
      for (int row = 0; row < rows_; ++row) {
        const bool there = key < a.length && (row >= queries_ || a.seen[row % a.length * a.length + key]);
        own_[size_t(key) * rows_ + row] = there ? 0.0f : HIDDEN;
      }
    for (int slot = 0; slot < pairs_; ++slot)
      if (slot == a.length || !a.kept[slot]) unseen_.push_back(slot);
  }

  void run(int clip, int head) {
    clip_ = clip, head_ = head;
    for (int frame = 0; frame < a_.frames; ++frame) take_keys(frame);
    if (a_.out_gradient == nullptr) {
      for (int frame = 0; frame < a_.frames; ++frame) forward(frame);
      return;
    }
    std::memset(key_gradient_, 0, a_.frames * per_key_frame_ * sizeof(float));
    std::memset(value_gradient_, 0, a_.frames * per_key_frame_ * sizeof(float));
    for (int frame = 0; frame < a_.frames; ++frame) backward(frame);
    for (int frame = 0; frame < a_.frames; ++frame)
      for (int slot = 0; slot < a_.length; ++slot) {
        const size_t from = frame * per_key_frame_ + size_t(slot) * size_, to = key_at(frame, slot);
        for (int i = 0; i < size_; ++i) a_.key_gradient[to + i] = key_gradient_[from + i] * scale_;
        std::memcpy(a_.value_gradient + to, value_gradient_ + from, size_ * sizeof(float));
      }
  }

 private:
  static constexpr float HIDDEN = -1e30f;
  static constexpr float MOST = 0x1p60f;  // to which a panel's sums of shares may come

  size_t backward_only(size_t count) const { return a_.out_gradient ? count : 0; }
  size_t key_at(int frame, int slot) const {
    return ((size_t(clip_) * a_.frames + frame) * a_.length + slot) * a_.kv_heads * size_ + size_t(head_) * size_;
  }
  size_t query_at(int frame, int row) const {
    const int slot = row % a_.length, head = head_ * groups_ + row / a_.length;
    return ((size_t(clip_) * a_.frames + frame) * a_.length + slot) * a_.heads * size_ + size_t(head) * size_;
  }
  float *log_rows(int frame) const {
    return a_.log_rows + ((size_t(clip_) * a_.kv_heads + head_) * a_.frames + frame) * rows_;
  }

  // Keys and values of a frame, as left operands. turned_: of the values (forward) or keys (backward), channels as rows.
  void take_keys(int frame) {
    const Bf16 *given = a_.out_gradient ? a_.key : a_.value;
    for (int slot = 0; slot < a_.length; ++slot) {
      const size_t from = key_at(frame, slot), to = frame * per_key_frame_ + size_t(slot) * size_;
      std::memcpy(key_left_ + to, a_.key + from, size_ * sizeof(Bf16));
      if (a_.out_gradient) std::memcpy(value_left_ + to, a_.value + from, size_ * sizeof(Bf16));
    }
    for (int slot = 0; slot < a_.length; slot += BLOCK) {
      const Bf16 *rows[BLOCK];
      for (int i = 0; i < BLOCK; ++i) rows[i] = slot + i < a_.length ? given + key_at(frame, slot + i) : zeros_;
      transposed(rows, size_, turned_ + frame * per_key_frame_ + slot, keys_);
    }
  }

  void rows_of(const Bf16 *given, int frame, int first, const Bf16 **rows) const {
    for (int i = 0; i < BLOCK; ++i) rows[i] = first + i < queries_ ? given + query_at(frame, first + i) : zeros_;
  }

  // The frames that a frame's rows see, itself the first. -> how many.
  int seen_frames(int frame) {
    int count = 0;
    frames_[count++] = frame;
    for (int i = 0; i < a_.offsets; ++i)
      if (a_.offset[i] <= frame) frames_[count++] = frame - a_.offset[i];
    return count;
  }

  // out (up to 32 rows, 32): rows of keys or values, against a panel of columns.
  void product(const Bf16 *left, const Bf16 *columns, int rows, float *out) const {
    multiply_block(left, size_, columns, BLOCK * 2, size_ / BLOCK, out, BLOCK, false, rows);
  }

  // What no later frame sees, in `rows` rows of scores from `key` on; and what fills up a pair.
  void hide(float *scores, int key, int rows, bool own) const {
    for (int slot : unseen_)
      if (slot >= key && slot < key + rows && (!own || slot == a_.length))
        for (int half = 0; half < BLOCK; half += LANES) store(scores + (slot - key) * BLOCK + half, splat(HIDDEN));
  }

  void forward(int frame) {
    const int count = seen_frames(frame);
    for (int column = 0; column < rows_; column += BLOCK) {
      const Bf16 *rows[BLOCK];
      rows_of(a_.query, frame, column, rows);
      as_columns(rows, size_, query_columns_);
      if (!panel(count, column, 1)) panel(count, column, count);
      const int there = std::min(BLOCK, queries_ - column);
      Bf16 *to[BLOCK];
      for (int i = 0; i < there; ++i) to[i] = a_.out + query_at(frame, column + i);
      columns_to_rows(made_, divisors_, size_, there, to);
      for (int i = 0; i < BLOCK; ++i)
        log_rows(frame)[column + i] = i < there ? references_[i] - std::log2(divisors_[i]) : -HIDDEN;
    }
  }

  // scores_ (keys, 32) of one of the frames against a panel.
  void score(int at, int column) {
    const Bf16 *left = key_left_ + frames_[at] * per_key_frame_;
    for (int key = 0; key < a_.length; key += BLOCK)
      product(left + size_t(key) * size_, query_columns_, a_.length - key, scores_ + size_t(key) * BLOCK);
    hide(scores_, 0, pairs_, at == 0);
    for (int key = 0; key < a_.length && at == 0; ++key)
      for (int half = 0; half < BLOCK; half += LANES) {
        float *here = scores_ + size_t(key) * BLOCK + half;
        store(here, load(here) + load(own_ + size_t(key) * rows_ + column + half));
      }
  }

  // A panel's sums of values (made_), which divisors_ are for. Shares are relative to the largest of the first `known`
  // frames, the own one before all: so most panels' scores are computed once. Whether that was near enough.
  bool panel(int count, int column, int known) {
    const Floats factor = splat(scale_ * LOG2E);
    Floats most[2] = {splat(HIDDEN), splat(HIDDEN)}, total[2] = {splat(0.0f), splat(0.0f)};
    for (int at = 0; at < known; ++at) {
      score(at, column);
      for (int key = 0; key < a_.length; ++key)
        for (int half = 0; half < 2; ++half)
          most[half] = maximum(load(scores_ + size_t(key) * BLOCK + half * LANES), most[half]);
    }
    const Floats reference[2] = {most[0] * factor, most[1] * factor};
    for (int at = 0; at < count; ++at) {
      if (at > 0 || known > 1) score(at, column);
      for (int key = 0; key < pairs_; key += 2)
        for (int half = 0; half < 2; ++half) {
          const float *scores = scores_ + size_t(key) * BLOCK + half * LANES;
          const Floats first = power_of_two_in_bf16(difference(load(scores), factor, reference[half]));
          const Floats second = power_of_two_in_bf16(difference(load(scores + BLOCK), factor, reference[half]));
          total[half] = total[half] + (first + second);
          store_paired(shares_ + (size_t(key) + half) * BLOCK, first, second);
        }
      add_frame(at, shares_, made_);
    }
    for (int half = 0; half < 2; ++half) {
      store(references_ + half * LANES, reference[half]);
      store(divisors_ + half * LANES, splat(1.0f) / total[half]);
    }
    return maximum(total[0]) < MOST && maximum(total[1]) < MOST;
  }

  void backward(int frame) {
    const int count = seen_frames(frame);
    for (int column = 0; column < rows_; column += BLOCK) {
      const Bf16 *rows[BLOCK], *outs[BLOCK];
      const size_t here = size_t(column) * size_;
      rows_of(a_.query, frame, column, rows);
      as_columns(rows, size_, query_columns_ + here);
      as_row_pairs(rows, size_, query_pairs_ + here);
      rows_of(a_.out_gradient, frame, column, rows);
      as_columns(rows, size_, gradient_columns_ + here);
      as_row_pairs(rows, size_, gradient_pairs_ + here);
      rows_of(a_.out, frame, column, outs);
      for (int i = 0; i < BLOCK; ++i) {
        Floats sums = splat(0.0f);
        for (int at = 0; at < size_; at += LANES) sums = sums + widened(rows[i] + at) * widened(outs[i] + at);
        delta_[column + i] = sum(sums);
      }
    }
    for (int at = 0; at < count; ++at) {
      for (int key = 0; key < a_.length; key += BLOCK) {
        if (at == 0)
          changes<true>(frame, at, key);
        else
          changes<false>(frame, at, key);
        const size_t to = frames_[at] * per_key_frame_ + size_t(key) * size_;
        for (int channel = 0; channel < size_; channel += BLOCK) {
          add_rows(shares_, gradient_pairs_ + channel * 2, a_.length - key, value_gradient_ + to + channel);
          add_rows(changes_, query_pairs_ + channel * 2, a_.length - key, key_gradient_ + to + channel);
        }
      }
      for (int column = 0; column < rows_; column += BLOCK)
        add_frame(at, change_pairs_ + size_t(column) * keys_, made_ + size_t(column) * size_);
    }
    for (int column = 0; column < rows_; column += BLOCK) {
      const int there = std::min(BLOCK, queries_ - column);
      float *to[BLOCK];
      for (int i = 0; i < there; ++i) to[i] = a_.query_gradient + query_at(frame, column + i);
      columns_to_rows(made_ + size_t(column) * size_, scale_, size_, there, to);
    }
  }

  void add_rows(const Bf16 *left, const Bf16 *pairs, int rows, float *out) const {
    multiply_block(left, rows_, pairs, size_ * 2, rows_ / BLOCK, out, size_, true, rows);
  }

  // out (size, 32): a frame's values or keys (turned_), weighted by what is in `pairs` of its keys, are added up.
  void add_frame(int at, const Bf16 *pairs, float *out) const {
    const Bf16 *left = turned_ + frames_[at] * per_key_frame_;
    for (int channel = 0; channel < size_; channel += BLOCK)
      multiply_block(left + size_t(channel) * keys_, keys_, pairs, BLOCK * 2, keys_ / BLOCK,
                     out + size_t(channel) * BLOCK, BLOCK, at > 0);
  }

  // The shares of 32 keys under all queries, and how the scores (without `scale`) are to change.
  template <bool OWN>
  void changes(int frame, int at, int key) {
    const Floats factor = splat(scale_ * LOG2E);
    const int rows = std::min(BLOCK, pairs_ - key);
    const size_t from = frames_[at] * per_key_frame_ + size_t(key) * size_;
    for (int column = 0; column < rows_; column += BLOCK) {
      product(key_left_ + from, query_columns_ + size_t(column) * size_, a_.length - key, scores_);
      product(value_left_ + from, gradient_columns_ + size_t(column) * size_, a_.length - key, gradients_);
      hide(scores_, key, rows, OWN);
      const float *logs = log_rows(frame) + column, *deltas = delta_ + column;
      const Floats log[2] = {load(logs), load(logs + LANES)}, delta[2] = {load(deltas), load(deltas + LANES)};
      Bf16 *paired = change_pairs_ + size_t(column) * keys_ + size_t(key) * BLOCK;
      for (int row = 0; row < rows; row += 2) {
        Floats change[2][2];
        for (int i = 0; i < 2; ++i) {
          Floats share[2];
          const size_t where = size_t(row + i) * BLOCK, to = size_t(row + i) * rows_ + column;
          for (int half = 0; half < 2; ++half) {
            Floats value = load(scores_ + where + half * LANES);
            if (OWN) value = value + load(own_ + size_t(key + row + i) * rows_ + column + half * LANES);
            share[half] = power_of_two_in_bf16(difference(value, factor, log[half]));
            change[i][half] = share[half] * (load(gradients_ + where + half * LANES) - delta[half]);
          }
          store_narrowed(shares_ + to, share[0], share[1]);
          store_narrowed(changes_ + to, change[i][0], change[i][1]);
        }
        for (int half = 0; half < 2; ++half)
          store_paired(paired + size_t(row) * BLOCK + half * BLOCK, change[0][half], change[1][half]);
      }
    }
  }

  const ClipAttention a_;
  const int groups_, size_, keys_, pairs_, rows_, queries_;
  const size_t per_key_frame_;
  const float scale_;
  int clip_ = 0, head_ = 0;
  Buffer<Bf16> key_left_, value_left_, turned_, zeros_, query_columns_, gradient_columns_, query_pairs_, gradient_pairs_;
  Buffer<float> own_, scores_, gradients_;
  Buffer<Bf16> shares_, changes_, change_pairs_;
  Buffer<float> made_, key_gradient_, value_gradient_, delta_;
  std::vector<int> frames_, unseen_;
  alignas(64) float divisors_[BLOCK] = {}, references_[BLOCK] = {};
};

inline void attend_clips(const ClipAttention &a) {
  const int tasks = a.clips * a.kv_heads;
  std::atomic<int> next{0};
  const auto work = [&] {
    [[maybe_unused]] const TileRegisters registers;
    AttentionTask task(a);
    for (int number = next++; number < tasks; number = next++) task.run(number / a.kv_heads, number % a.kv_heads);
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < std::min(a.threads, tasks); ++thread) others.emplace_back(work);
  work();
  for (std::thread &other : others) other.join();
}

}  // namespace worldmodel
