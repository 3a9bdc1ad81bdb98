"""A checkpoint as what a browser runs: ONNX graphs, and the plain values that the page's loop needs beside them."""
