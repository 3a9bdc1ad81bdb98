// Put before every kernel. No include: NVRTC compiles it on a bare machine, and the tests compile it with a C++
// compiler behind an emulator of threads and warps. `scalar` is the model's number: bfloat16, or float (USE_FLOAT).
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
typedef unsigned short bf16;  // its bits

__device__ inline float bf16_to_float(bf16 x) { return __uint_as_float((u32)x << 16); }

// Round to nearest, ties to even (finite numbers).
__device__ inline bf16 float_to_bf16(float x) {
    u32 bits = __float_as_uint(x);
    return (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#ifdef USE_FLOAT
typedef float scalar;
__device__ inline float to_float(scalar x) { return x; }
__device__ inline scalar from_float(float x) { return x; }
#else
typedef bf16 scalar;
__device__ inline float to_float(scalar x) { return bf16_to_float(x); }
__device__ inline scalar from_float(float x) { return float_to_bf16(x); }
#endif

#define FULL_WARP 0xffffffffu

// c += a b on the tensor cores: a 16 x 16, b 16 x 8, bfloat16; fragments as in the PTX manual (mma.m16n8k16).
#ifndef EMULATED
__device__ inline void mma_16816(float* c, const u32* a, u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif
