"""Neural network potentials behind the one contract of `nucleate.potentials.base`."""
