// Frames' pictures from their latents. Twin of worldmodel/tokenizers/image.py's ImageDecoder, whose words these are.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "convolution.h"
#include "model.h"
#include "swiglu.h"
#include "threads.h"

namespace worldmodel {

class AnyPictures : public Helped {
 public:
  // latents: (places, channels) of the tokens' grid; rgba: (height, width, 4) of the picture.
  virtual void decode(const float *latents, uint8_t *rgba) = 0;
};

template <class A>
class Pictures final : public AnyPictures {
 public:
  explicit Pictures(const PictureModel &m)
      : m_(m),
        threads_(m.threads),
        latents_(m.height, m.width, m.latent),
        lower_(m.height, m.width, m.deep),
        upper_(2 * m.height, 2 * m.width, m.wide) {
    const float *const *next = m.weights;
    from_latent_ = convolution<Float32>(next, 3, m.deep, m.latent);
    position_ = copied(*next++, size_t(m.height) * m.width * m.deep);
    step(from_latent_.tiles, [this](int tile) {
      from_latent_.run(latents_, tile, [&](int place, Floats out) {
        float *to = lower_.row(lower_.x, place) + tile * LANES;
        store(to, out);
        const int count = std::min(LANES, m_.deep - tile * LANES);
        for (int lane = 0; lane < count; ++lane) to[lane] += position_[size_t(place) * m_.deep + tile * LANES + lane];
      });
    });
    blocks(lower_, next, m.lower);
    up_ = convolution<A>(next, 1, 4 * m.wide, m.deep);
    step(lower_.places(), [this](int place) { lower_.plane.set(place, lower_.row(lower_.x, place)); });
    step(up_.tiles, [this](int tile) {
      up_.run(lower_.plane, tile, [&](int place, Floats out) { shuffle_up(place, tile, out); });
    });
    blocks(upper_, next, m.upper);
    norm(upper_, next, true);
    to_pixels_ = convolution<A>(next, 3, CHANNELS * PATCH * PATCH, m.wide);
    bias_ = copied(*next++, size_t(CHANNELS) * height() * width());
    step(to_pixels_.tiles, [this](int tile) {
      to_pixels_.run(upper_.plane, tile, [&](int place, Floats out) { paint(place, tile, out); });
    });
  }

  void decode(const float *latents, uint8_t *rgba) override {
    Buffer<float> one(padded(m_.latent));
    for (int place = 0; place < m_.height * m_.width; ++place) {
      std::memcpy(one, latents + size_t(place) * m_.latent, m_.latent * sizeof(float));
      latents_.set(place, one);
    }
    rgba_ = rgba;
    const Threads::Job job = [&](int step, int item, int) { steps_[step](item); };
    threads_.run(items_, job);
  }
  void help(int thread) override { threads_.work(thread); }

 private:
  static constexpr int CHANNELS = 3, PATCH = 8;

  // The channels of a resolution: x, what is added to it, and what a convolution reads.
  struct Level {
    int channels, width;  // padded
    Buffer<float> x, inner;
    Plane<A> plane;
    Buffer<float> mean, squares, scale, shift;  // of channels
    Level(int height_, int width_, int channels_)
        : channels(channels_),
          width(padded(channels_)),
          x(size_t(height_) * width_ * width),
          inner(size_t(height_) * width_ * width),
          plane(height_, width_, channels_),
          mean(width),
          squares(width),
          scale(width),
          shift(width) {}
    int places() const { return plane.height * plane.width; }
    float *row(Buffer<float> &of, int place) { return of + size_t(place) * width; }
  };

  int height() const { return 2 * PATCH * m_.height; }
  int width() const { return 2 * PATCH * m_.width; }

  template <class B>
  static Convolution<B> convolution(const float *const *&next, int size, int outputs, int inputs) {
    const float *weights = *next++, *bias = *next++;
    return Convolution<B>(weights, bias, size, outputs, inputs);
  }
  static Buffer<float> copied(const float *from, size_t count) {
    Buffer<float> out(count);
    std::memcpy(out, from, count * sizeof(float));
    return out;
  }
  // What the threads do at once: `work` for each of its items.
  void step(int items, std::function<void(int)> work) {
    items_.push_back(items);
    steps_.push_back(std::move(work));
  }

