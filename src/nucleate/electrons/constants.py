"""Physical constants of this room, from ASE's tables."""

from ase import units

COULOMB = units.Bohr * units.Ha
"""e²/(4 pi epsilon_0), eV Å: the energy of two unit charges 1 Å apart."""
BOHR = units.Bohr
"""Å."""
HARTREE = units.Ha
"""eV."""
BOLTZMANN = units.kB
"""eV/K."""
