// Temperature, top-k and top-p without a sort, one block a token. Twin: sampling_device.py (and sampling.py).
//
// The kept codes are those whose weight reaches a threshold: the largest value v with sum(weights >= v) >= top_p * total
// or count(weights >= v) >= top_k. Both only fall as v rises, so v is found by bisection over the bits of a float.
// All sums are taken in a fixed order, in double: the same input gives the same code. Random numbers: Philox4x32-10.
#define MOST 8  // codes of a thread: 8 * 1024 at most

__device__ inline float philox_uniform(u64 seed, u64 frame, u32 position) {
    u32 c0 = position, c1 = (u32)frame, c2 = (u32)(frame >> 32), c3 = 0;
    u32 k0 = (u32)seed, k1 = (u32)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        u64 p0 = (u64)c0 * 0xD2511F53u, p1 = (u64)c2 * 0xCD9E8D57u;
        c0 = (u32)(p1 >> 32) ^ c1 ^ k0;
        c1 = (u32)p1;
        c2 = (u32)(p0 >> 32) ^ c3 ^ k1;
        c3 = (u32)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (float)(c0 >> 8) * 5.9604644775390625e-8f;  // 2^-24
}

// The sum over the block, the same in every thread. scratch: 32 doubles.
__device__ inline double block_sum(double value, double* scratch) {
    for (int step = 16; step; step >>= 1) value += __shfl_xor_sync(FULL_WARP, value, step);
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    double sum = 0;
    for (int warp = 0; warp < (int)blockDim.x / 32; warp++) sum += scratch[warp];
    return sum;
}

// logits (rows, codes); reals: 1 / temperature, top_p; integers: greedy, top_k, seed, frame; places (rows,):
// known[places[row]] becomes the code. blockDim.x: a multiple of 32, at least codes / MOST.
extern "C" __global__ void sample(
    const float* logits, const double* reals, const i64* integers, const i64* places, i64* known, int codes) {
    __shared__ double scratch[32];
    __shared__ float bests[32];
    __shared__ int arguments[32];
    const int threads = blockDim.x, thread = threadIdx.x, lane = thread % 32, row = blockIdx.x;
    const int each = (codes + threads - 1) / threads, first = thread * each;
    float weight[MOST];
    float best = __uint_as_float(0xff800000u);
    int argument = codes;
    for (int i = 0; i < MOST; i++) {
        bool mine = i < each && first + i < codes;
        weight[i] = mine ? logits[(u64)row * codes + first + i] : __uint_as_float(0xff800000u);
        if (mine && weight[i] > best) {
            best = weight[i];
            argument = first + i;
        }
    }
    for (int step = 16; step; step >>= 1) {
        float other = __shfl_xor_sync(FULL_WARP, best, step);
        int at = __shfl_xor_sync(FULL_WARP, argument, step);
        if (other > best || (other == best && at < argument)) {
            best = other;
            argument = at;
        }
    }
    if (lane == 0) {
        bests[thread / 32] = best;
        arguments[thread / 32] = argument;
    }
    __syncthreads();
    for (int warp = 0; warp < threads / 32; warp++) {
        if (bests[warp] > best || (bests[warp] == best && arguments[warp] < argument)) {
            best = bests[warp];
            argument = arguments[warp];
        }
    }
    if (integers[0]) {  // greedy: for the whole block alike
        if (thread == 0) known[places[row]] = argument;
        return;
    }
    const float heat = (float)reals[0];
    double own = 0;
    for (int i = 0; i < MOST; i++) {
        bool mine = i < each && first + i < codes;
        weight[i] = mine ? expf((weight[i] - best) * heat) : -1.0f;  // a place without a code is never kept
        if (mine) own += weight[i];
    }
    const double target_mass = reals[1] * block_sum(own, scratch);
    const i64 top_k = integers[1];
    u32 low = 0, high = 0x3f800001u;  // the bits of 0, which keeps all, and of what lies above 1
    while (high - low > 1) {
        const u32 middle = low + (high - low) / 2;
        const float threshold = __uint_as_float(middle);
        double mass = 0;
        int count = 0;
        for (int i = 0; i < MOST; i++) {
            if (weight[i] >= threshold) {
                mass += weight[i];
                count++;
            }
        }
        bool enough = block_sum(mass, scratch) >= target_mass;
        if (top_k > 0) enough = block_sum((double)count, scratch) >= (double)top_k || enough;
        if (enough) low = middle; else high = middle;
    }
    const float threshold = __uint_as_float(low);
    double kept = 0;
    for (int i = 0; i < MOST; i++) if (weight[i] >= threshold) kept += weight[i];
    // Inclusive sums over the threads, in code order.
    double inclusive = kept;
    for (int step = 1; step < 32; step <<= 1) {
        double below = __shfl_up_sync(FULL_WARP, inclusive, step);
        if (lane >= step) inclusive += below;
    }
    double exclusive = __shfl_up_sync(FULL_WARP, inclusive, 1);
    if (lane == 0) exclusive = 0;
    __syncthreads();
    if (lane == 31) scratch[thread / 32] = inclusive;
    __syncthreads();
    double before = 0, total = 0;
    for (int warp = 0; warp < threads / 32; warp++) {
        if (warp == thread / 32) before = total;
        total += scratch[warp];
    }
    const i64 place = places[row];
    const double target = philox_uniform((u64)integers[2], (u64)integers[3], (u32)place) * total;
    if (before + exclusive <= target && target < before + inclusive) {  // of exactly one thread
        double running = before + exclusive;
        int chosen = 0;
        for (int i = 0; i < MOST; i++) {
            if (weight[i] < threshold) continue;
            chosen = first + i;
            running += weight[i];
            if (running > target) break;
        }
        known[place] = chosen;
    }
}