  // GroupNorm of x, and SiLU if wanted, as the next convolution's input.
  void norm(Level &level, const float *const *&next, bool then_silu) {
    norms_.push_back(copied(next[0], level.channels));
    norms_.push_back(copied(next[1], level.channels));
    next += 2;
    const size_t weight = norms_.size() - 2;
    step(level.width / LANES, [&level](int tile) { measure(level, tile * LANES); });
    step(1, [this, &level, weight](int) { join(level, norms_[weight], norms_[weight + 1]); });
    step(level.places(), [&level, then_silu](int place) {
      float *from = level.row(level.x, place), *to = level.row(level.inner, place);
      for (int i = 0; i < level.width; i += LANES) {
        const Floats normed = load(from + i) * load(level.scale + i) + load(level.shift + i);
        store(to + i, then_silu ? silu(normed) : normed);
      }
      level.plane.set(place, to);
    });
  }
  // Mean and squared distances from it of sixteen channels.
  static void measure(Level &level, int channel) {
    const Floats places = splat(float(level.places()));
    Floats total = splat(0.0f), squares = splat(0.0f);
    for (int place = 0; place < level.places(); ++place) total = total + load(level.row(level.x, place) + channel);
    const Floats mean = total / places;
    for (int place = 0; place < level.places(); ++place) {
      const Floats away = load(level.row(level.x, place) + channel) - mean;
      squares = squares + away * away;
    }
    store(level.mean + channel, mean);
    store(level.squares + channel, squares);
  }
  // What each channel is multiplied with and moved by: those of a group share mean and variance.
  void join(Level &level, const float *weight, const float *bias) const {
    const int size = level.channels / m_.groups;
    for (int group = 0; group < m_.groups; ++group) {
      const int first = group * size;
      float mean = 0, squares = 0;
      for (int i = first; i < first + size; ++i) mean += level.mean[i];
      mean /= float(size);
      for (int i = first; i < first + size; ++i) {
        const float away = level.mean[i] - mean;
        squares += level.squares[i] + float(level.places()) * away * away;
      }
      const float variance = squares / (float(size) * float(level.places()));
      const float factor = 1.0f / std::sqrt(variance + m_.epsilon);
      for (int i = first; i < first + size; ++i) {
        level.scale[i] = factor * weight[i];
        level.shift[i] = bias[i] - mean * level.scale[i];
      }
    }
  }

  // Residual blocks.
  void blocks(Level &level, const float *const *&next, int count) {
    for (int block = 0; block < count; ++block) {
      norm(level, next, false);
      const size_t first = convolutions_.size();
      for (int part = 0; part < 2; ++part)
        convolutions_.push_back(convolution<A>(next, 3, level.channels, level.channels));
      step(level.width / LANES, [this, &level, first](int tile) {
        convolutions_[first].run(level.plane, tile, [&](int place, Floats out) {
          store(level.row(level.inner, place) + tile * LANES, silu(out));
        });
      });
      step(level.places(), [&level](int place) { level.plane.set(place, level.row(level.inner, place)); });
      step(level.width / LANES, [this, &level, first](int tile) {
        convolutions_[first + 1].run(level.plane, tile, [&](int place, Floats out) {
          float *to = level.row(level.x, place) + tile * LANES;
          store(to, load(to) + out);
        });
      });
    }
  }

  // Each fourth of the channels goes to a place of its own (PixelShuffle by 2).
  void shuffle_up(int place, int tile, Floats out) {
    alignas(64) float lane[LANES];
    store(lane, out);
    const int y = place / m_.width * 2, x = place % m_.width * 2;
    for (int i = 0; i < std::min(LANES, 4 * m_.wide - tile * LANES); ++i) {
      const int output = tile * LANES + i, part = output % 4;
      upper_.row(upper_.x, (y + part / 2) * 2 * m_.width + x + part % 2)[output / 4] = lane[i];
    }
  }
  // A place's channels are a patch of pixels (PixelShuffle by 8).
  void paint(int place, int tile, Floats out) {
    alignas(64) float lane[LANES];
    store(lane, out);
    const int y = place / (2 * m_.width) * PATCH, x = place % (2 * m_.width) * PATCH;
    for (int i = 0; i < std::min(LANES, CHANNELS * PATCH * PATCH - tile * LANES); ++i) {
      const int output = tile * LANES + i, channel = output / (PATCH * PATCH), part = output % (PATCH * PATCH);
      const size_t pixel = size_t(y + part / PATCH) * width() + x + part % PATCH;
      const float value = (lane[i] + bias_[size_t(channel) * height() * width() + pixel] + 1.0f) * 127.5f;
      // What is no number becomes 0.
      rgba_[pixel * 4 + channel] = uint8_t(std::nearbyint(std::min(std::max(0.0f, value), 255.0f)));
      rgba_[pixel * 4 + 3] = 255;
    }
  }

  const PictureModel m_;  // whose weights are only read while this is made
  Threads threads_;
  Plane<Float32> latents_;
  Level lower_, upper_;
  Convolution<Float32> from_latent_;
  Convolution<A> up_, to_pixels_;
  Buffer<float> position_, bias_;
  std::vector<Buffer<float>> norms_;
  std::vector<Convolution<A>> convolutions_;
  uint8_t *rgba_ = nullptr;
  std::vector<std::function<void(int)>> steps_;
  std::vector<int> items_;  // of each step
};

}  // namespace worldmodel
