// silu(gate) * up. gate_up (rows, 2 size) -> out (rows, size). Grid (blocks of size, rows). Twin: LibraryOps.swiglu.
extern "C" __global__ void swiglu(const scalar* gate_up, scalar* out, int size) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (at >= size) return;
    const float gate = to_float(gate_up[(u64)row * 2 * size + at]), up = to_float(gate_up[(u64)row * 2 * size + size + at]);
    out[(u64)row * size + at] = from_float(gate / (1.0f + expf(-gate)) * up);
}
