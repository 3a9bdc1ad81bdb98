"""What a frame costs: the benchmark, the roofline, the baseline, weight formats, and where a figure comes from."""
