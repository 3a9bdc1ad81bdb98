// The library's functions. Compiled once a path: kernels/native_build.py says with which flags.
#include "decoder.h"

#include <exception>

using namespace worldmodel;

// -> a decoder, or null where there is no memory or no thread for it.
extern "C" void *worldmodel_decoder(const Model *model) {
  try {
    if (model->int8) return static_cast<AnyDecoder *>(new Decoder<Int8>(*model));
    return static_cast<AnyDecoder *>(new Decoder<Float32>(*model));
  } catch (const std::exception &) {
    return nullptr;
  }
}

// frames: `count`, of different players.
extern "C" void worldmodel_decode(void *decoder, const Frame *frames, int32_t count) {
  static_cast<AnyDecoder *>(decoder)->decode(frames, count);
}

extern "C" void worldmodel_close(void *decoder) { delete static_cast<AnyDecoder *>(decoder); }
