// The library's functions for WebAssembly, whose calls have numbers in place of structures.
#include "decoder.cpp"

// A page writes a model word by word, in the order of its fields.
static_assert(sizeof(Model) == 33 * 4 && sizeof(PictureModel) == 12 * 4, "client/web/page/native.js knows the words");

// angles: (2, length, head_dim / 2), the cosines and the sines of this block; outro_angles: of the block before.
extern "C" void worldmodel_frame(void *decoder, int64_t block, const int32_t *previous, const int32_t *actions,
                                 int32_t lanes, const float *angles, const float *outro_angles, int32_t angle_count,
                                 int32_t greedy, int32_t top_k, float sharpness, float guidance, double top_p,
                                 uint64_t seed, uint64_t number, const int32_t *forced, int32_t *tokens) {
  Frame frame{};
  frame.block = block, frame.previous = previous, frame.actions = actions, frame.lanes = lanes;
  frame.cosine = angles, frame.sine = angles + angle_count;
  frame.outro_cosine = outro_angles, frame.outro_sine = outro_angles + angle_count;
  frame.sampling = {greedy, top_k, sharpness, guidance, top_p, seed, number};
  frame.forced = forced, frame.tokens = tokens;
  worldmodel_decode(decoder, &frame, 1);
}

// A worker's whole life.
extern "C" void worldmodel_help(void *made, int32_t thread) { static_cast<Helped *>(made)->help(thread); }
