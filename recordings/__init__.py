"""The session file: format, writer, reader, replay. Free of torch, cupy and pygame."""
