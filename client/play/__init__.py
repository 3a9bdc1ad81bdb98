"""Play without pygame: the game loop, its worker thread, controls, recording, the meter."""
