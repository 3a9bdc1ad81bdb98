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

// One thread's working memory.
struct SamplingScratch {
  Buffer<float> row, later;
  std::vector<int32_t> kept;
  std::vector<float> ranked;
  SamplingScratch() = default;
  explicit SamplingScratch(int codes) : row(padded(codes)), later(padded(codes)) {}
};

// The code that is drawn from logits (codes,), at an address as `load` wants it. They are overwritten.
inline int32_t draw(float *logits, int codes, const Sampling &how, uint32_t position, SamplingScratch &scratch) {
  if (how.greedy) return int32_t(std::max_element(logits, logits + codes) - logits);
  float top = logits[0];
  for (int i = 1; i < codes; ++i) top = std::max(top, logits[i]);
  for (int i = codes; i < padded(codes); ++i) logits[i] = top;
  for (int i = 0; i < codes; i += LANES)
    store(logits + i, exponential((load(logits + i) - splat(top)) * splat(how.sharpness)));
  const float *weights = logits;
  double total = 0;
  for (int i = 0; i < codes; ++i) total += weights[i];
  // All codes below this together have less than 1 - top_p: see sampling.py.
  const float least = float((1 - how.top_p) * total / codes);
  auto &kept = scratch.kept;
  kept.clear();
  for (int i = 0; i < codes; ++i)
    if (weights[i] >= least) kept.push_back(i);
  if (kept.empty()) return 0;  // of logits that are no numbers
  if (how.top_p != 1 || how.top_k) {
    auto &ranked = scratch.ranked;
    ranked.clear();
    for (const int32_t code : kept) ranked.push_back(weights[code]);
    std::sort(ranked.begin(), ranked.end(), std::greater<float>());
    size_t count = 1;
    double mass = 0;
    for (const float weight : ranked) {
      mass += weight;
      if (!(mass < how.top_p * total)) break;
      ++count;
    }
    if (how.top_k) count = std::min(count, size_t(how.top_k));
    const float last = ranked[std::min(count, ranked.size()) - 1];
    kept.erase(std::remove_if(kept.begin(), kept.end(), [&](int32_t code) { return !(weights[code] >= last); }),
               kept.end());
    if (kept.empty()) return 0;
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

// A token of one or two parts (chain: null, or (main, detail)). logits: (main,) or (main + detail,).
inline int32_t draw_chained(const float *logits, int main, int detail, const float *chain, const Sampling &how,
                            uint32_t position, uint32_t positions, SamplingScratch &scratch) {
  std::copy(logits, logits + main, static_cast<float *>(scratch.row));
  const int32_t first = draw(scratch.row, main, how, position, scratch);
  if (chain == nullptr) return first;
  for (int i = 0; i < detail; ++i) scratch.later[i] = logits[main + i] + chain[size_t(first) * detail + i];
  return first + main * draw(scratch.later, detail, how, position + positions, scratch);
}

}  // namespace worldmodel
