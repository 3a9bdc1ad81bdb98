"""The window: the one wing that knows pygame."""
