// Whole frames: inputs, passes, cache, guidance and sampling. Twin of worldmodel/engine/decoder.py, whose words these are.
// Frames of several players go through the passes together, so that a weight is read once for all of them.
#pragma once

#include <memory>
#include <numeric>
#include <vector>

#include "layer.h"
#include "plan.h"
#include "rms_norm.h"
#include "rotary.h"
#include "swiglu.h"
#include "threads.h"

namespace worldmodel {

// Players whose frames go through the passes together.
constexpr int AT_ONCE = 16;

class AnyDecoder : public Helped {
 public:
  // Frames of different players.
  virtual void decode(const Frame *frames, int count) = 0;
};

template <class A>
class Decoder final : public AnyDecoder {
 public:
  explicit Decoder(const Model &m)
      : m_(m),
        width_(padded(m.hidden)),
        head_width_(operand_width<A>(m.head_dim)),
        sizes_(m.sizes, m.sizes + m.parts),
        columns_(std::accumulate(sizes_.begin(), sizes_.end(), 0)),
        plan_(m),
        threads_(m.threads),
        inputs_(m, std::min(m.players, AT_ONCE)),
        cache_(m.layers, m.kv_heads, m.players * plan_.ring() * plan_.tiles(), m.head_dim) {
    if (m.chain != nullptr) chain_.assign(m.chain, m.chain + size_t(sizes_[0]) * sizes_[1]);
    const float *const *next = m.weights;
    for (int index = 0; index < m.layers; ++index) layers_.emplace_back(m, next);
    norm_ = table(*next++, 1, m.hidden);
    head_ = Layer<A>::matrix(*next++, columns_, m.hidden);

    const int frames = std::min(m.players, AT_ONCE), most = plan_.most_rows() * frames;
    x_ = Buffer<float>(size_t(most) * width_);
    normed_ = Rows<A>(most, m.hidden, SPAN);
    qkv_width_ = layers_.empty() ? 0 : layers_[0].qkv.tiles * LANES;
    qkv_ = Buffer<float>(size_t(most) * qkv_width_);
    queries_ = Rows<A>(most * m.heads, head_width_, head_width_);
    mixed_width_ = padded(m.heads * m.head_dim);
    mixed_ = Buffer<float>(size_t(most) * mixed_width_);
    mixed_rows_ = Rows<A>(most, mixed_width_, SPAN);
    middle_ = Buffer<float>(size_t(most) * padded(m.mlp));
    middle_rows_ = Rows<A>(most, m.mlp, SPAN);
    logits_ = Buffer<float>(size_t(most) * head_.tiles * LANES);
    for (int thread = 0; thread < m.threads; ++thread)
      scratch_.push_back(std::make_unique<Scratch>(*this, plan_.most_seen()));
  }

  void decode(const Frame *frames, int count) override {
    const int turns = (count + AT_ONCE - 1) / AT_ONCE;
    for (int turn = 0; turn < turns; ++turn) {
      const int first = count * turn / turns;
      decode_together(frames + first, count * (turn + 1) / turns - first);
    }
  }

  void help(int thread) override { threads_.work(thread); }

 private:
  enum class Kind { EMBED, NORM, QKV, PLACE, ATTEND, MIXED, OUTPUT, POST_NORM, GATE_UP, MIDDLE, DOWN, LAST_NORM, HEAD, DRAW };
  // What the threads do at once: each of its items a part of the pass's rows, tiles or heads.
  struct Phase {
    Kind kind;
    const Pass *pass;
    int layer;
  };
  struct Scratch {
    AttentionScratch<A> attention;
    SamplingScratch sampling;
    Rows<A> one;
    Buffer<float> row, key, value, mixed;
    Scratch(const Decoder &of, int seen)
        : attention(seen, of.head_width_),
          sampling(std::max(of.columns_, 1)),
          one(1, of.head_width_, of.head_width_),
          row(std::max({of.width_, of.head_.tiles * LANES})),
          key(of.head_width_),
          value(of.head_width_),
          mixed(size_t(MAX_ROWS) * of.head_width_) {}
  };

  // use(index) for those of `count` that are an item's, one of `items`.
  template <class Use>
  static void each(int count, int item, int items, Use &&use) {
    const int first = int(int64_t(count) * item / items), last = int(int64_t(count) * (item + 1) / items);
    for (int index = first; index < last; ++index) use(index);
  }
  static int attention_blocks(const Share &share, int groups) {
    return (share.count * groups + MAX_ROWS - 1) / MAX_ROWS;
  }

  void decode_together(const Frame *frames, int count) {
    plan_.make(frames, count);
    bool wanted = false;
    for (int frame = 0; frame < count; ++frame) {
      wanted = wanted || frames[frame].forced == nullptr || frames[frame].scores != nullptr;
      inputs_.add_actions(frames[frame], frame);
    }
    schedule(wanted);
    const Threads::Job job = [&](int index, int item, int thread) {
      const Phase &phase = phases_[index];
      run(frames, phase, item, items_[index], *scratch_[thread]);
    };
    threads_.run(items_, job);
  }

