"""Unit conversions. Everywhere inside: eV, Å, eV/Å, eV/Å³."""

from ase import units

GPA = units.GPa
"""One gigapascal in eV/Å³."""
