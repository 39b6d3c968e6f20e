"""Molecules: bonds, symmetry, and molecules inside crystals."""
