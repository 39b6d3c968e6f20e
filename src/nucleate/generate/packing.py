"""Packing of atoms: smallest distance of each pair of species, and volume per atom.

Three models; their two filling fractions were chosen to come within 15 % of a dozen simple crystals:

* ionic (oxidation states balance, electronegativities differ by 0.9 or more): spheres of Shannon's crystal
  radii fill 57 % of the volume;
* metallic (metals only): each element keeps the volume it has in its own crystal;
* covalent (the rest): spheres of covalent radii fill 30.5 % of the volume, or the element takes the volume
  of its own crystal if that is smaller.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from nucleate.crystals.formula import formula_text, formula_units
from nucleate.errors import BadInput, quoted
from nucleate.generate.settings import GenerateSettings

IONIC_FILLING = 0.57
COVALENT_FILLING = 0.305
IONIC_ELECTRONEGATIVITY = 0.9
CM3_PER_MOL = 1.66053907  # Å³ per atom
MOLECULAR = {"H", "N", "O", "F", "Cl", "Br", "I", "He", "Ne", "Ar", "Kr", "Xe", "Rn"}
# Shannon gives hydrogen no useful radius: a proton sits in its anion's shell, a hydride is a small anion.
PROTON_VOLUME = 5.0
HYDRIDE_RADIUS = 1.2
MAX_ATOMS_FOR_GUESS = 60


@dataclass(frozen=True, eq=False)
class Packing:
    """Smallest distances and volume for one composition.

    Attributes:
        symbols: the S species, in the order of the counts given.
        counts: atoms of each species in the cell, (S,).
        min_distances: smallest distance between an atom of species i and one of species j (Å), (S, S).
        volume_per_atom: volume per atom at volume factor 1 (Å³).
        model: `ionic`, `metallic` or `covalent`.
    """

    symbols: tuple[str, ...]
    counts: tuple[int, ...]
    min_distances: np.ndarray
    volume_per_atom: float
    model: str

    @property
    def n_atoms(self) -> int:
        """Atoms in the cell."""
        return sum(self.counts)

    def smallest_volume(self) -> float:
        """A volume (Å³) below which no arrangement keeps the distances: equal spheres fill at most fcc."""
        own = [n * d**3 for n, d in zip(self.counts, np.diag(self.min_distances), strict=True)]
        every = self.n_atoms * float(self.min_distances.min()) ** 3
        return max(*own, every) / sqrt(2.0)


def make_packing(counts: dict[str, int], settings: GenerateSettings | None = None) -> Packing:
    """Estimate distances and volume for a composition.

    Args:
        counts: atoms of each species in the cell.
        settings: the user's factors and overrides.

    Raises:
        BadInput: an override names a species that is not there, or the largest volume allowed cannot hold the
            atoms at their smallest distances.
    """
    settings = settings or GenerateSettings()
    if not counts or any(n < 1 for n in counts.values()):
        raise BadInput(f"composition {counts}: every species needs a whole positive count, as in {{'Al': 4, 'O': 6}}")
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
                f"min_distance '{quoted(key)}': {formula_text(counts)} has no such pair; name two of {', '.join(symbols)} or leave it out"
            )
        i, j = symbols.index(a), symbols.index(b)
        distances[i, j] = distances[j, i] = value
    total = sum(n * _volume(s, states, model) for s, n in counts.items())
    volume = settings.volume_per_atom or total / sum(counts.values())
    packing = Packing(symbols, tuple(counts.values()), distances, volume, model)
    _check_room(packing, settings)
    return packing


def oxidation_states(counts: dict[str, int]) -> dict[str, float]:
    """Average charge of each species where the composition is clearly ionic, else an empty dict."""
    from pymatgen.core import Composition, Element

    units = formula_units(counts)
    reduced = {symbol: n // units for symbol, n in counts.items()}
    if len(counts) < 2 or sum(reduced.values()) > MAX_ATOMS_FOR_GUESS:
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
    """Shannon's crystal radius (Å) at the nearest known charge of the same sign."""
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
    """Volume per atom (Å³) in the element's own condensed phase."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = Element(symbol).molar_volume
    return float(value) * CM3_PER_MOL if value else None


def _all_metals(symbols: tuple[str, ...]) -> bool:
    from pymatgen.core import Element

    return all(Element(s).is_metal for s in symbols)


def _distance(a: str, b: str, states: dict[str, float], settings: GenerateSettings) -> float:
    """Smallest distance (Å) between a and b."""
    covalent = _covalent_radius(a) + _covalent_radius(b)
    if not states:
        return settings.distance_factor * covalent
    ionic = (_ionic_radius(a, states[a]) or 0.0) + (_ionic_radius(b, states[b]) or 0.0)
    if states[a] < 0 and states[b] < 0:
        return settings.like_charge_factor * max(ionic, covalent)
    if states[a] > 0 and states[b] > 0:
        # Cations' Shannon radii are far below their closest approach (2.65 Å for Al in corundum); covalent
        # radii come near it.
        return settings.distance_factor * covalent
    return settings.distance_factor * min(ionic, covalent)


def _volume(symbol: str, states: dict[str, float], model: str) -> float:
    """What one atom adds to the cell's volume (Å³)."""
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
        f"{settings.volume_range[1]:g}) cannot hold the atoms at their smallest distances ({pairs} Å), which "
        f"need {needed:.1f} Å³; raise volume_per_atom or lower min_distance or distance_factor"
    )
