"""Pseudopotential energy at G = 0, due to the deviation from -Z/r near the nucleus.

In the pseudopotentials of C. Hartwigsen, S. Goedecker and J. Hutter, Phys. Rev. B 58, 3641 (1998), doi 10.1103/PhysRevB.58.3641, the charge
of an ion is a Gaussian of width r_loc. The average of its potential exceeds that of a point charge by 2 pi k Z r_loc² / V for
every electron:

    E_core = (2 pi k / V) N_e sum_i Z_i r_loc,i².

The remaining short-ranged part of the local potential is contained in the eigenvalues.
"""

from __future__ import annotations

from torch import Tensor, pi

from nucleate.units import COULOMB


def core_energy(volume: Tensor, charges: Tensor, radii: Tensor, electrons: float) -> Tensor:
    """Return the core energy in eV of ions with charges (e) and Gaussian widths r_loc (Å)."""
    return 2 * pi * COULOMB / volume * electrons * (charges * radii**2).sum()
