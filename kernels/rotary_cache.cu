// Turns queries and keys by their rotary angles and writes keys and values to the ring. Grid (rows, H + 2 Hkv), D / 2
// threads. Twin: LibraryOps.rotate_and_store.
//
// The RMSNorm is not in here: it stands before the QKV product, which needs whole normalised rows, while this kernel sees
// only the product's output; F.rms_norm does it (FrameStep._layers). Its gain could be folded into the matrix and its row
// factor applied here, but that factor still needs a reduction over the row before the product, and the rounding would
// no longer be the twin's.
//
// qkv (rows, H + 2 Hkv, D); cosine, sine float (rows, D / 2); targets (rows,) ring entries; q (rows, H, D);
// keys, values (Hkv, entries, D) of the layer: `scalar`, or int8 with scales float (Hkv, entries) if bits8.
#define MOST_PAIRS 128

extern "C" __global__ void rotate_and_store(
    const scalar* qkv, const float* cosine, const float* sine, const i64* targets, scalar* q, void* keys, void* values,
    float* key_scales, float* value_scales, int heads, int kv_heads, int entries, int bits8) {
    __shared__ float magnitudes[MOST_PAIRS];
    const int row = blockIdx.x, head = blockIdx.y, half = blockDim.x, pair = threadIdx.x, D = 2 * half;
    const scalar* from = qkv + ((u64)row * (heads + 2 * kv_heads) + head) * D;
    float a = to_float(from[pair]), b = to_float(from[pair + half]);
    if (head < heads + kv_heads) {
        const float c = cosine[row * half + pair], s = sine[row * half + pair];
        const float turned = a * c - b * s;
        b = b * c + a * s;
        a = turned;
    }
    const bool key = head < heads + kv_heads;
    const u64 entry = (u64)(head - heads - (key ? 0 : kv_heads)) * entries + targets[row];
    if (head < heads || !bits8) {
        scalar* to = head < heads ? q + ((u64)row * heads + head) * D : (scalar*)(key ? keys : values) + entry * D;
        to[pair] = from_float(a);
        to[pair + half] = from_float(b);
        return;  // the whole block does
    }
    a = to_float(from_float(a));  // rounded as the twin's are before they are stored
    b = to_float(from_float(b));
    magnitudes[pair] = fmaxf(fabsf(a), fabsf(b));
    __syncthreads();
    float largest = 0;
    for (int other = 0; other < half; other++) largest = fmaxf(largest, magnitudes[other]);
    const float scale = largest / 127.0f, divisor = scale > 0 ? scale : 1.0f;
    signed char* to = (signed char*)(key ? keys : values) + entry * D;
    to[pair] = (signed char)fminf(fmaxf(rintf(a / divisor), -127.0f), 127.0f);
    to[pair + half] = (signed char)fminf(fmaxf(rintf(b / divisor), -127.0f), 127.0f);
    if (pair == 0) (key ? key_scales : value_scales)[entry] = scale;
}
