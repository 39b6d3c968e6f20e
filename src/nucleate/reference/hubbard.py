"""Hubbard U of a d or f shell, in the form that each engine reads.

The correction is the rotationally invariant one with a single parameter U_eff = U - J: S. L. Dudarev et al., Phys. Rev. B 57, 1505 (1998),
doi 10.1103/PhysRevB.57.1505. Engines project on different orbitals, so that one value of U does not give the same energies in two of them.
"""

from __future__ import annotations

from typing import Any

from ase import Atoms
from ase.data import atomic_numbers

LARGEST_U = 20.0
"""Largest U, eV."""
_SHELLS = (("3d", 21, 30), ("4d", 39, 48), ("4f", 57, 71), ("5d", 72, 80), ("5f", 89, 103))
"""Shell, and atomic numbers of the first and last element that has it."""
ALLOWED = "the transition metals (d shell, groups 3 to 12), lanthanides and actinides (f shell)"
"""Elements that may have a U, for error messages."""


def shell_of(symbol: str) -> str | None:
    """Return the shell of an element that U acts on, such as `3d`; None if it has none.

    It is the d shell of groups 3 to 12 and the f shell of lanthanides and actinides. Filled d shells below the valence of the main group,
    such as that of Ga, and p shells are not supported.
    """
    number = atomic_numbers[symbol]
    return next((shell for shell, first, last in _SHELLS if first <= number <= last), None)


def check_hubbard(values: dict[str, float]) -> None:
    """Raise `ValueError` unless each element has a shell that U acts on."""
    without = [symbol for symbol in values if shell_of(symbol) is None]
    if without:
        raise ValueError(f"{', '.join(without)} has no d or f shell for U; allowed are {ALLOWED}")


def gpaw_setups(values: dict[str, float]) -> dict[str, str]:
    """Return GPAW's keyword `setups`, with occupations normalised to those of the bound partial wave, which is GPAW's default."""
    return {symbol: f":{_shell(symbol)[1]},{value!r},1" for symbol, value in sorted(values.items())}


def vasp_tags(values: dict[str, float]) -> dict[str, Any]:
    """Return the keywords of ASE's VASP calculator: Dudarev's scheme, and density mixing up to the largest shell."""
    momenta = {symbol: "spdf".index(_shell(symbol)[1]) for symbol in values}
    shells = {symbol: {"L": momenta[symbol], "U": value, "J": 0.0} for symbol, value in sorted(values.items())}
    return {"ldau": True, "ldautype": 2, "ldau_luj": shells, "lmaxmix": 2 * max(momenta.values())}


def espresso_card(atoms: Atoms, values: dict[str, float]) -> list[str]:
    """Return the lines of pw.x's card HUBBARD (version 7.1 and later) for the elements of a structure; none if no element has a U.

    ASE names the atoms of an element with different starting moments by numbers, such as Mn and Mn1, and the card names each of them.
    """
    kinds: dict[str, list[float]] = {}
    for symbol, moment in zip(atoms.get_chemical_symbols(), atoms.get_initial_magnetic_moments().tolist(), strict=True):
        moments = kinds.setdefault(symbol, [])
        if moment not in moments:
            moments.append(moment)
    lines = [
        f"U {symbol}{number or ''}-{_shell(symbol)} {values[symbol]!r}"
        for symbol, moments in kinds.items()
        if symbol in values
        for number in range(len(moments))
    ]
    return ["HUBBARD (ortho-atomic)", *lines] if lines else []


def _shell(symbol: str) -> str:
    """Return the shell of an element that has one."""
    shell = shell_of(symbol)
    assert shell is not None
    return shell
