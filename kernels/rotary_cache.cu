// Turns queries and keys by their rotary angles and writes keys and values to the ring. Grid (rows, H + 2 Hkv), D / 2
// threads. Twin: LibraryOps.rotate_and_store.
//
// The RMSNorm is not in here: it stands before the QKV product, which needs whole normalised rows, while this kernel sees
// only the product's output; F.rms_norm does it (FrameStep._layers). Its gain could be folded into the matrix and its row
// factor applied here, but that factor still needs a reduction over the row before the product, and the rounding would
// no longer be the twin's.
//
// qkv (rows, H + 2 Hkv, D); cosine, sine float (rows, D / 2); targets (rows,) ring entries; q (rows, H, D);
// keys, values (Hkv, entries, D) of the layer.
extern "C" __global__ void rotate_and_store(
    const scalar* qkv, const float* cosine, const float* sine, const i64* targets, scalar* q, scalar* keys,
    scalar* values, int heads, int kv_heads, int entries) {
    const int row = blockIdx.x, head = blockIdx.y, half = blockDim.x, pair = threadIdx.x, D = 2 * half;
    const scalar* from = qkv + ((u64)row * (heads + 2 * kv_heads) + head) * D;
    float a = to_float(from[pair]), b = to_float(from[pair + half]);
    if (head < heads + kv_heads) {
        const float c = cosine[row * half + pair], s = sine[row * half + pair];
        const float turned = a * c - b * s;
        b = b * c + a * s;
        a = turned;
    }
    scalar* to;
    if (head < heads) {
        to = q + ((u64)row * heads + head) * D;
    } else if (head < heads + kv_heads) {
        to = keys + ((u64)(head - heads) * entries + targets[row]) * D;
    } else {
        to = values + ((u64)(head - heads - kv_heads) * entries + targets[row]) * D;
    }
    to[pair] = from_float(a);
    to[pair + half] = from_float(b);
}
