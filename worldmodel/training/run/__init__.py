"""One training run: its steps, log, saves and ends."""
