"""Neural network potentials that follow the contract of `nucleate.potentials.base`."""
