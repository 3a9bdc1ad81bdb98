"""A checkpoint as what a browser runs: weights for the compiled decoders of kernels/cpu, and the plain values that the
page's loop needs beside them."""
