"""Physical constants for the electrons package, from ASE."""

from ase import units

COULOMB = units.Bohr * units.Ha
"""Coulomb constant e²/(4 pi epsilon_0) in eV Å: the energy of two unit charges at a distance of 1 Å."""
BOHR = units.Bohr
"""Å."""
HARTREE = units.Ha
"""eV."""
BOLTZMANN = units.kB
"""eV/K."""
