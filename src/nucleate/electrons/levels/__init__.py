"""Occupation of the levels: Fermi-Dirac weights on a density of states, the Fermi level and smearing."""
