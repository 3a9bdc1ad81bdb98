"""Engines of the host: eager PyTorch (the plain twin of all), OpenVINO, one native call a frame; and what runs the
passes of weights in a released order, eager and native."""
