"""Spins in motion: Monte Carlo and stochastic Landau-Lifshitz-Gilbert dynamics on any lattice."""
