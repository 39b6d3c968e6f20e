"""Couplings from density-functional theory: energies of spin states, or the response of one state (GPAW; Quantum ESPRESSO with TB2J)."""
