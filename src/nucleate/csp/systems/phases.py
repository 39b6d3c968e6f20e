"""The phases of a chemical system on the convex hull: heights, formation energies and decomposition reactions, for reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from ase import Atoms

from nucleate.crystals.compositions import ChemicalSystem
from nucleate.csp.records import Polymorph
from nucleate.csp.systems.hull import Hull

EQUAL = 1e-7
"""Height up to which a phase is on the hull, eV/atom."""
MOST_UNITS = 100
"""Largest denominator of the amount of a product in a reaction."""
GASES = frozenset({"H", "N", "O", "F", "Cl"})
"""Elements that are diatomic gases, whose energy semilocal functionals describe worse than that of solids."""
MAGNETIC = frozenset({"Cr", "Mn", "Fe", "Co", "Ni", "Ce", "Pr", "Nd", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "O"})
"""Elements that are magnetic as a metal or molecule."""


@dataclass(frozen=True)
class Phase:
    """A polymorph on the hull diagram of its system.

    Attributes:
        formula: reduced formula.
        fractions: (K,) fractions of atoms from each end member.
        formation: energy of formation from the end members, eV/atom.
        above: height above the hull, eV/atom; 0 on it.
        error: uncertainty of the height from the resolution of the energies, eV/atom.
        reaction: decomposition into the phases of the hull, or, for a phase on it, into its competitors; empty for
            end members and where the phase of the hull has the same composition.
        gain: energy that keeps a phase on the hull from decomposing into its competitors, eV/atom; None for other phases.
    """

    formula: str
    fractions: np.ndarray
    formation: float
    above: float
    error: float
    reaction: str
    gain: float | None


def phases(system: ChemicalSystem, polymorphs: Sequence[Polymorph], resolution: float) -> list[Phase] | None:
    """Return the place of each polymorph on the hull of all that are not saddles.

    Args:
        system: the chemical system.
        polymorphs: confirmed polymorphs.
        resolution: uncertainty of the energy of a polymorph, eV/atom. The errors of different phases are taken as independent, so that the
            height of a phase has the error resolution * sqrt(1 + sum of the squared shares of the phases below it).

    Returns:
        One phase per polymorph, or None if an end member is not confirmed.
    """
    if not polymorphs:
        return None
    structures = [polymorph.atoms for polymorph in polymorphs]
    fractions = system.fractions(system.counts(structures))
    energies = np.array([polymorph.energy for polymorph in polymorphs])
    sound = np.array([polymorph.check != "saddle" for polymorph in polymorphs])
    formulas = [formula_of(system, atoms) for atoms in structures]
    places = np.flatnonzero(sound)
    try:
        hull = Hull(fractions[places], energies[places])
    except ValueError:
        return None
    formations, heights = hull.formation(fractions, energies), hull.above(fractions, energies)
    found = []
    for k, formula in enumerate(formulas):
        shares = [(int(places[n]), share) for n, share in hull.decomposition(fractions[k])]
        on, gain = bool(sound[k]) and heights[k] < EQUAL, None
        reaction = ""
        if on:
            others = np.array([n for n in places if formulas[n] != formula])
            if fractions[k].max() < 1 - EQUAL:
                without = Hull(fractions[others], energies[others])
                shares = [(int(others[n]), share) for n, share in without.decomposition(fractions[k])]
                gain = -float(without.above(fractions[k][None], energies[k : k + 1])[0])
            else:
                shares = []
        if any(formulas[n] != formula for n, _ in shares):
            reaction = reaction_text(structures[k], formula, [(structures[n], formulas[n], share) for n, share in shares])
        error = resolution * float(np.sqrt(1 + sum(share**2 for _, share in shares)))
        found.append(Phase(formula, fractions[k], float(formations[k]), max(0.0, float(heights[k])), error, reaction, gain))
    return found


def formula_of(system: ChemicalSystem, atoms: Atoms) -> str:
    """Return the reduced formula of a structure, with the elements in the order of the system."""
    symbols = atoms.get_chemical_symbols()
    return system.formula({symbol: n for symbol in system.symbols if (n := symbols.count(symbol))})


def reaction_text(atoms: Atoms, formula: str, products: Sequence[tuple[Atoms, str, float]]) -> str:
    """Return a reaction such as `Mg3Si -> Mg2Si + Mg` or `4 FeO -> Fe3O4 + Fe`, in whole formula units.

    Args:
        atoms: structure that decomposes.
        formula: its reduced formula.
        products: structure, reduced formula and fraction of the atoms of each product.
    """
    size = _atoms_in(atoms)
    ordered = sorted(products, key=lambda item: (-round(item[2], 6), item[1]))
    # The products are on the hull, so that the amounts are fractions with denominators of some atoms.
    amounts = [Fraction(share * size / _atoms_in(product)).limit_denominator(MOST_UNITS) for product, _, share in ordered]
    units = math.lcm(*(amount.denominator for amount in amounts))
    terms = [_term(units * amount, name) for amount, (_, name, _) in zip(amounts, ordered, strict=True)]
    return f"{_term(Fraction(units), formula)} -> {' + '.join(terms)}"


def _term(amount: Fraction, formula: str) -> str:
    return formula if amount == 1 else f"{amount} {formula}"


def _atoms_in(atoms: Atoms) -> int:
    """Return the number of atoms in one reduced formula unit."""
    symbols = atoms.get_chemical_symbols()
    return len(atoms) // int(np.gcd.reduce([symbols.count(symbol) for symbol in set(symbols)]))


def warnings_on(searched: ChemicalSystem | dict[str, int], moments: dict[str, float] | None) -> list[str]:
    """Return what a user must know about the energies of a search.

    Args:
        searched: the chemical system, or the number of atoms of each element in the cell of one formula.
        moments: initial magnetic moment of each element of the reference, Bohr magnetons; None: the reference is a surrogate.
    """
    if isinstance(searched, ChemicalSystem):
        symbols, alone = searched.symbols, {next(iter(member)) for member in map(dict, searched.end_members) if len(member) == 1}
    else:
        symbols, alone = tuple(searched), set(searched) if len(searched) == 1 else set()
    lines = []
    gases = [symbol for symbol in symbols if symbol in GASES & alone and isinstance(searched, ChemicalSystem)]
    if gases:
        names = " and ".join(f"{symbol}2" for symbol in gases)
        lines.append(f"the energy of {names} is that of the reference without a correction for gases; formation energies contain its error")
    # Oxygen is magnetic as a molecule, and usually not in compounds.
    able = [symbol for symbol in symbols if symbol in MAGNETIC and (symbol != "O" or symbol in alone)]
    magnetic = [symbol for symbol in able if moments is not None and not moments.get(symbol)]
    if magnetic:
        names = " and ".join("O2" if symbol == "O" else symbol for symbol in magnetic)
        lines.append(f"{names} may be magnetic, but starts without a moment; set reference.magnetic_moments")
    return lines
