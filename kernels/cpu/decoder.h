// A decoder's passes: all layers over their rows, keys and values in a cache, and tokens drawn at the end. frames.h and
// sequences.h say what the rows are.
#pragma once

#include <memory>
#include <numeric>
#include <vector>

#include "layer.h"
#include "pass.h"
#include "rms_norm.h"
#include "rotary.h"
#include "swiglu.h"
#include "threads.h"

namespace worldmodel {

// Where a pass's inputs come from and its tokens go. Asked by several threads at once.
class Source {
 public:
  virtual ~Source() = default;
  // x: (padded hidden,), the input of a row.
  virtual void embed(const Row &row, float *x) const = 0;
  // logits: (rows that are not silent, stride); may be overwritten where they are the token's alone.
  virtual void draw(const Pass &pass, const Drawn &drawn, float *logits, int stride, SamplingScratch &scratch) const = 0;
};

class AnyDecoder : public Helped {
 public:
  // One after the other. logits: whether they are wanted; a pass that draws nothing has none.
  virtual void run(const std::vector<Pass> &passes, bool logits, const Source &source) = 0;
  // Makes some tiles of the cache keys and values of zero.
  virtual void clear(int first_tile, int count) = 0;
};

template <class A>
class Decoder final : public AnyDecoder {
 public:
  // most: rows of a pass; tiles: of the cache; seen: tiles that a row sees at most.
  Decoder(const Model &m, int most, int tiles, int seen)
      : m_(m),
        width_(padded(m.hidden)),
        head_width_(operand_width<A>(m.head_dim)),
        columns_(std::accumulate(m.sizes, m.sizes + m.parts, 0)),
        threads_(m.threads),
        cache_(m.layers, m.kv_heads, tiles, m.head_dim) {
    const float *const *next = m.weights;
    for (int index = 0; index < m.layers; ++index) layers_.emplace_back(m, next);
    norm_ = table(*next++, 1, m.hidden);
    head_ = Layer<A>::matrix(*next++, columns_, m.hidden);

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
    for (int thread = 0; thread < m.threads; ++thread) scratch_.push_back(std::make_unique<Scratch>(*this, seen));
  }

  void run(const std::vector<Pass> &passes, bool logits, const Source &source) override {
    schedule(passes, logits);
    const Threads::Job job = [&](int index, int item, int thread) {
      run(source, phases_[index], item, items_[index], *scratch_[thread]);
    };
    threads_.run(items_, job);
  }

  void clear(int first_tile, int count) override { cache_.clear(first_tile, count); }

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

  void schedule(const std::vector<Pass> &passes, bool logits) {
    phases_.clear();
    items_.clear();
    const auto add = [&](Kind kind, const Pass &pass, int layer, int parts, int a_thread) {
      phases_.push_back({kind, &pass, layer});
      items_.push_back(std::min({parts, a_thread * threads_.count(), Threads::MOST_ITEMS}));
    };
    for (const Pass &pass : passes) {
      const int rows = int(pass.rows.size());
      int blocks = 0;
      for (const Share &share : pass.shares) blocks += attention_blocks(share, m_.heads / m_.kv_heads) * m_.kv_heads;
      for (int index = 0; index < m_.layers; ++index) {
        const Layer<A> &layer = layers_[index];
        add(index ? Kind::NORM : Kind::EMBED, pass, index, rows, 1);
        add(Kind::QKV, pass, index, layer.qkv.tiles, 2);
        add(Kind::PLACE, pass, index, rows, 1);
        if (pass.drawn.empty() && index == m_.layers - 1) break;  // its keys and values are all that is asked for
        add(Kind::ATTEND, pass, index, blocks, blocks);
        add(Kind::MIXED, pass, index, rows, 1);
        add(Kind::OUTPUT, pass, index, layer.output.tiles, 2);
        add(Kind::POST_NORM, pass, index, rows, 1);
        add(Kind::GATE_UP, pass, index, layer.gate_up.tiles / 2, 4);
        add(Kind::MIDDLE, pass, index, rows, 1);
        add(Kind::DOWN, pass, index, layer.down.tiles, 2);
      }
      if (pass.drawn.empty()) continue;
      if (logits) {
        add(Kind::LAST_NORM, pass, 0, rows - pass.silent, 1);
        add(Kind::HEAD, pass, 0, head_.tiles, 4);
      }
      add(Kind::DRAW, pass, 0, int(pass.drawn.size()), 1);
    }
  }

  // Turns a row's queries and key, and puts key and value into the cache.
  void place(const Row &row, int index, int layer, Scratch &scratch) {
    const int size = m_.head_dim, pairs = size / 2;
    const float *q = qkv_ + size_t(index) * qkv_width_, *k = q + m_.heads * size, *v = k + m_.kv_heads * size;
    for (int head = 0; head < m_.heads; ++head) {
      rotate(q + head * size, row.cosine, row.sine, pairs, scratch.key);
      queries_.set(index * m_.heads + head, scratch.key);
    }
    for (int head = 0; head < m_.kv_heads; ++head) {
      rotate(k + head * size, row.cosine, row.sine, pairs, scratch.key);
      std::memcpy(scratch.value, v + head * size, size * sizeof(float));
      cache_.write(layer, head, row.tile, row.slot % LANES, scratch.key, scratch.value, scratch.one);
    }
  }

  // A block of query rows of a head of keys, which are of one share.
  void attention(const Pass &pass, int layer, int block, Scratch &scratch) {
    const int groups = m_.heads / m_.kv_heads;
    const Share *share = pass.shares.data();
    for (int blocks; block >= (blocks = attention_blocks(*share, groups) * m_.kv_heads); ++share) block -= blocks;
    const int head = block % m_.kv_heads, number = block / m_.kv_heads, all = share->count * groups;
    const int blocks = attention_blocks(*share, groups);
    const int first = all * number / blocks, count = all * (number + 1) / blocks - first;
    int rows[MAX_ROWS], ends[MAX_ROWS];
    float *out[MAX_ROWS];
    for (int r = 0; r < count; ++r) {
      const int row = share->first + (first + r) / groups;
      rows[r] = row * m_.heads + head * groups + (first + r) % groups;
      ends[r] = pass.rows[row].seen;
      out[r] = scratch.mixed + size_t(r) * head_width_;
    }
    const float factor = LOG2E / std::sqrt(float(m_.head_dim));
    attend(cache_, layer, head, share->seen, queries_, rows, ends, count, factor, scratch.attention, out);
    for (int r = 0; r < count; ++r)
      std::memcpy(mixed_ + size_t(rows[r] / m_.heads) * mixed_width_ + rows[r] % m_.heads * m_.head_dim, out[r],
                  m_.head_dim * sizeof(float));
  }

  void run(const Source &source, const Phase &phase, int item, int items, Scratch &scratch) {
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
          source.embed(pass.rows[row], x(row));
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
        return each(rows, item, items, [&](int row) { place(pass.rows[row], row, phase.layer, scratch); });
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
          source.draw(pass, pass.drawn[index], logits_, head_.tiles * LANES, scratch.sampling);
        });
    }
  }

  const Model m_;  // whose tables are only read while this is made; afterwards they say what there is
  const int width_, head_width_, columns_;
  Threads threads_;
  Buffer<float> norm_;
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

// See Decoder, for either arithmetic.
inline std::unique_ptr<AnyDecoder> any_decoder(const Model &m, int most, int tiles, int seen) {
  if (m.int8) return std::make_unique<Decoder<Int8>>(m, most, tiles, seen);
  return std::make_unique<Decoder<Float32>>(m, most, tiles, seen);
}

}  // namespace worldmodel
