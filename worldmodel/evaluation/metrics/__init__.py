"""Distances between pictures and videos, and how a picture moved."""
