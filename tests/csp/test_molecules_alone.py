"""Isolated molecules on the reference: minima, and the field that is fitted to their distortions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from nucleate.csp.molecular.alone import distorted, fit_alone
from nucleate.csp.molecular.settings import MolecularSettings
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.topology import Topology
from nucleate.molecules.torsions import turn_about
from nucleate.progress import silent
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import Ledger
from nucleate.reference.surrogates import pretrained_reference

pytest.importorskip("gfnff")


def methanol(angle: float) -> Molecule:
    """Return methanol with an H-O-C-H torsion of `angle` degrees."""
    tetrahedral = np.radians(109.5)
    hydrogens = [[1.09 * np.sin(tetrahedral) * np.cos(a), 1.09 * np.sin(tetrahedral) * np.sin(a), 1.09 * np.cos(tetrahedral)]
                 for a in np.radians([0, 120, 240])]  # fmt: skip
    oxygen = [0.0, 0.0, 1.42]
    hydroxyl = [0.96 * np.sin(np.radians(72)), 0.0, 1.42 + 0.96 * np.cos(np.radians(72))]
    atoms = Atoms("COH4", positions=[[0, 0, 0], oxygen, hydroxyl, *hydrogens])
    eclipsed = Molecule.from_atoms(atoms, "methanol")
    turned = turn_about(eclipsed.positions, (0, 1, np.array([2])), np.radians(angle))
    return Molecule.from_atoms(Atoms(atoms.numbers, positions=turned), "methanol")


def torsion(molecule: Molecule) -> float:
    """Return the H-O-C-H torsion closest to zero, degrees."""
    angles = [Atoms(molecule.numbers, positions=molecule.positions).get_dihedral(2, 1, 0, h) for h in (3, 4, 5)]
    return min(min(angle, 360 - angle) for angle in angles)


@pytest.mark.parametrize("angle", [0.0, pytest.param(40.0, marks=pytest.mark.slow)])
def test_an_eclipsed_molecule_is_not_left_at_its_saddle_point(tmp_path: Path, angle: float) -> None:
    """The mirror plane of the eclipsed conformer is kept by a relaxation; the minimum is the staggered one."""
    molecule = methanol(angle)
    assert torsion(molecule) == pytest.approx(angle, abs=0.1)
    ledger = Ledger(tmp_path / "run.db")
    dispatcher = Dispatcher(pretrained_reference("gfnff", Topology((molecule,))), ledger, workers=0)
    made = fit_alone(molecule, MolecularSettings(), dispatcher, np.random.default_rng(0), silent)
    assert made.relaxed
    assert torsion(made.field.molecule) > 50.0


def test_half_of_the_distortions_are_other_conformers() -> None:
    """The bonds keep their lengths within the displacements, the torsions do not."""
    molecule = methanol(60.0)
    shapes = [Molecule(molecule.numbers, shape, molecule.bonds, "") for shape in distorted(molecule, 40, np.random.default_rng(1))]
    lengths = [np.linalg.norm(shape.positions[molecule.bonds[:, 0]] - shape.positions[molecule.bonds[:, 1]], axis=1) for shape in shapes]
    own = np.linalg.norm(molecule.positions[molecule.bonds[:, 0]] - molecule.positions[molecule.bonds[:, 1]], axis=1)
    assert np.abs(np.array(lengths) - own).max() < 0.25
    staggered = [torsion(shape) > 45.0 for shape in shapes]
    assert all(staggered[::2])
    assert not all(staggered[1::2])
