"""Fourier neural operators: from a density to its exchange-correlation potential, and from densities to the next one."""