  // drawn: whether logits are wanted.
  void schedule(bool drawn) {
    phases_.clear();
    items_.clear();
    const auto add = [&](Kind kind, const Pass &pass, int layer, int parts, int a_thread) {
      phases_.push_back({kind, &pass, layer});
      items_.push_back(std::min({parts, a_thread * threads_.count(), Threads::MOST_ITEMS}));
    };
    for (const Pass &pass : plan_.passes()) {
      const int rows = int(pass.rows.size());
      int blocks = 0;
      for (const Share &share : pass.shares) blocks += attention_blocks(share, m_.heads / m_.kv_heads) * m_.kv_heads;
      for (int index = 0; index < m_.layers; ++index) {
        const Layer<A> &layer = layers_[index];
        add(index ? Kind::NORM : Kind::EMBED, pass, index, rows, 1);
        add(Kind::QKV, pass, index, layer.qkv.tiles, 2);
        add(Kind::PLACE, pass, index, rows, 1);
        add(Kind::ATTEND, pass, index, blocks, blocks);
        add(Kind::MIXED, pass, index, rows, 1);
        add(Kind::OUTPUT, pass, index, layer.output.tiles, 2);
        add(Kind::POST_NORM, pass, index, rows, 1);
        add(Kind::GATE_UP, pass, index, layer.gate_up.tiles / 2, 4);
        add(Kind::MIDDLE, pass, index, rows, 1);
        add(Kind::DOWN, pass, index, layer.down.tiles, 2);
      }
      if (drawn) {
        add(Kind::LAST_NORM, pass, 0, rows - pass.silent, 1);
        add(Kind::HEAD, pass, 0, head_.tiles, 4);
      }
      add(Kind::DRAW, pass, 0, int(pass.drawn.size()), 1);
    }
  }

  // Turns a row's queries and key, and puts key and value into the cache.
  void place(const Frame &frame, const Row &row, int index, int layer, Scratch &scratch) {
    const int size = m_.head_dim, pairs = size / 2;
    const bool outro = row.slot >= m_.image;
    const float *cosine = (outro ? frame.outro_cosine : frame.cosine) + size_t(row.slot) * pairs;
    const float *sine = (outro ? frame.outro_sine : frame.sine) + size_t(row.slot) * pairs;
    const float *q = qkv_ + size_t(index) * qkv_width_, *k = q + m_.heads * size, *v = k + m_.kv_heads * size;
    for (int head = 0; head < m_.heads; ++head) {
      rotate(q + head * size, cosine, sine, pairs, scratch.key);
      queries_.set(index * m_.heads + head, scratch.key);
    }
    for (int head = 0; head < m_.kv_heads; ++head) {
      rotate(k + head * size, cosine, sine, pairs, scratch.key);
      std::memcpy(scratch.value, v + head * size, size * sizeof(float));
      cache_.write(layer, head, row.ring * plan_.tiles() + row.slot / LANES, row.slot % LANES, scratch.key,
                   scratch.value, scratch.one);
    }
  }

  // A block of query rows of a head of keys, which all see the same.
  void attention(const Pass &pass, int layer, int block, Scratch &scratch) {
    const int groups = m_.heads / m_.kv_heads;
    const Share *share = pass.shares.data();
    for (int blocks; block >= (blocks = attention_blocks(*share, groups) * m_.kv_heads); ++share) block -= blocks;
    const int head = block % m_.kv_heads, number = block / m_.kv_heads, all = share->count * groups;
    const int blocks = attention_blocks(*share, groups);
    const int first = all * number / blocks, count = all * (number + 1) / blocks - first;
    int rows[MAX_ROWS];
    float *out[MAX_ROWS];
    for (int r = 0; r < count; ++r) {
      rows[r] = (share->first + (first + r) / groups) * m_.heads + head * groups + (first + r) % groups;
      out[r] = scratch.mixed + size_t(r) * head_width_;
    }
    const float factor = LOG2E / std::sqrt(float(m_.head_dim));
    attend(cache_, layer, head, share->seen, queries_, rows, count, factor, scratch.attention, out);
    for (int r = 0; r < count; ++r)
      std::memcpy(mixed_ + size_t(rows[r] / m_.heads) * mixed_width_ + rows[r] % m_.heads * m_.head_dim, out[r],
                  m_.head_dim * sizeof(float));
  }

  // The token of a pass's row, or what is known of it.
  void draw_row(const Frame &frame, const Pass &pass, int row, Scratch &scratch) {
    const int slot = pass.rows[pass.silent + row].slot, where = inputs_.place(slot), stride = head_.tiles * LANES;
    if (frame.forced == nullptr || frame.scores != nullptr) {
      float *scores = logits_ + size_t(row) * stride;
      if (frame.lanes > 1) {
        const float *idle = logits_ + size_t(row + pass.group) * stride;
        const Floats guidance = splat(frame.sampling.guidance);
        for (int i = 0; i < stride; i += LANES)
          store(scores + i, load(scores + i) + guidance * (load(scores + i) - load(idle + i)));
      }
      if (frame.scores != nullptr) std::copy(scores, scores + columns_, frame.scores + size_t(slot) * columns_);
      if (frame.forced == nullptr)
        frame.tokens[where] =
            draw_parts(scores, sizes_, m_.chain != nullptr ? chain_.data() : nullptr, frame.sampling, uint32_t(where),
                       uint32_t(m_.image), scratch.sampling);
    }
    if (frame.forced != nullptr) frame.tokens[where] = frame.forced[where];
  }

  void run(const Frame *frames, const Phase &phase, int item, int items, Scratch &scratch) {
    const Pass &pass = *phase.pass;
    const Layer<A> &layer = layers_[phase.layer];
    const int rows = int(pass.rows.size()), drawn = rows - pass.silent, middle = padded(m_.mlp);
    const auto x = [&](int row) { return x_ + size_t(row) * width_; };
    const auto norm = [&](int row, const float *weight, int to) {
      rms_norm(x(row), weight, m_.hidden, m_.epsilon, scratch.row);
      normed_.set(to, scratch.row);
    };
    const auto add_to_x = [&](int row, int tile, Floats out) {
      float *to = x(row) + tile * LANES;
      store(to, load(to) + out);
    };
    switch (phase.kind) {
      case Kind::EMBED:
        return each(rows, item, items, [&](int row) {
          inputs_.embed(frames[pass.rows[row].frame], pass.rows[row], x(row));
          norm(row, layer.norm, row);
        });
      case Kind::NORM:
        return each(rows, item, items, [&](int row) { norm(row, layer.norm, row); });
      case Kind::QKV:
        return each(layer.qkv.tiles, item, items, [&](int tile) {
          linear(layer.qkv, normed_, rows, tile, [&](int row, int, Floats out) {
            store(qkv_ + size_t(row) * qkv_width_ + tile * LANES, out);
          });
        });
      case Kind::PLACE:
        return each(rows, item, items, [&](int row) {
          place(frames[pass.rows[row].frame], pass.rows[row], row, phase.layer, scratch);
        });
      case Kind::ATTEND: {
        int blocks = 0;
        for (const Share &share : pass.shares) blocks += attention_blocks(share, m_.heads / m_.kv_heads) * m_.kv_heads;
        return each(blocks, item, items, [&](int block) { attention(pass, phase.layer, block, scratch); });
      }
      case Kind::MIXED:
        return each(rows, item, items, [&](int row) { mixed_rows_.set(row, mixed_ + size_t(row) * mixed_width_); });
      case Kind::OUTPUT:
        return each(layer.output.tiles, item, items,
                    [&](int tile) { linear(layer.output, mixed_rows_, rows, tile, add_to_x); });
      case Kind::POST_NORM:
        return each(rows, item, items, [&](int row) { norm(row, layer.post_norm, row); });
      case Kind::GATE_UP:
        return each(layer.gate_up.tiles / 2, item, items,
                    [&](int tile) { gate_up<A>(layer.gate_up, normed_, rows, tile, middle_, middle); });
      case Kind::MIDDLE:
        return each(rows, item, items, [&](int row) { middle_rows_.set(row, middle_ + size_t(row) * middle); });
      case Kind::DOWN:
        return each(layer.down.tiles, item, items,
                    [&](int tile) { linear(layer.down, middle_rows_, rows, tile, add_to_x); });
      case Kind::LAST_NORM:
        return each(drawn, item, items, [&](int row) { norm(pass.silent + row, norm_, row); });
      case Kind::HEAD:
        return each(head_.tiles, item, items, [&](int tile) {
          linear(head_, normed_, drawn, tile, [&](int row, int, Floats out) {
            store(logits_ + (size_t(row) * head_.tiles + tile) * LANES, out);
          });
        });
      case Kind::DRAW:
        return each(int(pass.drawn.size()), item, items, [&](int index) {
          draw_row(frames[pass.drawn[index].frame], pass, pass.drawn[index].row, scratch);
        });
    }
  }

  const Model m_;  // whose tables are only read while this is made; afterwards they say what there is
  const int width_, head_width_;
  const std::vector<int32_t> sizes_;  // of a token's parts
  const int columns_;
  Plan plan_;
  Threads threads_;
  Inputs inputs_;
  Buffer<float> norm_;
  std::vector<float> chain_;
  Cache<A> cache_;
  std::vector<Layer<A>> layers_;
  Matrix<A> head_;
  int qkv_width_ = 0, mixed_width_ = 0;
  Buffer<float> x_, qkv_, mixed_, middle_, logits_;
  Rows<A> normed_, queries_, mixed_rows_, middle_rows_;
  std::vector<std::unique_ptr<Scratch>> scratch_;
  std::vector<Phase> phases_;
  std::vector<int> items_;  // of each phase
};

}  // namespace worldmodel
