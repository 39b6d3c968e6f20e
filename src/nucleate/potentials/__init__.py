"""Learned potentials, their common interface, and the calibration of their uncertainty."""
