"""Generators of candidates: random crystals with and without symmetry, and structures of the user."""

from nucleate.generate.base import Candidate, Generator
from nucleate.generate.mixture import MixtureGenerator, make_generator
from nucleate.generate.p1 import P1Generator
from nucleate.generate.packing import Packing, make_packing
from nucleate.generate.seeds import SeedGenerator
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.symmetric import SymmetricGenerator

__all__ = [
    "Candidate",
    "GenerateSettings",
    "Generator",
    "MixtureGenerator",
    "P1Generator",
    "Packing",
    "SeedGenerator",
    "SymmetricGenerator",
    "make_generator",
    "make_packing",
]
