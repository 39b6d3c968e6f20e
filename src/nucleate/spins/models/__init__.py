"""Couplings learned from the two elements, their surroundings and their distance."""
