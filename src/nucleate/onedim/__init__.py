"""Kohn-Sham theory in one dimension: exact states, inversion of densities, electrons in laser pulses. Hartree atomic units throughout."""
