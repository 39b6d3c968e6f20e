"""Batched relaxation of positions and cells."""
