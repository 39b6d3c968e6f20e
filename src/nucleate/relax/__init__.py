"""Relaxation of positions and cells, in batches on a potential or on a reference."""
