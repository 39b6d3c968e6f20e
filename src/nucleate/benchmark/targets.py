"""Known ground states of the benchmark systems, and the criterion of a hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from nucleate.crystals.formula import parse_formula
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import matcher, space_group
from nucleate.reference.dispatch import Dispatcher
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

HIT_ENERGY = 0.005
"""Largest energy difference of a hit from the target, eV/atom."""


def _corundum() -> Atoms:
    # L. W. Finger and R. M. Hazen, J. Appl. Phys. 49, 5823 (1978), doi 10.1063/1.324598.
    return crystal(
        ["Al", "O"],
        [(0, 0, 0.35219), (0.30633, 0, 0.25)],
        spacegroup=167,
        cellpar=[4.7589, 4.7589, 12.9910, 90, 90, 120],
        primitive_cell=True,
    )


# Room-temperature lattice constants: CRC Handbook of Chemistry and Physics, 95th edition (2014), section 12.
_PROTOTYPES = {
    "Si": lambda: bulk("Si", "diamond", a=5.431),
    "NaCl": lambda: bulk("NaCl", "rocksalt", a=5.640),
    "GaAs": lambda: bulk("GaAs", "zincblende", a=5.653),
    "Al2O3": _corundum,
    "MgO": lambda: bulk("MgO", "rocksalt", a=4.213),
    "AlN": lambda: bulk("AlN", "wurtzite", a=3.111, c=4.978),
    "CaF2": lambda: bulk("CaF2", "fluorite", a=5.463),
}


@dataclass(frozen=True)
class Target:
    """A ground state, relaxed on the reference of the benchmark.

    Attributes:
        atoms: primitive cell.
        energy: energy, eV/atom.
        number, symbol: number and symbol of the space group.
    """

    atoms: Atoms
    energy: float
    number: int
    symbol: str

    def hit(self, atoms: Atoms, energy: float) -> bool:
        """Return whether a structure is the target.

        It must match the target (StructureMatcher 0.2, 0.3, 5 degrees), have the same space group at 0.1 Å, and an energy (eV/atom) within
        5 meV/atom.
        """
        from pymatgen.io.ase import AseAtomsAdaptor

        if abs(energy - self.energy) > HIT_ENERGY or space_group(atoms)[1] != self.number:
            return False
        convert = AseAtomsAdaptor.get_structure
        return bool(matcher().fit(convert(atoms), convert(self.atoms)))


def prototype(formula: str) -> Atoms:
    """Return the known ground state of a composition, with lattice constants at room temperature.

    Raises:
        BadInput: there is no known ground state for the composition.
    """
    counts = parse_formula(formula)
    for name, build in _PROTOTYPES.items():
        mine = parse_formula(name)
        if set(mine) == set(counts) and len({counts[s] / mine[s] for s in mine}) == 1:
            return build()
    raise BadInput(f"{formula}: there is no benchmark target; choose {', '.join(_PROTOTYPES)} or a multiple")


def relaxed_target(formula: str, dispatcher: Dispatcher, pressure: float = 0.0) -> Target:
    """Relax the target on the reference of the benchmark; `pressure` is in GPa.

    Raises:
        BadInput: there is no known ground state, or its relaxation does not converge.
    """
    atoms = prototype(formula)
    settings = RelaxSettings(fmax=0.005, smax=0.05, max_steps=200, patience=200, pressure=pressure)
    (end,) = relax([atoms], ReferencePotential(dispatcher, "target", 0), settings)
    symbol, number = space_group(end.atoms)
    if end.stop != "converged" or not np.isfinite(end.energy):
        raise BadInput(f"{formula}: the relaxation of the target on {dispatcher.reference.name} did not converge ({end.stop})")
    return Target(end.atoms, end.energy_per_atom, number, symbol)
