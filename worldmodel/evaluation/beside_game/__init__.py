"""Short trials in the real game and in the model, and one rule for the pictures of both."""
