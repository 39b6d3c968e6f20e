"""Isolated molecules on the reference: relaxation, and the force field of bonds, angles and torsions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.csp.molecular.settings import MolecularSettings
from nucleate.errors import BudgetExhausted, NucleateError, ReferenceFailed
from nucleate.molecules.molecule import Molecule, bonds_of, same_pairs
from nucleate.potentials.bonded import MoleculeField, fit_field
from nucleate.progress import Note, Progress, Step
from nucleate.reference.base import Label
from nucleate.reference.dispatch import Dispatcher
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

PURPOSE = "molecule"
"""Purpose of the calculations of isolated molecules in the ledger."""
DISPLACEMENT = 0.05
"""Standard deviation of the displacements of the atoms in distorted geometries, Å."""
FMAX, STEPS = 0.02, 100
"""Threshold of the force on an atom (eV/Å) and number of steps of the relaxation of a molecule."""


@dataclass(frozen=True)
class Fitted:
    """An isolated molecule on the reference.

    Attributes:
        field: its force field, with the relaxed geometry.
        error: root mean square error of the force components of the distorted geometries, eV/Å.
        relaxed: whether the molecule was relaxed; otherwise its geometry is the one that was given.
    """

    field: MoleculeField
    error: float
    relaxed: bool


def boxed(molecule: Molecule, positions: np.ndarray, vacuum: float) -> Atoms:
    """Return a molecule in a cell whose edges exceed its extent by `vacuum` (Å)."""
    extent = np.ptp(molecule.positions, axis=0) + vacuum
    return Atoms(numbers=molecule.numbers, positions=positions + 0.5 * extent, cell=np.diag(extent), pbc=True)


def fit_alone(
    molecule: Molecule, settings: MolecularSettings, dispatcher: Dispatcher, rng: np.random.Generator, progress: Progress
) -> Fitted:
    """Relax a molecule alone on the reference, and fit its force field to labels of distorted geometries.

    Args:
        molecule: the molecule as given.
        settings: vacuum, number of distortions, and whether it is relaxed.
        dispatcher: runs the calculations, which are those of round 0.
        rng: random number generator of the distortions.
        progress: called with a `Note` if the molecule could not be relaxed, and with a `Step` for each part.

    Raises:
        NucleateError: the calculation of the molecule failed, or the budget ends before it is complete.
    """
    progress(Step(f"relaxing {molecule.formula} alone", 0, 1))
    try:
        return _fitted(molecule, settings, dispatcher, rng, progress)
    except BudgetExhausted as error:
        raise NucleateError(
            f"the budget of reference calls ends before the isolated molecule {molecule.formula} is calculated, which takes some "
            f"{2 * settings.distortions + 10} calls; resume with a larger --budget"
        ) from error


def _fitted(
    molecule: Molecule, settings: MolecularSettings, dispatcher: Dispatcher, rng: np.random.Generator, progress: Progress
) -> Fitted:
    """Return the molecule relaxed alone, with its force field; see `fit_alone`."""
    relaxed, moved = _relaxed(molecule, settings, dispatcher) if settings.relax else (molecule, False)
    if settings.relax and not moved:
        progress(Note(f"{molecule.formula}: the isolated molecule does not keep its bonds on the reference; the given geometry is used"))
    (answer,) = dispatcher.label_many([boxed(relaxed, relaxed.positions, settings.vacuum)], PURPOSE, 0)
    if isinstance(answer, ReferenceFailed):
        raise NucleateError(f"the calculation of the isolated molecule {molecule.formula} failed; fix the cause, then resume: {answer}")
    shapes = [relaxed.positions + rng.normal(scale=DISPLACEMENT, size=relaxed.positions.shape) for _ in range(settings.distortions)]
    structures = [boxed(relaxed, shape, settings.vacuum) for shape in shapes]
    answers = dispatcher.label_many(structures, PURPOSE, 0)
    pairs = [(atoms, answer) for atoms, answer in zip(structures, answers, strict=True) if isinstance(answer, Label)]
    if len(pairs) < settings.distortions // 2:
        raise NucleateError(
            f"{len(structures) - len(pairs)} of {len(structures)} calculations of distorted {molecule.formula} failed; fix the cause"
        )
    field, error = fit_field(relaxed, [atoms for atoms, _ in pairs], [label for _, label in pairs], answer.energy)
    return Fitted(field, error, moved)


def _relaxed(molecule: Molecule, settings: MolecularSettings, dispatcher: Dispatcher) -> tuple[Molecule, bool]:
    """Return a molecule relaxed on the reference, or the given one if its bonds change or a calculation fails, and which of them it is."""
    start = boxed(molecule, molecule.positions, settings.vacuum)
    own = RelaxSettings(fmax=FMAX, max_steps=STEPS, variable_cell=False)
    try:
        (end,) = relax([start], ReferencePotential(dispatcher, PURPOSE, 0), own)
    except ReferenceFailed:
        return molecule, False
    atoms = Atoms(numbers=molecule.numbers, positions=end.atoms.positions)
    if not end.usable or not same_pairs(bonds_of(atoms), molecule.bonds):
        return molecule, False
    return Molecule.from_atoms(atoms, molecule.name, molecule.bonds), True


def warnings_on(molecules: Sequence[Molecule], names: Sequence[str]) -> list[str]:
    """Return what is known to be wrong for some molecules with force fields and pretrained potentials.

    Lattice energies of the crystals of X23 (A. M. Reilly and A. Tkatchenko, J. Chem. Phys. 139, 024705 (2013), doi 10.1063/1.4812819).

    Args:
        molecules: the molecules.
        names: canonical names of the reference and the teacher.
    """
    texts = []
    formulas = {molecule.formula for molecule in molecules}
    if "so3lr" in names and "CO2" in formulas:
        texts.append("SO3LR: molecules of CO2 repel one another by some 400 kJ/mol; do not use it for this molecule")
    if "gfnff" in names:
        texts.append(
            "mcGFN-FF: its lattice energies are off by 7 kJ/mol on average, more than most polymorphs differ; use it as a teacher or to "
            "count calls, not to rank"
        )
        if "C3H4N2" in formulas:
            texts.append("mcGFN-FF: the lattice energy of pyrazole is wrong by 180 kJ/mol, because its bonds are not recognised")
    return texts
