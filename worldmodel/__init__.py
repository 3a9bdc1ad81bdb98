"""Everything between actions and frames: types, tokenizers, transformer, engines, worlds, data, training."""
