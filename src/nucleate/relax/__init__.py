"""Relaxation of positions and cells, in batches on a potential or one by one on a reference."""
