"""Physical constants and unit conversions. Inside the package: eV, Å, eV/Å, eV/Å³, fs, K; meV for magnetic couplings.

Lengths and energies in atomic units follow ASE, so that they agree with the engines that ASE drives.
"""

import math

from ase import units

GPA = units.GPa
"""One gigapascal in eV/Å³."""
BOHR = units.Bohr
"""Bohr radius in Å."""
HARTREE = units.Ha
"""One hartree in eV."""
RYDBERG = units.Ry
"""One rydberg in eV."""
KJ_PER_MOL = units.kJ / units.mol
"""One kJ/mol in eV."""
COULOMB = BOHR * HARTREE
"""e²/(4 pi epsilon_0) in eV Å: the energy of two unit charges 1 Å apart."""
BOLTZMANN = 8.617333262e-5
"""Boltzmann constant in eV/K (CODATA 2022)."""
K_B = 1e3 * BOLTZMANN
"""Boltzmann constant in meV/K."""
MU_B = 5.7883817982e-2
"""Bohr magneton in meV/T (CODATA 2022)."""
THZ = 4.135667696e-3
"""Energy h nu of a vibration of 1 THz in eV (exact since 2019; CODATA 2022)."""
HBAR = 1e6 * THZ / (2 * math.pi)
"""Reduced Planck constant in meV fs."""
GYROMAGNETIC = 1.76085962784e-4
"""Gyromagnetic ratio of the electron in rad/(fs T) (CODATA 2022)."""
