// The library's functions. Compiled once a path: kernels/native_build.py says with which flags.
#include <exception>

#include "frames.h"
#include "peak.h"
#include "pictures.h"
#include "sequences.h"

using namespace worldmodel;

namespace {

// -> as a Helped, or null where there is no memory or no thread for it.
template <class Make>
void *made(Make &&make) {
#if defined(__cpp_exceptions)
  try {
    return static_cast<Helped *>(make());
  } catch (const std::exception &) {
    return nullptr;
  }
#else
  return static_cast<Helped *>(make());
#endif
}

template <class Kind>
Kind *as(void *made) {
  return static_cast<Kind *>(static_cast<Helped *>(made));
}

}  // namespace

extern "C" void *worldmodel_decoder(const Model *model) {
  return made([&] { return new Frames(*model); });
}

// frames: `count`, of different players.
extern "C" void worldmodel_decode(void *decoder, const Frame *frames, int32_t count) {
  as<Frames>(decoder)->decode(frames, count);
}

extern "C" void *worldmodel_sequences(const Model *model) {
  return made([&] { return new Sequences(*model); });
}

extern "C" void worldmodel_read(void *sequences, const Reading *reading) { as<Sequences>(sequences)->read(*reading); }

extern "C" void worldmodel_clear(void *sequences, int32_t cache) { as<Sequences>(sequences)->clear(cache); }

extern "C" void *worldmodel_pictures(const PictureModel *model) {
  return made([&]() -> AnyPictures * {
    if (model->int8) return new Pictures<Int8>(*model);
    return new Pictures<Float32>(*model);
  });
}

// latents: (places, channels); rgba: (height, width, 4), of the picture.
extern "C" void worldmodel_picture(void *pictures, const float *latents, uint8_t *rgba) {
  as<AnyPictures>(pictures)->decode(latents, rgba);
}

// See peak.h: for a roofline.
extern "C" int64_t worldmodel_int8_operations(int32_t rounds) { return int8_operations(rounds); }

// Of any of the three.
extern "C" void worldmodel_close(void *made) { delete static_cast<Helped *>(made); }
