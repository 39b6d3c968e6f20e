"""Checks of the force fields of molecular crystals: images of the molecules, lattice energies, and the fitted field of a molecule.

    OMP_NUM_THREADS=1 python benchmarks/search/molecules/checks.py

1. mcGFN-FF: change of the energy when molecules are moved by lattice vectors, and of the energy a molecule in a doubled cell, without the
   treatment of `nucleate.reference.surrogates`; largest of ten random moves.
2. Energies of the crystals minus those of the molecules, at the experimental geometry of dry ice: the molecule is the one of the crystal.
3. Forces of the field of bonds, angles and torsions on distorted molecules (0.03 Å, half of them with turned bonds), fitted to 24 and
   tested on 20 others, relative to the root mean square of the forces. Labels of GFN-FF.
4. With --xtb: alpha- and gamma-glycine at their experimental geometries with GFN1-xTB in CP2K.
"""

from __future__ import annotations

import argparse

import numpy as np
from ase import Atoms
from ase.optimize import LBFGS
from gfnff import GFNFF
from targets import TARGETS

from nucleate.crystals.batch import CrystalBatch
from nucleate.csp.molecular.alone import distorted
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.reading import read_molecule
from nucleate.molecules.topology import Topology
from nucleate.potentials.bonded import BondedPotential, fit_field
from nucleate.reference import make_reference
from nucleate.reference.base import Label
from nucleate.reference.settings import ReferenceSettings
from nucleate.reference.surrogates import pretrained_reference
from nucleate.units import KJ_PER_MOL


def images() -> None:
    """Print how energies of the package depend on the images of the molecules."""
    rng = np.random.default_rng(0)
    for target in TARGETS:
        topology = Topology((read_molecule(target.smiles),))
        atoms = topology.whole(topology.ordered(target.atoms(), target.name))
        fragments = topology.fragments(atoms.numbers)
        energy = plain(atoms, fragments)
        changes = []
        for _ in range(10):
            moved = atoms.copy()
            moved.positions += (rng.integers(-1, 2, size=(target.units, 3)) @ atoms.cell.array)[fragments]
            changes.append(plain(moved, fragments) - energy)
        doubled = plain(atoms.repeat((2, 1, 1)), np.concatenate([fragments, fragments + target.units])) / 2 - energy
        print(
            f"{target.name}: moved molecules {1000 * np.abs(changes).max() / target.units:.0f} meV a molecule, "
            f"doubled cell {1000 * doubled / target.units:+.1f}"
        )


def plain(atoms: Atoms, fragments: np.ndarray) -> float:
    """Return the energy of the package, eV."""
    copy = atoms.copy()
    copy.calc = GFNFF(version="mcgfnff2023", fragments=fragments + 1)
    return float(copy.get_potential_energy())


def dry_ice() -> None:
    """Print the energy of dry ice minus that of its molecules."""
    target = next(target for target in TARGETS if target.name == "dry ice")
    topology = Topology((read_molecule(target.smiles),))
    atoms = topology.whole(topology.ordered(target.atoms(), target.name))
    alone = atoms[:3]
    alone.set_cell([30] * 3)
    alone.center()
    for name in ("gfnff", "so3lr"):
        reference = pretrained_reference(name, topology)
        difference = reference.label(atoms).energy / target.units - reference.label(alone).energy
        print(f"dry ice, {name}: {difference / KJ_PER_MOL:.0f} kJ/mol")


def field() -> None:
    """Print errors of fitted fields on distorted molecules that were not fitted."""
    for text in ("NC(=O)N", "[NH3+]CC(=O)[O-]", "O=C=O", "c1ccccc1"):
        molecule = read_molecule(text)
        atoms = molecule.atoms
        atoms.calc = GFNFF()
        LBFGS(atoms, logfile=None).run(fmax=0.005, steps=500)
        molecule = Molecule.from_atoms(Atoms(atoms.numbers, positions=atoms.positions), text, molecule.bonds)
        rng = np.random.default_rng(0)
        fitted, _ = fit_field(molecule, *labelled(molecule, 24, rng), atoms.get_potential_energy())
        structures, labels = labelled(molecule, 20, rng)
        forces = np.concatenate([label.forces for label in labels])
        predicted = BondedPotential([fitted]).energy_forces_stress(CrystalBatch.from_atoms(structures)).forces[0].numpy()
        share = np.sqrt(np.mean((predicted - forces) ** 2) / np.mean(forces**2))
        print(f"{text}: error of the forces {100 * share:.1f} %")


def labelled(molecule: Molecule, count: int, rng: np.random.Generator) -> tuple[list[Atoms], list[Label]]:
    """Return distorted molecules in large cells with their labels."""
    structures, labels = [], []
    for shape in distorted(molecule, count, rng):
        atoms = Atoms(molecule.numbers, positions=shape)
        atoms.calc = GFNFF()
        labels.append(Label(atoms.get_potential_energy(), atoms.get_forces(), np.zeros(6)))
        structures.append(Atoms(atoms.numbers, positions=atoms.positions, cell=[20] * 3, pbc=True))
    return structures, labels


def xtb() -> None:
    """Print the energies of two forms of glycine with GFN1-xTB."""
    for spacing in (0.65, 0.45):
        reference = make_reference(ReferenceSettings(engine="cp2k", xc="GFN1-xTB", k_spacing=spacing))
        alpha, gamma = (next(target for target in TARGETS if target.name == name) for name in ("alpha-glycine", "gamma-glycine"))
        energies = [reference.label(target.atoms()).energy / target.units for target in (alpha, gamma)]
        print(f"GFN1-xTB, {spacing} 1/Å: alpha {energies[0]:.4f} eV a molecule, gamma - alpha {energies[1] - energies[0]:+.4f}")


def main() -> None:
    """Run the checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--xtb", action="store_true")
    options = parser.parse_args()
    images()
    dry_ice()
    field()
    if options.xtb:
        xtb()


if __name__ == "__main__":
    main()
