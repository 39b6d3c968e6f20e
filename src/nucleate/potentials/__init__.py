"""Learned energy surfaces: the committee, its training and calibration."""
