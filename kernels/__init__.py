"""Array operations, each with a plain PyTorch reference. Knows arrays, not worlds."""
