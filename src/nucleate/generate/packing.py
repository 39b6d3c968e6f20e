"""Estimates of the smallest distance of each pair of species and of the volume per atom.

There are three models. Their two filling fractions were chosen so that the volumes of a dozen simple crystals are within 15 %:

* ionic (balanced oxidation states, electronegativities that differ by 0.9 or more): spheres of Shannon's crystal radii fill 57 % of the
  volume;
* metallic (only metals): each element has the volume of its elemental crystal;
* covalent (all others): spheres of covalent radii fill 30.5 % of the volume, or the element has the volume of its elemental crystal if
  that is smaller.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from math import pi, sqrt

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from nucleate.crystals.formula import formula_text, formula_units
from nucleate.errors import BadInput, quoted
from nucleate.generate.settings import GenerateSettings

IONIC_FILLING = 0.57
COVALENT_FILLING = 0.305
IONIC_ELECTRONEGATIVITY = 0.9
CM3_PER_MOL = 1.66053907
"""1 cm³/mol in Å³ per atom."""
MOLECULAR = {"H", "N", "O", "F", "Cl", "Br", "I", "He", "Ne", "Ar", "Kr", "Xe", "Rn"}
PROTON_VOLUME = 5.0
"""Volume of a proton, Å³. Shannon's radii are not useful for hydrogen: a proton is inside the electron shell of its anion."""
HYDRIDE_RADIUS = 1.2
"""Radius of a hydride anion, Å."""
MAX_ATOMS_FOR_GUESS = 60


@dataclass(frozen=True, eq=False)
class Packing:
    """Smallest distances and volume of one composition.

    Attributes:
        symbols: symbols of the S species, in the order of the given counts.
        counts: (S,) number of atoms of each species in the cell.
        min_distances: (S, S) smallest distance between an atom of species i and one of species j, Å.
        volume_per_atom: volume per atom at volume factor 1, Å³.
        model: `ionic`, `metallic` or `covalent`.
    """

    symbols: tuple[str, ...]
    counts: tuple[int, ...]
    min_distances: np.ndarray
    volume_per_atom: float
    model: str

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return sum(self.counts)

    def smallest_volume(self) -> float:
        """Return a lower bound of the volume (Å³) of structures that respect the distances, from the densest packing of equal spheres."""
        own = [n * d**3 for n, d in zip(self.counts, np.diag(self.min_distances), strict=True)]
        every = self.n_atoms * float(self.min_distances.min()) ** 3
        return max(*own, every) / sqrt(2.0)


def make_packing(counts: dict[str, int], settings: GenerateSettings | None = None) -> Packing:
    """Estimate distances and volume for a composition.

    Args:
        counts: number of atoms of each species in the cell.
        settings: factors, and values that replace the estimates.

    Raises:
        BadInput: a setting names a species that is not in the composition, or the largest allowed volume is too small for the atoms at
            their smallest distances.
    """
    settings = settings or GenerateSettings()
    if not counts or any(n < 1 for n in counts.values()):
        raise BadInput(f"composition {counts}: give every species a positive integer count, such as {{'Al': 4, 'O': 6}}")
    symbols = tuple(counts)
    states = oxidation_states(counts)
    model = "ionic" if states else "metallic" if _all_metals(symbols) else "covalent"
    distances = np.empty((len(symbols), len(symbols)))
    for i, a in enumerate(symbols):
        for j, b in enumerate(symbols):
            distances[i, j] = _distance(a, b, states, settings)
    for key, value in settings.min_distance.items():
        a, b = key.split("-")
        if a not in counts or b not in counts:
            raise BadInput(
                f"min_distance '{quoted(key)}': {formula_text(counts)} has no such pair; name two of {', '.join(symbols)}, or remove it"
            )
        i, j = symbols.index(a), symbols.index(b)
        distances[i, j] = distances[j, i] = value
    total = sum(n * _volume(s, states, model) for s, n in counts.items())
    volume = settings.volume_per_atom or total / sum(counts.values())
    packing = Packing(symbols, tuple(counts.values()), distances, volume, model)
    _check_room(packing, settings)
    return packing


