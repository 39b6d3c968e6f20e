"""Cluster expansion: energies of arrangements of atoms on the sites of a lattice, with a long-range dipole term."""
