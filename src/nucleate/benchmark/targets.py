"""Known ground states of the benchmark systems, and the two definitions of a hit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from nucleate.crystals.formula import parse_formula
from nucleate.crystals.io import read_structure
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import matcher, space_group
from nucleate.generate.packing import make_packing
from nucleate.generate.prototype_entries import matching_entries
from nucleate.reference.dispatch import Dispatcher
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

HIT_ENERGY = 0.005
"""Largest energy difference of a hit from the target, or above the lowest known energy, eV/atom."""


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
        lowest: lowest known energy of the system on the reference, eV/atom.
    """

    atoms: Atoms
    energy: float
    number: int
    symbol: str
    lowest: float

    def low(self, energy: float) -> bool:
        """Return whether a structure is a hit by its energy (eV/atom): within 5 meV/atom of the lowest known energy, or below it."""
        return energy <= self.lowest + HIT_ENERGY

    def hit(self, atoms: Atoms, energy: float) -> bool:
        """Return whether a structure is the target, the named crystal.

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


def target_structure(formula: str, file: Path | None) -> Atoms:
    """Return the target of a benchmark: the structure of a file, or the known ground state of the composition.

    Raises:
        BadInput: the file cannot be read or has another composition, or there is no known ground state.
    """
    if file is None:
        return prototype(formula)
    atoms = read_structure(file)
    mine, asked = Counter(atoms.get_chemical_symbols()), parse_formula(formula)
    if set(mine) != set(asked) or len({asked[s] / mine[s] for s in mine}) != 1:
        raise BadInput(f"{file}: contains {atoms.get_chemical_formula()}, which is not the composition of {formula}")
    return atoms


def relaxed_target(
    formula: str, dispatcher: Dispatcher, pressure: float = 0.0, file: Path | None = None, lowest: float | None = None
) -> Target:
    """Relax the target on the reference of the benchmark.

    Args:
        formula: formula of the search cell.
        dispatcher: runs the reference calculations.
        pressure: external pressure, GPa.
        file: file with the target; None: the known ground state.
        lowest: lowest known energy on the reference, eV/atom; None: that of the target.

    Raises:
        BadInput: there is no target, its relaxation does not converge, or `lowest` is above its energy.
    """
    atoms = target_structure(formula, file)
    settings = RelaxSettings(fmax=0.005, smax=0.05, max_steps=200, patience=200, pressure=pressure)
    (end,) = relax([atoms], ReferencePotential(dispatcher, "target", 0), settings)
    symbol, number = space_group(end.atoms)
    if end.stop != "converged" or not np.isfinite(end.energy):
        raise BadInput(f"{formula}: the relaxation of the target on {dispatcher.reference.name} did not converge ({end.stop})")
    energy = end.energy_per_atom
    if lowest is not None and lowest > energy:
        raise BadInput(f"{formula}: the lowest energy {lowest:g} eV/atom is above that of the target, {energy:.6f} eV/atom")
    return Target(end.atoms, energy, number, symbol, energy if lowest is None else lowest)


def lowest_prototype(formula: str, dispatcher: Dispatcher, pressure: float = 0.0) -> Target:
    """Relax all AFLOW prototypes of a formula on the reference of the benchmark; return the lowest.

    Args:
        formula: formula of the search cell.
        dispatcher: runs the reference calculations.
        pressure: external pressure, GPa.

    Raises:
        BadInput: there is no prototype of the formula, or none of the relaxations converges.
    """
    counts = parse_formula(formula)
    packing = make_packing(counts)
    structures = []
    for entry in matching_entries(counts):
        atoms = entry.atoms(packing.symbols)
        atoms.set_cell(atoms.cell.array * (packing.n_atoms * packing.volume_per_atom / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
        structures.append(atoms)
    settings = RelaxSettings(fmax=0.02, smax=0.1, max_steps=300, pressure=pressure)
    ends = [end for end in relax(structures, ReferencePotential(dispatcher, "target", 0), settings) if end.stop == "converged"]
    if not ends:
        raise BadInput(f"{formula}: no prototype of it relaxes on {dispatcher.reference.name}; give a file with the target")
    best = min(ends, key=lambda end: end.energy_per_atom)
    symbol, number = space_group(best.atoms)
    return Target(best.atoms, best.energy_per_atom, number, symbol, best.energy_per_atom)
