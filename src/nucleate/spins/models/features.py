"""Numbers that describe a site and a pair: elements, surroundings, distance."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from pymatgen.core import Element

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.errors import BadInput
from nucleate.potentials.basis import DEGREES, L_MAX, N_LM
from nucleate.potentials.edge_basis import EdgeBasis, make_layout
from nucleate.spins.models.data import Pairs

ELEMENT_NAMES = ("group", "period", "d electrons of the ion M2+", "electronegativity", "covalent radius, Å")
CUTOFF = 6.0
RADIAL = 6
PLACEHOLDER = 2
"""Stands for every magnetic atom: surroundings tell where atoms are, element features what they are."""


@cache
def element_features(symbol: str) -> tuple[float, ...]:
    """Numbers of `ELEMENT_NAMES`.

    Raises:
        BadInput: no element.
    """
    if not atomic_numbers.get(symbol):
        raise BadInput(f"{symbol}: no element")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        element = Element(symbol)
        tabulated = float(element.X)
    # Noble gases have none; they bind nothing.
    electronegativity = tabulated if np.isfinite(tabulated) else 0.0
    d_electrons = float(max(0, min(10, element.group - 2)))
    return float(element.group), float(element.row), d_electrons, electronegativity, float(covalent_radii[element.Z])


def site_elements(pairs: Pairs) -> np.ndarray:
    """(n, 2, 5) element features of both sites."""
    return np.array([[element_features(a), element_features(b)] for a, b in pairs.elements])


def host_species(pairs: Pairs) -> tuple[int, ...]:
    """Atomic numbers around the pairs, the placeholder of magnetic atoms among them."""
    around = {int(z) for atoms, sites in zip(pairs.atoms or (), pairs.sites, strict=False) for z in np.delete(atoms.numbers, sites)}
    return tuple(sorted(around | {PLACEHOLDER}))


def surroundings(pairs: Pairs, species: tuple[int, ...]) -> np.ndarray:
    """(n, 2, d) power spectra of both sites, magnetic atoms all alike (A. P. Bartók et al., doi 10.1103/PhysRevB.87.184115).

    Args:
        pairs: in crystals.
        species: of the host, see `host_species`; they fix the order of the numbers.

    Raises:
        BadInput: pairs without crystals, or another species around them.
    """
    if pairs.atoms is None:
        raise BadInput("pairs without crystals have no surroundings; use the elements alone")
    strange = set(host_species(pairs)) - set(species)
    if strange:
        raise BadInput(f"{', '.join(chemical_symbols[z] for z in sorted(strange))} around a pair: the model was trained without it")
    structures = []
    for atoms, sites in zip(pairs.atoms, pairs.sites, strict=True):
        alike = atoms.copy()
        alike.numbers[sites] = PLACEHOLDER
        structures.append(alike)
    found = []
    degree_sum = torch.zeros(L_MAX + 1, N_LM)
    degree_sum[torch.tensor(DEGREES), torch.arange(N_LM)] = 1.0
    for k, atoms in enumerate(structures):
        batch = CrystalBatch.from_atoms([atoms])
        edges = neighbour_edges(batch, CUTOFF)
        index = torch.full((120,), -1, dtype=torch.int64)
        index[torch.tensor(species)] = torch.arange(len(species))
        basis = EdgeBasis.compute(make_layout(batch, edges, index, len(species), 4000), edges.vectors(batch).float(), RADIAL, CUTOFF)
        power = (degree_sum @ basis.atomic**2).reshape(len(atoms), -1)
        found.append(power[torch.tensor(pairs.sites[k].copy())].numpy())
    return np.array(found, dtype=float)


def pair_features(pairs: Pairs) -> np.ndarray:
    """(n, 1) distances, Å; (n, 0) where elements alone are known."""
    return np.zeros((len(pairs), 0)) if pairs.kind == "elements alone" else pairs.distances[:, None]


def symmetric(pairs: Pairs) -> np.ndarray:
    """(n, d) the same for a-b and b-a: sums, differences' sizes and products of element features, distance, volume an atom."""
    a, b = np.moveaxis(site_elements(pairs), 1, 0)
    parts = [a + b, np.abs(a - b), a * b, pair_features(pairs)]
    if pairs.atoms is not None:
        parts.append(
            np.array(
                [
                    [atoms.get_volume() / len(atoms), host_number(atoms, sites)]
                    for atoms, sites in zip(pairs.atoms, pairs.sites, strict=True)
                ]
            )
        )
    return np.concatenate(parts, axis=1)


def host_number(atoms: Atoms, sites: np.ndarray) -> float:
    """Mean atomic number of what is not the pair: tells hosts apart."""
    rest = np.delete(atoms.numbers, sites)
    return float(rest.mean()) if len(rest) else 0.0
