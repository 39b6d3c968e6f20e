"""Comparison of crystals: fingerprints, structure matching and space groups."""
