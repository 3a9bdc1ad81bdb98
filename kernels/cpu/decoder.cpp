// The library's functions. Compiled once a path: kernels/native_build.py says with which flags.
#include "decoder.h"

#include <exception>

#include "peak.h"
#include "pictures.h"

using namespace worldmodel;

namespace {

// -> as a Helped, or null where there is no memory or no thread for it.
template <template <class> class Kind, class Given>
void *made(const Given &model) {
  const auto make = [&]() -> Helped * {
    if (model.int8) return new Kind<Int8>(model);
    return new Kind<Float32>(model);
  };
#if defined(__cpp_exceptions)
  try {
    return make();
  } catch (const std::exception &) {
    return nullptr;
  }
#else
  return make();
#endif
}

}  // namespace

extern "C" void *worldmodel_decoder(const Model *model) { return made<Decoder>(*model); }

// frames: `count`, of different players.
extern "C" void worldmodel_decode(void *decoder, const Frame *frames, int32_t count) {
  static_cast<AnyDecoder *>(static_cast<Helped *>(decoder))->decode(frames, count);
}

extern "C" void *worldmodel_pictures(const PictureModel *model) { return made<Pictures>(*model); }

// latents: (places, channels); rgba: (height, width, 4), of the picture.
extern "C" void worldmodel_picture(void *pictures, const float *latents, uint8_t *rgba) {
  static_cast<AnyPictures *>(static_cast<Helped *>(pictures))->decode(latents, rgba);
}

// See peak.h: for a roofline.
extern "C" int64_t worldmodel_int8_operations(int32_t rounds) { return int8_operations(rounds); }

// Of either of the two.
extern "C" void worldmodel_close(void *made) { delete static_cast<Helped *>(made); }
