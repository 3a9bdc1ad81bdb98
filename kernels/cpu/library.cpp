// All that a native library has: the decoders of play, and the attention of training.
#include "clip_attention.h"
#include "decoder.cpp"

extern "C" void worldmodel_clip_attention(const worldmodel::ClipAttention *given) { worldmodel::attend_clips(*given); }
