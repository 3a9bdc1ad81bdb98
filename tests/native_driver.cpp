// Plays a small made-up model on the decoder that this is compiled with, and prints what it drew and the bits of what it
// knew: the same on every processor. For those that only an emulator has (test_native_arm.py).
#include "decoder.cpp"

#include <cstdio>

namespace {

constexpr int IMAGE = 24, TAIL = 2, ACTIONS = 3, LENGTH = IMAGE + TAIL + ACTIONS, MAIN = 40, INPUTS = MAIN + 9;
constexpr int HIDDEN = 84, MLP = 100, LAYERS = 2, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 20, WINDOW = 4, FRAMES = 9;

uint32_t state = 1;
uint32_t random_bits() { return (state = state * 1664525u + 1013904223u) >> 8; }
// count numbers in -size..size.
std::vector<float> numbers(size_t count, float size) {
  std::vector<float> out(count);
  for (float &x : out) x = (float(random_bits()) * 0x1p-23f - 1.0f) * size;
  return out;
}

void play(bool int8) {
  state = 1;
  std::vector<std::vector<float>> kept;
  std::vector<const float *> weights;
  const auto matrix = [&](int rows, int columns) {
    kept.push_back(numbers(size_t(rows) * columns, columns == 1 ? 1.0f : 0.3f));
    weights.push_back(kept.back().data());
  };
  for (int layer = 0; layer < LAYERS; ++layer) {
    matrix(HIDDEN, 1);
    for (const int heads : {HEADS, KV_HEADS, KV_HEADS}) matrix(heads * HEAD_DIM, HIDDEN);
    matrix(HIDDEN, HEADS * HEAD_DIM);
    matrix(HIDDEN, 1);
    for (int part = 0; part < 2; ++part) matrix(MLP, HIDDEN);
    matrix(HIDDEN, MLP);
  }
  matrix(HIDDEN, 1);
  matrix(MAIN, HIDDEN);
  const auto embedding = numbers(INPUTS * HIDDEN, 1), place = numbers(LENGTH * HIDDEN, 1), start = numbers(HIDDEN, 1);
  const int32_t ends[] = {1, 5, 14, IMAGE}, offsets[] = {1, 3}, tail[] = {3, IMAGE - 1};
  std::vector<int32_t> sources(IMAGE), places(IMAGE);
  for (int slot = 0; slot < IMAGE; ++slot) {
    places[slot] = slot * 5 % IMAGE;
    sources[slot] = slot ? places[(slot < 5 ? 1 : slot < 14 ? 5 : 14) - 1] : -1;  // of an earlier pass
  }
  Model model{};
  model.hidden = HIDDEN, model.mlp = MLP, model.layers = LAYERS;
  model.heads = HEADS, model.kv_heads = KV_HEADS, model.head_dim = HEAD_DIM;
  model.image = IMAGE, model.length = LENGTH, model.tail = TAIL, model.window = WINDOW, model.passes = 4, model.offsets = 2;
  model.sizes = &MAIN, model.parts = 1, model.inputs = INPUTS, model.lanes = 2, model.players = 1, model.threads = 1, model.int8 = int8;
  model.epsilon = 1e-5f;
  model.embedding = embedding.data(), model.place = place.data(), model.start = start.data();
  model.sources = sources.data(), model.places = places.data(), model.tail_places = tail;
  model.ends = ends, model.offset = offsets, model.weights = weights.data();
  void *decoder = worldmodel_decoder(&model);

  std::vector<int32_t> previous, tokens(IMAGE);
  std::vector<float> scores(size_t(IMAGE) * MAIN);
  uint32_t bits = 2166136261u;
  for (int index = 0; index < FRAMES; ++index) {
    const auto cosine = numbers(LENGTH * HEAD_DIM / 2, 1), sine = numbers(LENGTH * HEAD_DIM / 2, 1);
    int32_t actions[2 * ACTIONS];
    for (int32_t &action : actions) action = MAIN + int32_t(random_bits() % (INPUTS - MAIN));
    Frame frame{};
    frame.block = index, frame.previous = index ? previous.data() : nullptr, frame.actions = actions;
    frame.lanes = index && index % 3 ? 2 : 1;
    frame.cosine = frame.outro_cosine = cosine.data(), frame.sine = frame.outro_sine = sine.data();
    frame.sampling = {index == 4, index % 2 ? 0 : 7, 1.0f, 0.5f, 0.9, 3, uint64_t(index)};
    frame.tokens = tokens.data(), frame.scores = scores.data();
    worldmodel_decode(decoder, &frame, 1);
    for (const int32_t token : tokens) std::printf("%d ", token);
    for (const float score : scores) {
      uint32_t its;
      std::memcpy(&its, &score, 4);
      bits = (bits ^ its) * 16777619u;
    }
    std::printf("%08x\n", bits);
    previous = tokens;
  }
  worldmodel_close(decoder);
}

}  // namespace

int main() {
  play(true);
  play(false);
}
