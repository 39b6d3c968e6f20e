"""Pairs of magnetic impurities in a host and their coupling from two spin states of a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, ReferenceFailed
from nucleate.reference.dispatch import Dispatcher
from nucleate.spins.dft.mapping import MappingSettings, ask_states
from nucleate.spins.geometry import nearest_images

SAME_SHELL = 1.02
"""Largest distance of images that count as bonds of a pair, relative to the shortest distance."""


@dataclass(frozen=True)
class Dimer:
    """Cell with one pair of impurities.

    Attributes:
        atoms: Host with both impurities.
        sites: Indices of the impurities.
        distance: Distance between nearest images in Å.
        bonds: Number of images of the second impurity at this distance, which share the energy difference of the cell.
        vector: (3,) vector from the first impurity to the nearest image of the second in Å.
    """

    atoms: Atoms
    sites: tuple[int, int]
    distance: float
    bonds: int
    vector: np.ndarray

    @property
    def elements(self) -> tuple[str, str]:
        """Elements of the two impurities."""
        return self.atoms[self.sites[0]].symbol, self.atoms[self.sites[1]].symbol


@dataclass(frozen=True)
class DimerCoupling:
    """Coupling of a dimer from two states.

    Attributes:
        coupling: Coupling in meV per bond, positive if ferromagnetic; it includes contributions of more distant images.
        moments: (2,) magnitudes of the moments in the aligned state in Bohr magnetons.
        core_seconds: Core-seconds of both states.
    """

    coupling: float
    moments: tuple[float, float]
    core_seconds: float


def host_pairs(host: Atoms, element: str, cutoff: float) -> list[tuple[int, int]]:
    """Return one pair of sites of an element for each distance, nearest first, with the fewest equivalent images.

    The first site of a pair is always the first atom of the element, so the sites of the host should be equivalent.

    Raises:
        BadInput: The host has no two atoms of the element within the cutoff.
    """
    sites = np.flatnonzero(np.array(host.get_chemical_symbols()) == element)
    best: dict[float, tuple[int, tuple[int, int]]] = {}
    for k in sites[1:]:
        dimer = put_in(host, (int(sites[0]), int(k)), (element, element))
        distance = round(dimer.distance, 2)
        if dimer.distance <= cutoff and (distance not in best or dimer.bonds < best[distance][0]):
            best[distance] = dimer.bonds, dimer.sites
    if not best:
        raise BadInput(f"{host.get_chemical_formula()}: there are no two atoms of {element} within {cutoff:g} Å; use a larger cutoff")
    return [best[distance][1] for distance in sorted(best)]


def put_in(host: Atoms, sites: tuple[int, int], elements: tuple[str, str]) -> Dimer:
    """Replace two atoms of the host."""
    atoms = host.copy()
    for site, element in zip(sites, elements, strict=True):
        atoms.symbols[site] = element
    vectors = nearest_images(atoms, *sites, SAME_SHELL)
    return Dimer(atoms, sites, float(np.linalg.norm(vectors[0])), len(vectors), vectors[0])


def dimer_coupling(dimer: Dimer, settings: MappingSettings, dispatcher: Dispatcher) -> DimerCoupling:
    """Compute J = (E_opposite - E_aligned) / (2 bonds).

    Raises:
        ReferenceFailed: A state failed, or its moments differ from those requested.
    """
    sites = np.array(dimer.sites)
    missing = [element for element in dimer.elements if not settings.moments.get(element)]
    if missing:
        raise BadInput(f"{', '.join(missing)}: the initial moment is missing; add it to moments")
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
