// Runs a CUDA kernel on a CPU: the threads of a block are fibers, barriers and warp operations switch between them.
// Blocks run one after the other, so that __shared__ is a static variable. For tests of indexing and numerics.
#include <math.h>
#include <string.h>
#include <stddef.h>
#include <ucontext.h>
#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>
#define EMULATED
#define __global__
#define __device__
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct dim3 { unsigned x, y, z; };
static dim3 blockIdx, gridDim, blockDim, threadIdx;
using std::min;
static inline float __uint_as_float(unsigned x) { float y; memcpy(&y, &x, 4); return y; }
static inline unsigned __float_as_uint(float x) { unsigned y; memcpy(&y, &x, 4); return y; }

static ucontext_t scheduler;
static std::vector<ucontext_t> fibers;
static std::vector<char> finished;
static unsigned current;
static unsigned char slots[1024][32];  // what each thread shows to its warp

// A switch to the scheduler, which runs every thread to its next switch: the lanes of a warp, which take the same warp
// operations, stay in step. A barrier waits for the whole block.
static void meet() { swapcontext(&fibers[current], &scheduler); }
static unsigned waiting, barriers;
static void __syncthreads() {
    const unsigned mine = barriers;
    if (++waiting == blockDim.x) {
        waiting = 0;
        barriers++;
        meet();  // the lanes of its warp that wait have one switch more before them
    }
    while (barriers == mine) meet();
    meet();
}
template <class T> static T exchange(T value, int lane, bool inside) {
    memcpy(slots[current], &value, sizeof(T));
    meet();
    T other = value;
    if (inside) memcpy(&other, slots[current / 32 * 32 + lane], sizeof(T));
    meet();
    return other;
}
template <class T> static T __shfl_xor_sync(unsigned, T value, int mask) {
    return exchange(value, (current % 32) ^ mask, true);
}
template <class T> static T __shfl_up_sync(unsigned, T value, int step) {
    int lane = (int)(current % 32) - step;
    return exchange(value, lane, lane >= 0);
}
// The PTX manual's fragments of mma.m16n8k16: lane = 4 g + t holds A rows g, g + 8 and B column g.
static void mma_16816(float* c, const unsigned* a, unsigned b0, unsigned b1) {
    unsigned mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
    memcpy(slots[current], mine, sizeof(mine));
    meet();
    auto word = [&](int lane, int index) { unsigned w; memcpy(&w, slots[current / 32 * 32 + lane] + 4 * index, 4); return w; };
    auto number = [](unsigned w, int high) { return __uint_as_float(high ? w & 0xffff0000u : w << 16); };
    int g = current % 32 / 4, t = current % 4;
    for (int i = 0; i < 4; i++) {
        int row = g + 8 * (i / 2), column = 2 * t + i % 2;
        for (int k = 0; k < 16; k++) {
            int lane_k = k % 8 / 2, upper = k / 8;
            float x = number(word(row % 8 * 4 + lane_k, row / 8 + 2 * upper), k % 2);
            float y = number(word(column * 4 + lane_k, 4 + upper), k % 2);
            c[i] += x * y;
        }
    }
    meet();
}

template <class F> static void run_grid(dim3 grid, unsigned threads, F body) {
    static F* shared_body;
    shared_body = &body;
    static std::vector<char> stacks;
    const size_t stack = 64 << 10;
    stacks.resize(threads * stack);
    fibers.resize(threads);
    finished.resize(threads);
    gridDim = grid;
    blockDim = {threads, 1, 1};
    void (*entry)() = [] { (*shared_body)(); finished[current] = 1; };
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
    for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
        for (unsigned i = 0; i < threads; i++) {
            getcontext(&fibers[i]);
            fibers[i].uc_stack.ss_sp = stacks.data() + i * stack;
            fibers[i].uc_stack.ss_size = stack;
            fibers[i].uc_link = &scheduler;
            makecontext(&fibers[i], entry, 0);
            finished[i] = 0;
        }
        for (bool running = true; running;) {
            running = false;
            for (current = 0; current < threads; current++) {
                if (finished[current]) continue;
                threadIdx = {current, 0, 0};
                swapcontext(&scheduler, &fibers[current]);
                running = true;
            }
        }
    }
}
// Unpacks an array of pointers to the arguments, as cuLaunchKernel does.
template <class... A, size_t... I>
static void launch(void (*kernel)(A...), dim3 grid, unsigned threads, void** arguments, std::index_sequence<I...>) {
    run_grid(grid, threads, [=] { kernel(*(A*)arguments[I]...); });
}
#define ENTRY(name) \
    extern "C" void launch_##name(unsigned x, unsigned y, unsigned z, unsigned threads, void** arguments) { \
        launch_any(name, {x, y, z}, threads, arguments); \
    }
template <class... A> static void launch_any(void (*kernel)(A...), dim3 grid, unsigned threads, void** arguments) {
    launch(kernel, grid, threads, arguments, std::index_sequence_for<A...>());
}
