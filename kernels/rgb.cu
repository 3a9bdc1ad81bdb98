// The decoder's pixels as a picture: unnormalise, clamp, round, enlarge. Twin: to_rgb_reference in operations.py.
//
// pixels float (3, height, width) in [-1, 1] -> picture uint8 (height * scale, width * scale, 3). One thread a pixel.
extern "C" __global__ void to_rgb(const float* pixels, unsigned char* picture, int height, int width, int scale) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    if (x >= width * scale) return;
    for (int channel = 0; channel < 3; channel++) {
        const float value = rintf((pixels[((u64)channel * height + y / scale) * width + x / scale] + 1.0f) * 127.5f);
        picture[((u64)y * width * scale + x) * 3 + channel] = (unsigned char)fminf(fmaxf(value, 0.0f), 255.0f);
    }
}
