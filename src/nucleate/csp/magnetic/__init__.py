"""Collinear magnetic orders of the crystals that a search has found."""
