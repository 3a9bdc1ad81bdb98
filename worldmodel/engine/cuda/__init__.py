"""The CUDA engine: a frame in two captured graphs over a ring cache on the device."""
