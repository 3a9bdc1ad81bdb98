// Decode attention over the ring cache for a few queries with grouped heads, split over the keys (split-K).
// bfloat16, head size 64. Twin: LibraryOps.attention with Ring.bias.
//
// Query heads that share a key head are rows of one matrix: row r = g * n + i is head g of the group, query i. A block
// takes 64 rows (16 a warp) and one part of the keys; tensor cores multiply (mma.sync m16n8k16), the softmax runs along
// (FlashAttention-2), and `combine` joins the parts. The rule of visibility is computed, not read.
// Position j is the ring's entry j, or, where frames are gathered, place j % length of the j / length-th of them. Its age
// is the number of blocks since its block was current. See worldmodel/engine/ring.py.
#define D 64
#define KEYS 64          // of a tile
#define STRIDE (D + 8)   // of a tile's rows in shared memory: spreads them over the banks
#define ROWS 64          // of a block: 4 warps of 16

__device__ inline u32 pack(float low, float high) {
    return (u32)float_to_bf16(low) | ((u32)float_to_bf16(high) << 16);
}

// Bit 0: rows of the current block see position j; bit 1: rows of the outro of the block before do. frames: of each that
// is gathered, age << 2 and the two bits; or null.
__device__ inline int visible(int j, i64 block, const int* frames, int length, int window, int stop) {
    const int slots = window + 1, place = j / length, current = (int)(block % slots);
    int age, past, before;
    if (frames) {
        age = frames[place] >> 2;
        past = frames[place] & 1;
        before = frames[place] >> 1 & 1;
    } else {
        if (place >= slots) return 0;
        age = (current - place + slots) % slots;
        past = age >= 1 && age < window;
        before = age >= 1;
    }
    if (age > block) return 0;
    return (past || (age == 0 && j % length < stop)) | (before << 1);
}

// The ring's entry at position j of gathered frames.
__device__ inline int gathered_entry(int j, i64 block, const int* frames, int length, int window) {
    const int slots = window + 1, age = frames[j / length] >> 2;
    return ((int)(block % slots) - age + slots) % slots * length + j % length;
}

// 8 entries' numbers of int8 -> bfloat16, exactly; the scales are applied to the scores and to the shares.
__device__ inline void widen(const signed char* from, bf16* to) {
    u32 bits[2];
    *(uint2*)bits = *(const uint2*)from;
    for (int i = 0; i < 8; i++) to[i] = float_to_bf16((float)(signed char)(bits[i / 4] >> (8 * (i % 4))));
}

