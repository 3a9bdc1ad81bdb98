"""Engines of the host: eager PyTorch (the plain twin of all), OpenVINO, one native call a frame."""
