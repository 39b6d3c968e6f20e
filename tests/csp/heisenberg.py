"""Lennard-Jones copper with a Heisenberg energy, a toy reference whose energy depends on the starting moments."""

import numpy as np
from ase.neighborlist import neighbor_list

from nucleate.errors import ReferenceFailed
from nucleate.reference.base import Label, start_moments
from tests.conftest import PairPotential, label

MOMENTS = {"Cu": 2.0}


class Heisenberg:
    """E = E_LJ + 1/2 sum_ij J(r_ij) e_i . e_j with Gaussians J(r) of a given place (Å), width 0.3 Å and height (eV).

    Args:
        exchange: place and height of each Gaussian; positive heights favour antiparallel moments.
        moment: final moment of an atom; 0: all moments vanish, and the energy is that without exchange.
        fails: called with the atoms; True lets the calculation fail.
    """

    name = "heisenberg"
    surrogate = True
    WIDTH = 0.3

    def __init__(self, exchange=((3.6, 0.02),), moment=2.0, fails=lambda atoms: False):
        self.exchange, self.moment, self.fails = exchange, moment, fails
        self.potential = PairPotential((29, 79), bond=2.6, depth=(0.4,), cutoff=6.0)
        self.calls = 0

    def settings(self):
        return {"engine": "heisenberg", "exchange": [list(item) for item in self.exchange], "moment": self.moment}

    def k_points(self, atoms):
        return None

    def label(self, atoms):
        self.calls += 1
        if self.fails(atoms):
            raise ReferenceFailed("the toy fails")
        plain = label(self.potential, atoms)
        if plain.energy > 20:
            raise ReferenceFailed("crushed")
        atoms = atoms.copy()
        start_moments(atoms, MOMENTS)
        spins = np.sign(atoms.get_initial_magnetic_moments()) * (self.moment > 0)
        i, j, r, vectors = neighbor_list("ijdD", atoms, 6.0)
        energy, forces, virial = plain.energy, plain.forces.copy(), np.zeros((3, 3))
        for place, height in self.exchange:
            bump = height * np.exp(-(((r - place) / self.WIDTH) ** 2)) * spins[i] * spins[j]
            slope = -2 * (r - place) / self.WIDTH**2 * bump
            energy += 0.5 * bump.sum()
            pull = (slope / r)[:, None] * vectors
            np.add.at(forces, i, pull)
            virial += 0.5 * np.einsum("na,nb->ab", pull, vectors)
        stress = virial / atoms.get_volume()
        moments = (self.moment * spins).tolist()
        details = {"moments": moments, "total_moment": float(np.sum(moments))}
        voigt = np.array([stress[0, 0], stress[1, 1], stress[2, 2], stress[1, 2], stress[0, 2], stress[0, 1]])
        return Label(energy, forces, plain.stress + voigt, 0, 0.01, details)
