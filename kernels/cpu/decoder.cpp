// The library's functions. Compiled once a path: kernels/native_build.py says with which flags.
#include "decoder.h"

#include <exception>

using namespace worldmodel;

static void *made(const Model &model) {
  if (model.int8) return static_cast<AnyDecoder *>(new Decoder<Int8>(model));
  return static_cast<AnyDecoder *>(new Decoder<Float32>(model));
}

// -> a decoder, or null where there is no memory or no thread for it.
extern "C" void *worldmodel_decoder(const Model *model) {
#if defined(__cpp_exceptions)
  try {
    return made(*model);
  } catch (const std::exception &) {
    return nullptr;
  }
#else
  return made(*model);
#endif
}

// frames: `count`, of different players.
extern "C" void worldmodel_decode(void *decoder, const Frame *frames, int32_t count) {
  static_cast<AnyDecoder *>(decoder)->decode(frames, count);
}

extern "C" void worldmodel_close(void *decoder) { delete static_cast<AnyDecoder *>(decoder); }
