"""Neural network potentials that implement the protocol `nucleate.potentials.base.Potential`."""
