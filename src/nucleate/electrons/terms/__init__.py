"""The terms of the free energy, one a file, each headed by its equation."""
