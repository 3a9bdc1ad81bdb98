"""A checkpoint as what a browser runs: the image decoder as an ONNX graph, the transformer's weights for the compiled frame
decoder, and the plain values that the page's loop needs beside them."""
