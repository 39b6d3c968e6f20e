"""Descriptors of the atomic environment of a point in space."""
