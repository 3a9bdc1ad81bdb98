// Attention over whole clips, for training: forward and backward, nothing of the size of its shares in memory (Dao et al.
// 2022, arXiv 2205.14135). Twin of WindowAttention (worldmodel/model/transformer.py). A frame's rows see the frames that
// lie `offset` before it, but for slots that are not kept, and of their own frame what `seen` says. Products are in bf16,
// the rest is float32.
//
// All is computed transposed, keys as rows and queries as columns: a query is a lane, and sums over its keys are sums of
// vectors. Query heads that share a key head lie side by side.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "arithmetic.h"
#include "bf16_tiles.h"

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
        rows_(attention_rows(a)),
        per_key_frame_(size_t(keys_) * size_),
        most_(a.offsets + 1),
        scale_(1.0f / std::sqrt(float(a.size))),
        key_left_(a.frames * per_key_frame_),
        value_left_(a.frames * per_key_frame_),
        turned_(a.frames * per_key_frame_),
        query_right_(size_t(rows_) * size_),
        gradient_right_(backward_only(size_t(rows_) * size_)),
        query_by_rows_(backward_only(size_t(rows_) * size_)),
        gradient_by_rows_(backward_only(size_t(rows_) * size_)),
        own_(size_t(keys_) * rows_),
        scores_(std::max(size_t(most_) * keys_ * BLOCK, backward_only(2 * BLOCK * BLOCK))),
        shares_(std::max(size_t(most_) * keys_ * BLOCK, backward_only(size_t(keys_) * rows_))),
        changes_(backward_only(size_t(keys_) * rows_)),
        paired_changes_(backward_only(size_t(most_) * keys_ * rows_)),
        made_(size_t(size_) * rows_),
        key_gradient_(backward_only(a.frames * per_key_frame_)),
        value_gradient_(backward_only(a.frames * per_key_frame_)),
        delta_(backward_only(rows_)) {
    for (int key = 0; key < keys_; ++key)
      for (int row = 0; row < rows_; ++row) {
        const bool there = key < a.length && (row >= groups_ * a.length || a.seen[row % a.length * a.length + key]);
        own_[size_t(key) * rows_ + row] = there ? 0.0f : HIDDEN;
      }
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
        std::memcpy(a_.key_gradient + to, key_gradient_ + from, size_ * sizeof(float));
        std::memcpy(a_.value_gradient + to, value_gradient_ + from, size_ * sizeof(float));
      }
  }

 private:
  static constexpr float HIDDEN = -1e30f;

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
      std::memcpy(value_left_ + to, a_.value + from, size_ * sizeof(Bf16));
      for (int channel = 0; channel < size_; ++channel)
        turned_[frame * per_key_frame_ + size_t(channel) * keys_ + slot] = given[from + channel];
    }
  }

  // Rows of (row, channel) as a right operand: pairs of channels; and, for `by_rows`, pairs of rows.
  void take_rows(const Bf16 *given, int frame, Bf16 *right, Bf16 *by_rows) const {
    for (int row = 0; row < groups_ * a_.length; ++row) {
      const Bf16 *from = given + query_at(frame, row);
      for (int channel = 0; channel < size_; channel += 2)
        std::memcpy(right + size_t(channel / 2) * rows_ * 2 + row * 2, from + channel, 2 * sizeof(Bf16));
      if (by_rows != nullptr)
        for (int channel = 0; channel < size_; ++channel)
          by_rows[(size_t(row / 2) * size_ + channel) * 2 + row % 2] = from[channel];
    }
  }

  // The frames that a frame's rows see, itself the last.
  int seen_frames(int frame, int *frames) const {
    int count = 0;
    for (int i = a_.offsets - 1; i >= 0; --i)
      if (a_.offset[i] <= frame) frames[count++] = frame - a_.offset[i];
    frames[count++] = frame;
    return count;
  }

  void forward(int frame) {
    std::vector<int> frames(most_);
    const int count = seen_frames(frame, frames.data()), all = count * keys_;
    const Floats factor = splat(scale_ * LOG2E);
    take_rows(a_.query, frame, query_right_, nullptr);
    for (int column = 0; column < rows_; column += BLOCK) {
      for (int key = 0; key < all; key += BLOCK) {
        const Factors one{left(key_left_, frames[key / keys_], key % keys_), query_right_ + column * 2};
        multiply_block(&one, 1, size_, rows_ * 2, size_ / BLOCK, scores_ + size_t(key) * BLOCK, BLOCK, false);
      }
      for (int half = 0; half < BLOCK; half += LANES) {
        float *scores = scores_ + half;
        Floats most = splat(HIDDEN), total = splat(0.0f);
        for (int at = 0; at < count; ++at)
          for (int key = 0; key < a_.length; ++key) {
            if (at < count - 1 && !a_.kept[key]) continue;
            float *score = scores + (size_t(at) * keys_ + key) * BLOCK;
            Floats value = load(score);
            if (at == count - 1) store(score, value = value + load(own_ + size_t(key) * rows_ + column + half));
            most = maximum(value, most);
          }
        for (int at = 0; at < count; ++at)
          for (int key = 0; key < keys_; key += 2) {
            Floats pair[2] = {splat(0.0f), splat(0.0f)};
            for (int i = 0; i < 2; ++i)
              if (key + i < a_.length && (at == count - 1 || a_.kept[key + i])) {
                pair[i] = power_of_two_in_bf16((load(scores + (size_t(at) * keys_ + key + i) * BLOCK) - most) * factor);
                total = total + pair[i];
              }
            store_paired(shares_ + (size_t(at) * keys_ + key) * BLOCK + half * 2, pair[0], pair[1]);
          }
        alignas(64) float tops[LANES], totals[LANES];
        store(tops, most * factor);
        store(totals, total);
        for (int lane = 0; lane < LANES; ++lane) {
          const int row = column + half + lane;
          log_rows(frame)[row] = row < groups_ * a_.length ? tops[lane] + std::log2(totals[lane]) : -HIDDEN;
        }
        store(divisors_ + half, splat(1.0f) / total);
      }
      for (int channel = 0; channel < size_; channel += BLOCK) {
        factors_.clear();
        for (int at = 0; at < count; ++at)
          factors_.push_back({turned_ + frames[at] * per_key_frame_ + size_t(channel) * keys_,
                              shares_ + size_t(at) * keys_ * BLOCK});
        multiply_block(factors_.data(), count, keys_, BLOCK * 2, keys_ / BLOCK, made_ + size_t(channel) * BLOCK, BLOCK,
                       false);
      }
      for (int lane = 0; lane < BLOCK && column + lane < groups_ * a_.length; ++lane) {
        Bf16 *to = a_.out + query_at(frame, column + lane);
        for (int channel = 0; channel < size_; ++channel)
          to[channel] = narrowed(made_[size_t(channel) * BLOCK + lane] * divisors_[lane]);
      }
    }
  }

  void backward(int frame) {
    std::vector<int> frames(most_);
    const int count = seen_frames(frame, frames.data());
    const Floats factor = splat(scale_ * LOG2E), scale = splat(scale_);
    take_rows(a_.query, frame, query_right_, query_by_rows_);
    take_rows(a_.out_gradient, frame, gradient_right_, gradient_by_rows_);
    for (int row = 0; row < groups_ * a_.length; ++row) {
      const size_t at = query_at(frame, row);
      float sum = 0;
      for (int channel = 0; channel < size_; ++channel)
        sum += widened(a_.out[at + channel]) * widened(a_.out_gradient[at + channel]);
      delta_[row] = sum;
    }
    const float *logs = log_rows(frame);
    float *scores = scores_, *gradients = scores_ + BLOCK * BLOCK;
    for (int at = 0; at < count; ++at) {
      Bf16 *paired = paired_changes_ + size_t(at) * keys_ * rows_;
      for (int key = 0; key < keys_; key += BLOCK)
        for (int column = 0; column < rows_; column += BLOCK) {
          const Factors score{left(key_left_, frames[at], key), query_right_ + column * 2};
          const Factors gradient{left(value_left_, frames[at], key), gradient_right_ + column * 2};
          multiply_block(&score, 1, size_, rows_ * 2, size_ / BLOCK, scores, BLOCK, false);
          multiply_block(&gradient, 1, size_, rows_ * 2, size_ / BLOCK, gradients, BLOCK, false);
          for (int half = 0; half < BLOCK; half += LANES) {
            const Floats log = load(logs + column + half), delta = load(delta_ + column + half);
            for (int row = 0; row < BLOCK; row += 2) {
              Floats share[2], change[2];
              const size_t to = size_t(key + row) * rows_ + column + half;
              for (int i = 0; i < 2; ++i) {
                const int here = key + row + i, where = (row + i) * BLOCK + half;
                share[i] = splat(0.0f);
                if (here < a_.length && (at == count - 1 || a_.kept[here])) {
                  Floats value = load(scores + where);
                  if (at == count - 1) value = value + load(own_ + to + i * rows_);
                  share[i] = power_of_two_in_bf16(value * factor - log);
                }
                change[i] = share[i] * (load(gradients + where) - delta) * scale;
              }
              store_narrowed(shares_ + to, shares_ + to + rows_, share[0], share[1]);
              store_narrowed(changes_ + to, changes_ + to + rows_, change[0], change[1]);
              store_paired(paired + (size_t(key + row) / 2 * rows_ + column + half) * 2, change[0], change[1]);
            }
          }
        }
      for (int key = 0; key < keys_; key += BLOCK)
        for (int channel = 0; channel < size_; channel += BLOCK) {
          const size_t to = frames[at] * per_key_frame_ + size_t(key) * size_ + channel;
          const Factors values{shares_ + size_t(key) * rows_, gradient_by_rows_ + channel * 2};
          const Factors keys{changes_ + size_t(key) * rows_, query_by_rows_ + channel * 2};
          multiply_block(&values, 1, rows_, size_ * 2, rows_ / BLOCK, value_gradient_ + to, size_, true);
          multiply_block(&keys, 1, rows_, size_ * 2, rows_ / BLOCK, key_gradient_ + to, size_, true);
        }
    }
    for (int channel = 0; channel < size_; channel += BLOCK)
      for (int column = 0; column < rows_; column += BLOCK) {
        factors_.clear();
        for (int at = 0; at < count; ++at)
          factors_.push_back({turned_ + frames[at] * per_key_frame_ + size_t(channel) * keys_,
                              paired_changes_ + size_t(at) * keys_ * rows_ + column * 2});
        multiply_block(factors_.data(), count, keys_, rows_ * 2, keys_ / BLOCK,
                       made_ + size_t(channel) * rows_ + column, rows_, false);
      }
    for (int row = 0; row < groups_ * a_.length; ++row) {
      float *to = a_.query_gradient + query_at(frame, row);
      for (int channel = 0; channel < size_; ++channel) to[channel] = made_[size_t(channel) * rows_ + row];
    }
  }

  const Bf16 *left(const Buffer<Bf16> &of, int frame, int key) const {
    return of + frame * per_key_frame_ + size_t(key) * size_;
  }

  const ClipAttention a_;
  const int groups_, size_, keys_, rows_;
  const size_t per_key_frame_;
  const int most_;
  const float scale_;
  int clip_ = 0, head_ = 0;
  Buffer<Bf16> key_left_, value_left_, turned_, query_right_, gradient_right_, query_by_rows_, gradient_by_rows_;
  Buffer<float> own_, scores_;
  Buffer<Bf16> shares_, changes_, paired_changes_;
  Buffer<float> made_, key_gradient_, value_gradient_, delta_;
  std::vector<Factors> factors_;
  alignas(64) float divisors_[BLOCK] = {};
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
