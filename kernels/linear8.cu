// x W^T with 8-bit weights and few rows of x: the weights are read once, as bytes, and become bfloat16 in registers.
// Twin: linear in weight_only.py.
//
// Weights are the A of mma.sync m16n8k16 (16 outputs), rows of x its B (8 rows). A lane reads 16 bytes of a weight row at
// once; the k of the product is permuted alike in both operands, which does not change it. The 8 warps of a block take
// every eighth part of 64 inputs each; their sums are added in a fixed order.
#define WARPS 8
#define OUTPUTS 16
#define TILES 4          // of 8 rows: 32 rows of x a block
#define PART 64          // inputs of a step

// Both are exact in bfloat16: its upper 16 bits are the number. fp8: e4m3, whose exponent is 120 below float's.
__device__ inline u32 byte_bits(u32 byte, int fp8) {
    if (!fp8) return __float_as_uint((float)(signed char)byte);
    return __float_as_uint(__uint_as_float((byte & 0x7fu) << 20) * 1.329227995784916e36f) | ((byte & 0x80u) << 24);
}

__device__ inline u32 byte_pair(u32 word, int shift, int fp8) {
    return (byte_bits(word >> shift & 0xffu, fp8) >> 16) | (byte_bits(word >> (shift + 8) & 0xffu, fp8) & 0xffff0000u);
}

// x (rows, inputs) bfloat16; weights (outputs, inputs) bytes; scales (outputs,) float; added, y (rows, outputs) bfloat16
// (added is only read if has_added). inputs: a multiple of 64, outputs: of 16. Grid (outputs / 16, ceil(rows / 32)),
// 256 threads.
extern "C" __global__ void linear8(
    const bf16* x, const unsigned char* weights, const float* scales, const bf16* added, bf16* y, int rows, int inputs,
    int outputs, int fp8, int has_added) {
    __shared__ float sums[WARPS][OUTPUTS][8 * TILES];
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
    const int output = blockIdx.x * OUTPUTS, row = blockIdx.y * 8 * TILES;
    float c[TILES][4];
    for (int m = 0; m < TILES; m++) for (int i = 0; i < 4; i++) c[m][i] = 0;
    for (int k = warp * PART; k < inputs; k += WARPS * PART) {
        const u64 at = (u64)(output + g) * inputs + k + 16 * t;
        const uint4 upper = *(const uint4*)(weights + at), lower = *(const uint4*)(weights + at + 8 * (u64)inputs);
        const u32 words[2][4] = {{upper.x, upper.y, upper.z, upper.w}, {lower.x, lower.y, lower.z, lower.w}};
        for (int s = 0; s < 4; s++) {
            const u32 a[4] = {
                byte_pair(words[0][s], 0, fp8), byte_pair(words[1][s], 0, fp8), byte_pair(words[0][s], 16, fp8),
                byte_pair(words[1][s], 16, fp8)};
            for (int m = 0; m < TILES; m++) {
                if (row + 8 * m >= rows) break;  // for the whole block alike
                const int mine = row + 8 * m + g;
                const u32* from = (const u32*)(x + (u64)(mine < rows ? mine : 0) * inputs + k + 16 * t + 4 * s);
                mma_16816(c[m], a, mine < rows ? from[0] : 0, mine < rows ? from[1] : 0);
            }
        }
    }
    for (int m = 0; m < TILES; m++) {
        for (int i = 0; i < 4; i++) sums[warp][g + 8 * (i / 2)][8 * m + 2 * t + i % 2] = c[m][i];
    }
    __syncthreads();
    for (int at = thread; at < OUTPUTS * 8 * TILES; at += 32 * WARPS) {
        const int o = at % OUTPUTS, r = at / OUTPUTS;
        if (row + r >= rows) continue;
        float sum = 0;
        for (int w = 0; w < WARPS; w++) sum += sums[w][o][r];
        const u64 to = (u64)(row + r) * outputs + output + o;
        sum *= scales[output + o];
        y[to] = float_to_bf16(has_added ? sum + bf16_to_float(added[to]) : sum);
    }
}
