"""Features of sites and pairs: elements, environments and distances."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from pymatgen.core import Element

from nucleate.crystals.batch import CrystalBatch
from nucleate.errors import BadInput
from nucleate.fingerprints.power_spectrum import power_spectra
from nucleate.spins.models.data import Pairs

ELEMENT_NAMES = ("group", "period", "d electrons of the ion M2+", "electronegativity", "covalent radius, Å")
CUTOFF = 6.0
RADIAL = 6
PLACEHOLDER = 2
"""Placeholder species for all magnetic atoms: environments encode positions only, element features encode the species."""


@cache
def element_features(symbol: str) -> tuple[float, ...]:
    """Return the features listed in `ELEMENT_NAMES`.

    Raises:
        BadInput: The symbol is not an element.
    """
    if not atomic_numbers.get(symbol):
        raise BadInput(f"{symbol}: unknown element")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        element = Element(symbol)
        tabulated = float(element.X)
    # Noble gases have no tabulated electronegativity; use zero.
    electronegativity = tabulated if np.isfinite(tabulated) else 0.0
    d_electrons = float(max(0, min(10, element.group - 2)))
    return float(element.group), float(element.row), d_electrons, electronegativity, float(covalent_radii[element.Z])


def site_elements(pairs: Pairs) -> np.ndarray:
    """Return element features (n, 2, 5) of both sites."""
    return np.array([[element_features(a), element_features(b)] for a, b in pairs.elements])


def host_species(pairs: Pairs) -> tuple[int, ...]:
    """Return the atomic numbers around the pairs, including the placeholder for magnetic atoms."""
    around = {int(z) for atoms, sites in zip(pairs.atoms or (), pairs.sites, strict=False) for z in np.delete(atoms.numbers, sites)}
    return tuple(sorted(around | {PLACEHOLDER}))


def surroundings(pairs: Pairs, species: tuple[int, ...]) -> np.ndarray:
    """Return power spectra (n, 2, d) of both sites (A. P. Bartók et al., doi 10.1103/PhysRevB.87.184115).

    All magnetic atoms are treated as one species.

    Args:
        pairs: Pairs in crystals.
        species: Host species, see `host_species`; they determine the order of the features.

    Raises:
        BadInput: The pairs have no crystals, or another species occurs around them.
    """
    if pairs.atoms is None:
        raise BadInput("pairs without crystals have no environments; use element features only")
    strange = set(host_species(pairs)) - set(species)
    if strange:
        raise BadInput(f"{', '.join(chemical_symbols[z] for z in sorted(strange))} occurs around a pair, but not in the training data")
    structures = []
    for atoms, sites in zip(pairs.atoms, pairs.sites, strict=True):
        alike = atoms.copy()
        alike.numbers[sites] = PLACEHOLDER
        structures.append(alike)
    found = []
    for k, atoms in enumerate(structures):
        power = power_spectra(CrystalBatch.from_atoms([atoms]), species, RADIAL, CUTOFF)
        found.append(power[torch.tensor(pairs.sites[k].copy())].numpy())
    return np.array(found, dtype=float)


def pair_features(pairs: Pairs) -> np.ndarray:
    """Return distances (n, 1) in Å, or (n, 0) if only elements are known."""
    return np.zeros((len(pairs), 0)) if pairs.kind == "elements alone" else pairs.distances[:, None]


def symmetric(pairs: Pairs) -> np.ndarray:
    """Return features (n, d) symmetric in a-b and b-a.

    They are sums, absolute differences and products of element features, the distance and the volume per atom.
    """
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
    """Return the mean atomic number of the atoms other than the pair, which distinguishes hosts."""
    rest = np.delete(atoms.numbers, sites)
    return float(rest.mean()) if len(rest) else 0.0
