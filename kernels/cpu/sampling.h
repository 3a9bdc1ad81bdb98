// Draws tokens by counter-based randomness. Twin of kernels/sampling.py, whose tests say what it must equal.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "arithmetic.h"

namespace worldmodel {

struct Sampling {
  int32_t greedy, top_k;
  float sharpness, guidance;  // sharpness: 1 / temperature
  double top_p;
  uint64_t seed, frame;
};

// float32 in [0, 1) with 24 random bits (Philox4x32-10).
inline float uniform(uint64_t seed, uint64_t frame, uint32_t position) {
  uint32_t c0 = position, c1 = uint32_t(frame), c2 = uint32_t(frame >> 32), c3 = 0;
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(c0) * 0xD2511F53u, p1 = uint64_t(c2) * 0xCD9E8D57u;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
    c1 = uint32_t(p1);
    c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c3 = uint32_t(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return float(c0 >> 8) * 0x1p-24f;
}

constexpr uint32_t BUCKETS = (0x3f800000u >> 19) + 1;  // of weights in 0..1

// One thread's working memory.
struct SamplingScratch {
  Buffer<float> row;
  std::vector<int32_t> kept, counts = std::vector<int32_t>(BUCKETS);
  std::vector<double> masses = std::vector<double>(BUCKETS);
  std::vector<float> ranked;
  SamplingScratch() = default;
  explicit SamplingScratch(int codes) : row(padded(codes)) {
    kept.reserve(codes);  // no thread takes memory while it draws
    ranked.reserve(codes);
  }
};

// The least weight of those that are kept: of the heaviest, so many as together reach `mass`, or `most` of them.
// Weights in one bucket share their exponent and four more bits, so that only one bucket needs to be sorted.
inline float last_kept(const float *weights, double mass, size_t most, SamplingScratch &scratch) {
  auto bucket = [](float weight) {
    uint32_t bits;
    std::memcpy(&bits, &weight, 4);
    return bits >> 19;
  };
  const bool few = scratch.kept.size() <= LANES;  // which are all sorted
  uint32_t index = BUCKETS - 1;
  double above = 0;
  size_t number = 0;
  if (!few) {
    std::fill(scratch.counts.begin(), scratch.counts.end(), 0);
    std::fill(scratch.masses.begin(), scratch.masses.end(), 0.0);
    for (const int32_t code : scratch.kept) {
      ++scratch.counts[bucket(weights[code])];
      scratch.masses[bucket(weights[code])] += weights[code];
    }
    while (index > 0 && above + scratch.masses[index] < mass && number + scratch.counts[index] < most) {
      above += scratch.masses[index];
      number += scratch.counts[index--];
    }
  }
  auto &ranked = scratch.ranked;
  ranked.clear();
  for (const int32_t code : scratch.kept)
    if (few || bucket(weights[code]) == index) ranked.push_back(weights[code]);
  std::sort(ranked.begin(), ranked.end(), std::greater<float>());
  for (const float weight : ranked) {
    above += weight;
    if (!(above < mass) || ++number >= most) return weight;
  }
  return ranked.empty() ? 0.0f : ranked.back();
}

// The code that is drawn from logits (codes,), at an address as `load` wants it. They are overwritten.
inline int32_t draw(float *logits, int codes, const Sampling &how, uint32_t position, SamplingScratch &scratch) {
  if (how.greedy) return int32_t(std::max_element(logits, logits + codes) - logits);
  for (int i = codes; i < padded(codes); ++i) logits[i] = -1e30f;
  Floats top = load(logits);
  for (int i = LANES; i < codes; i += LANES) top = maximum(top, load(logits + i));
  const Floats most = splat(maximum(top)), sharpness = splat(how.sharpness * LOG2E);
  double totals[LANES] = {};
  for (int i = 0; i < codes; i += LANES) {
    store(logits + i, power_of_two((load(logits + i) - most) * sharpness));
    for (int lane = 0; lane < LANES; ++lane) totals[lane] += logits[i + lane];
  }
  const float *weights = logits;
  double total = 0;
  for (const double part : totals) total += part;
  // All codes below this together have less than 1 - top_p: see sampling.py.
  const float least = float((1 - how.top_p) * total / codes);
  auto &kept = scratch.kept;
  kept.clear();
  for (int i = 0; i < codes; ++i)
    if (weights[i] >= least) kept.push_back(i);
  if (kept.empty()) return 0;  // of logits that are no numbers
  if (how.top_p != 1 || how.top_k) {
    const float last = last_kept(weights, how.top_p * total, how.top_k ? size_t(how.top_k) : kept.size(), scratch);
    kept.erase(std::remove_if(kept.begin(), kept.end(), [&](int32_t code) { return !(weights[code] >= last); }),
               kept.end());
  }
  double mass = 0;
  for (const int32_t code : kept) mass += weights[code];
  const double target = double(uniform(how.seed, how.frame, position)) * mass;
  double running = 0;
  for (const int32_t code : kept) {
    running += weights[code];
    if (running > target) return code;
  }
  return kept.back();
}

// A token, the mixed-radix number of its parts, the first the lowest digit. logits: of all parts, `columns`, one after
// the other; chain: what the values of each part add to the logits of those behind it, to which it is added (rows of all
// but the last part, columns of all but the first), or null.
inline int32_t draw_parts(float *logits, const std::vector<int32_t> &sizes, int columns, const float *chain,
                          const Sampling &how, uint32_t position, uint32_t positions, SamplingScratch &scratch) {
  const int first = sizes.front(), width = columns - first;
  int32_t token = 0, radix = 1;
  int base = 0;
  for (const int32_t size : sizes) {
    std::copy(logits + base, logits + base + size, static_cast<float *>(scratch.row));
    const int32_t digit = draw(scratch.row, size, how, position, scratch);
    token += radix * digit;
    if (chain != nullptr)
      for (int i = base + size; i < columns; ++i) logits[i] += chain[size_t(base + digit) * width + i - first];
    base += size, radix *= size, position += positions;
  }
  return token;
}

}  // namespace worldmodel
