"""Learned potentials: the contract, the committee and the calibration of its uncertainty."""
