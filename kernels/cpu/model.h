// What the library is given: a model, and frames to be made. Mirrored by kernels/native.py.
#pragma once

#include <cstdint>

#include "sampling.h"

namespace worldmodel {

// Matrices are (out, in) float32; null where there is none. previous, action: matrices that turn embeddings. lanes: 2 if frames may be guided; players: whose frames are
// made side by side, each with a ring of its own.
struct Model {
  int32_t hidden, mlp, layers, heads, kv_heads, head_dim;
  int32_t image, length, tail, window, passes, offsets;
  int32_t parts, inputs, lanes, players, threads, int8;  // inputs: rows of the embedding
  float epsilon;
  const float *embedding, *start, *place, *no_previous, *previous, *action, *chain;
  const int32_t *sources, *places, *tail_places, *ends, *offset, *sizes;  // ends: of the passes' slots; sizes: of a token's parts
  const float *const *weights;  // of each layer: norm, q, k, v, o, norm, gate, up, down; then the last norm, the head
};

// An image decoder. height, width: of the tokens' grid; lower, upper: residual blocks of `deep` and of `wide` channels.
struct PictureModel {
  int32_t height, width, latent, deep, wide, lower, upper, groups, threads, int8;
  float epsilon;
  // from_latent, position; blocks (norm, conv1, conv2 each); up; blocks; norm, to_pixels, bias. A convolution is weights
  // (taps, outputs, inputs) and a bias, a norm is weights and a bias, position is (places, channels).
  const float *const *weights;
};

// One frame to be made.
struct Frame {
  int64_t block;            // its number since the context was opened
  const int32_t *previous;  // (image,) tokens of the frame before; null at the first
  const int32_t *actions;   // (lanes, action tokens) rows of the embedding
  int32_t lanes, player;
  const float *cosine, *sine;              // (length, head_dim / 2) of this block
  const float *outro_cosine, *outro_sine;  // (length, head_dim / 2) of the block before
  Sampling sampling;
  const int32_t *forced;  // (image,) tokens to decode with, or null
  int32_t *tokens;        // (image,)
  float *scores;          // (image, values of all parts), or null
};

}  // namespace worldmodel