// q (n, H, D); keys, values (Hkv, entries, D): bfloat16, or int8 with scales float (Hkv, entries) if bits8; block: the
// current one; listed: the frames that are read if `gather`; partial (Hkv, rows, parts, D) float and extremes (Hkv, rows,
// parts, 2): the largest score and the sum. Grid (parts, Hkv, ceil(rows / 64)), 128 threads; each part reads `part_keys`
// positions, a multiple of 64.
extern "C" __global__ void attend(
    const bf16* q, const void* keys, const void* values, const float* key_scales, const float* value_scales,
    const i64* block, const int* listed, float* partial, float* extremes, int n, int group, int entries, int positions,
    int part_keys, int length, int window, int stop, int outro, int bits8, int gather) {
    __shared__ __align__(16) bf16 K[KEYS * STRIDE];
    __shared__ __align__(16) bf16 V[KEYS * STRIDE];
    __shared__ int seen[KEYS];
    __shared__ float key_scale[KEYS], value_scale[KEYS];
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
    const int parts = gridDim.x, part = blockIdx.x, kv = blockIdx.y, kv_heads = gridDim.y, rows = n * group;
    const i64 now = *block;
    const int* frames = gather ? listed : nullptr;
    int row[2];
    int bit[2];
    u32 a[D / 16][4];
    for (int h = 0; h < 2; h++) {
        row[h] = blockIdx.z * ROWS + warp * 16 + g + 8 * h;
        const bool real = row[h] < rows;
        const int i = real ? row[h] % n : 0, head = real ? row[h] / n : 0;
        bit[h] = i < outro ? 2 : 1;
        const bf16* from = q + ((u64)i * kv_heads * group + kv * group + head) * D;
        for (int k = 0; k < D / 16; k++) {
            a[k][h] = real ? *(const u32*)(from + 16 * k + 2 * t) : 0;
            a[k][h + 2] = real ? *(const u32*)(from + 16 * k + 2 * t + 8) : 0;
        }
    }
    const float none = __uint_as_float(0xff800000u), scale = 0.125f;  // D ** -0.5
    float largest[2] = {none, none}, sum[2] = {0, 0};
    float out[D / 8][4];
    for (int d = 0; d < D / 8; d++) for (int c = 0; c < 4; c++) out[d][c] = 0;

    const int end = min(positions, (part + 1) * part_keys);
    for (int start = part * part_keys; start < end; start += KEYS) {
        __syncthreads();
        for (int piece = thread; piece < KEYS * D / 8; piece += 128) {
            const int key = piece / (D / 8), at = piece % (D / 8) * 8;
            const int j = min(start + key, positions - 1);
            const u64 from = ((u64)kv * entries + (frames ? gathered_entry(j, now, frames, length, window) : j)) * D + at;
            if (bits8) {
                widen((const signed char*)keys + from, K + key * STRIDE + at);
                widen((const signed char*)values + from, V + key * STRIDE + at);
            } else {
                *(uint4*)(K + key * STRIDE + at) = *(const uint4*)((const bf16*)keys + from);
                *(uint4*)(V + key * STRIDE + at) = *(const uint4*)((const bf16*)values + from);
            }
        }
        if (thread < KEYS) {
            const int j = min(start + thread, positions - 1);
            const u64 entry = (u64)kv * entries + (frames ? gathered_entry(j, now, frames, length, window) : j);
            seen[thread] = start + thread < positions ? visible(j, now, frames, length, window, stop) : 0;
            key_scale[thread] = bits8 ? key_scales[entry] * scale : scale;
            value_scale[thread] = bits8 ? value_scales[entry] : 1.0f;
        }
        __syncthreads();
        float score[KEYS / 8][4];
        float top[2] = {none, none};
        for (int m = 0; m < KEYS / 8; m++) {
            for (int c = 0; c < 4; c++) score[m][c] = 0;
            const bf16* key = K + (m * 8 + g) * STRIDE + 2 * t;
            for (int k = 0; k < D / 16; k++) {
                mma_16816(score[m], a[k], *(const u32*)(key + 16 * k), *(const u32*)(key + 16 * k + 8));
            }
            for (int c = 0; c < 4; c++) {
                const int h = c / 2, column = m * 8 + 2 * t + c % 2;
                score[m][c] = seen[column] & bit[h] ? score[m][c] * key_scale[column] : none;
                top[h] = fmaxf(top[h], score[m][c]);
            }
        }
        for (int h = 0; h < 2; h++) {
            for (int step = 1; step < 4; step <<= 1) top[h] = fmaxf(top[h], __shfl_xor_sync(FULL_WARP, top[h], step));
            top[h] = fmaxf(top[h], largest[h]);
            const float base = top[h] == none ? 0.0f : top[h], shrink = expf(largest[h] - base);
            largest[h] = top[h];
            sum[h] *= shrink;
            for (int d = 0; d < D / 8; d++) {
                out[d][2 * h] *= shrink;
                out[d][2 * h + 1] *= shrink;
            }
            for (int m = 0; m < KEYS / 8; m++) {
                for (int c = 2 * h; c < 2 * h + 2; c++) {
                    score[m][c] = expf(score[m][c] - base);
                    sum[h] += score[m][c];
                    score[m][c] *= value_scale[m * 8 + 2 * t + c % 2];
                }
            }
        }
        for (int k = 0; k < KEYS / 16; k++) {
            const u32 share[4] = {
                pack(score[2 * k][0], score[2 * k][1]), pack(score[2 * k][2], score[2 * k][3]),
                pack(score[2 * k + 1][0], score[2 * k + 1][1]), pack(score[2 * k + 1][2], score[2 * k + 1][3])};
            const bf16* value = V + (16 * k + 2 * t) * STRIDE + g;
            for (int d = 0; d < D / 8; d++) {
                const bf16* at = value + d * 8;
                const u32 b0 = (u32)at[0] | ((u32)at[STRIDE] << 16);
                const u32 b1 = (u32)at[8 * STRIDE] | ((u32)at[9 * STRIDE] << 16);
                mma_16816(out[d], share, b0, b1);
            }
        }
    }
    for (int h = 0; h < 2; h++) {
        for (int step = 1; step < 4; step <<= 1) sum[h] += __shfl_xor_sync(FULL_WARP, sum[h], step);
        if (row[h] >= rows) continue;
        const u64 to = ((u64)kv * rows + row[h]) * parts + part;
        for (int d = 0; d < D / 8; d++) {
            partial[to * D + d * 8 + 2 * t] = out[d][2 * h];
            partial[to * D + d * 8 + 2 * t + 1] = out[d][2 * h + 1];
        }
        if (t == 0) {
            extremes[2 * to] = largest[h];
            extremes[2 * to + 1] = sum[h];
        }
    }
}

// Joins the parts: mixed (n, H, D). Grid (rows, Hkv), D threads.
extern "C" __global__ void combine(const float* partial, const float* extremes, bf16* mixed, int n, int group, int parts) {
    const int row = blockIdx.x, kv = blockIdx.y, rows = gridDim.x, kv_heads = gridDim.y, d = threadIdx.x;
    const u64 from = ((u64)kv * rows + row) * parts;
    float largest = __uint_as_float(0xff800000u), sum = 0, out = 0;
    for (int part = 0; part < parts; part++) largest = fmaxf(largest, extremes[2 * (from + part)]);
    for (int part = 0; part < parts; part++) {
        const float share = expf(extremes[2 * (from + part)] - largest);
        sum += share * extremes[2 * (from + part) + 1];
        out += share * partial[(from + part) * D + d];
    }
    mixed[((u64)(row % n) * kv_heads * group + kv * group + row / n) * D + d] = float_to_bf16(out / sum);
}
