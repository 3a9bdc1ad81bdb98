"""Worlds that are played in a browser, over a socket: `worldmodel serve`."""
