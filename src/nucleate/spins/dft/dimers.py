"""Two magnetic impurities in a host: which pairs there are, and the coupling of one from two states of its cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, ReferenceFailed
from nucleate.reference.dispatch import Dispatcher
from nucleate.spins.dft.mapping import MappingSettings, ask_states

SAME_SHELL = 1.02
"""Images up to this share of the shortest distance count as bonds of the pair."""


@dataclass(frozen=True)
class Dimer:
    """A cell with one pair of impurities.

    Attributes:
        atoms: host with both put in.
        sites: numbers of the two.
        distance: Å, of the nearest images.
        bonds: how many images of the second are that near to the first: what an energy difference of the cell is shared by.
        vector: (3,) from the first to the nearest second, Å.
    """

    atoms: Atoms
    sites: tuple[int, int]
    distance: float
    bonds: int
    vector: np.ndarray

    @property
    def elements(self) -> tuple[str, str]:
        """Of the two."""
        return self.atoms[self.sites[0]].symbol, self.atoms[self.sites[1]].symbol

    @property
    def isolated(self) -> bool:
        """Whether the pair is one bond, nearer than any image."""
        return self.bonds == 1


@dataclass(frozen=True)
class DimerCoupling:
    """What two states of a dimer say.

    Attributes:
        coupling: meV a bond, positive where moments like to be aligned; it holds what farther images add.
        moments: (2,) sizes in the aligned state, Bohr magnetons.
        core_seconds: of both states.
    """

    coupling: float
    moments: tuple[float, float]
    core_seconds: float


def image_vectors(atoms: Atoms, sites: tuple[int, int], reach: int = 2) -> np.ndarray:
    """(m, 3) from the first site to the images of the second within `reach` cells, nearest first, Å."""
    images = np.stack(np.meshgrid(*([np.arange(-reach, reach + 1)] * 3), indexing="ij"), -1).reshape(-1, 3)
    vectors = atoms.positions[sites[1]] - atoms.positions[sites[0]] + images @ atoms.cell.array
    return vectors[np.lexsort((*vectors.T.round(6), np.linalg.norm(vectors, axis=1).round(6)))]


def host_pairs(host: Atoms, element: str, cutoff: float) -> list[tuple[int, int]]:
    """Pairs of sites of an element, one a distance, nearest first; of equally long ones that with the fewest images.

    The first of a pair is always the first such site: give a host whose sites are equivalent.

    Raises:
        BadInput: the host has no two such sites within the cutoff.
    """
    sites = np.flatnonzero(np.array(host.get_chemical_symbols()) == element)
    best: dict[float, tuple[int, tuple[int, int]]] = {}
    for k in sites[1:]:
        dimer = put_in(host, (int(sites[0]), int(k)), (element, element))
        distance = round(dimer.distance, 2)
        if dimer.distance <= cutoff and (distance not in best or dimer.bonds < best[distance][0]):
            best[distance] = dimer.bonds, dimer.sites
    if not best:
        raise BadInput(f"{host.get_chemical_formula()}: no two atoms of {element} within {cutoff:g} Å")
    return [best[distance][1] for distance in sorted(best)]


def put_in(host: Atoms, sites: tuple[int, int], elements: tuple[str, str]) -> Dimer:
    """The host with two atoms replaced."""
    atoms = host.copy()
    for site, element in zip(sites, elements, strict=True):
        atoms.symbols[site] = element
    vectors = image_vectors(atoms, sites)
    lengths = np.linalg.norm(vectors, axis=1)
    return Dimer(atoms, sites, float(lengths[0]), int((lengths <= SAME_SHELL * lengths[0]).sum()), vectors[0])


def dimer_coupling(dimer: Dimer, settings: MappingSettings, dispatcher: Dispatcher) -> DimerCoupling:
    """J = (E_opposite - E_aligned) / (2 bonds).

    Raises:
        ReferenceFailed: a state failed, or its moments are not those that were asked for.
    """
    sites = np.array(dimer.sites)
    missing = [element for element in dimer.elements if not settings.moments.get(element)]
    if missing:
        raise BadInput(f"{', '.join(missing)}: no starting moment; give one")
    wanted = np.abs([settings.moments[element] for element in dimer.elements])
    states, failures = ask_states(dimer.atoms, sites, wanted, np.array([[1, 1], [1, -1]]), settings, dispatcher, purpose="dimer")
    if failures:
        raise ReferenceFailed("; ".join(failures), kind="state")
    aligned, opposite = states
    return DimerCoupling(
        1e3 * (opposite.label.energy - aligned.label.energy) / (2 * dimer.bonds),
        (float(abs(aligned.moments[0])), float(abs(aligned.moments[1]))),
        aligned.label.core_seconds + opposite.label.core_seconds,
    )