def oxidation_states(counts: dict[str, int]) -> dict[str, float]:
    """Return the average oxidation state of each species of a clearly ionic composition, else an empty dictionary."""
    units = formula_units(counts)
    return dict(_states_of(tuple((symbol, n // units) for symbol, n in counts.items())))


@lru_cache(maxsize=4096)
def _states_of(composition: tuple[tuple[str, int], ...]) -> dict[str, float]:
    """Return the oxidation states of a reduced composition; a guess takes up to seconds."""
    from pymatgen.core import Composition, Element

    reduced = dict(composition)
    if len(reduced) < 2 or sum(reduced.values()) > MAX_ATOMS_FOR_GUESS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guesses = Composition(reduced).oxi_state_guesses()
    if not guesses:
        return {}
    states = {symbol: float(charge) for symbol, charge in guesses[0].items()}
    mean: dict[int, float] = {}
    for sign in (-1, 1):
        side = [s for s in states if states[s] * sign > 0]
        weight = sum(reduced[s] for s in side)
        if not weight:
            return {}
        mean[sign] = sum(reduced[s] * Element(s).X for s in side) / weight
    if mean[-1] - mean[1] < IONIC_ELECTRONEGATIVITY:
        return {}
    if any(charge == 0 or _ionic_radius(s, charge) is None for s, charge in states.items()):
        return {}
    return states


def _ionic_radius(symbol: str, charge: float) -> float | None:
    """Return Shannon's crystal radius (Å) at the nearest tabulated charge of the same sign; None if there is none."""
    from pymatgen.core import Element

    if symbol == "H":
        return HYDRIDE_RADIUS if charge < 0 else 0.0
    known = {state: r for state, r in Element(symbol).ionic_radii.items() if state * charge > 0}
    if not known:
        return None
    return float(known[min(known, key=lambda state: (abs(state - charge), state))])


def _covalent_radius(symbol: str) -> float:
    return float(covalent_radii[atomic_numbers[symbol]])


def _molar_volume(symbol: str) -> float | None:
    """Return the volume per atom (Å³) of the element's condensed phase; None if it is not tabulated."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = Element(symbol).molar_volume
    return float(value) * CM3_PER_MOL if value else None


def _all_metals(symbols: tuple[str, ...]) -> bool:
    from pymatgen.core import Element

    return all(Element(s).is_metal for s in symbols)


def _distance(a: str, b: str, states: dict[str, float], settings: GenerateSettings) -> float:
    """Return the smallest distance (Å) between atoms of two species."""
    covalent = _covalent_radius(a) + _covalent_radius(b)
    if not states:
        return settings.distance_factor * covalent
    ionic = (_ionic_radius(a, states[a]) or 0.0) + (_ionic_radius(b, states[b]) or 0.0)
    if states[a] < 0 and states[b] < 0:
        return settings.like_charge_factor * max(ionic, covalent)
    if states[a] > 0 and states[b] > 0:
        # The sum of Shannon's radii of two cations is far below their smallest distance (2.65 Å for Al in corundum), to which the sum of
        # covalent radii is close.
        return settings.distance_factor * covalent
    return settings.distance_factor * min(ionic, covalent)


def _volume(symbol: str, states: dict[str, float], model: str) -> float:
    """Return the contribution of one atom to the volume of the cell, Å³."""
    if model == "ionic":
        if symbol == "H" and states[symbol] > 0:
            return PROTON_VOLUME
        radius = _ionic_radius(symbol, states[symbol]) or 0.0
        return 4.0 / 3.0 * pi * radius**3 / IONIC_FILLING
    covalent = 4.0 / 3.0 * pi * _covalent_radius(symbol) ** 3 / COVALENT_FILLING
    own = _molar_volume(symbol)
    if own is None:
        return covalent
    if model == "metallic" or symbol in MOLECULAR:
        return own
    return min(own, covalent)


def _check_room(packing: Packing, settings: GenerateSettings) -> None:
    """Raise `BadInput` if the largest allowed volume is too small for the smallest distances."""
    largest = packing.volume_per_atom * packing.n_atoms * settings.volume_range[1]
    needed = packing.smallest_volume()
    if largest >= needed:
        return
    counts = dict(zip(packing.symbols, packing.counts, strict=True))
    pairs = ", ".join(
        f"{a}-{b} {packing.min_distances[i, j]:.2f}" for i, a in enumerate(packing.symbols) for j, b in enumerate(packing.symbols) if i <= j
    )
    raise BadInput(
        f"{formula_text(counts)}: {largest:.1f} Å³ (volume_per_atom {packing.volume_per_atom:.2f} times "
        f"{settings.volume_range[1]:g}) is too small for the smallest distances ({pairs} Å), which "
        f"need {needed:.1f} Å³; increase volume_per_atom or reduce min_distance or distance_factor"
    )
