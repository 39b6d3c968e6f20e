"""Isolated molecules on the reference: relaxation, and the force field of bonds, angles and torsions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.csp.events import MoleculeFitted
from nucleate.csp.molecular.settings import MolecularSettings
from nucleate.csp.run_settings import RunSettings
from nucleate.errors import BudgetExhausted, NucleateError, ReferenceFailed
from nucleate.molecules.molecule import Molecule, bonds_of, same_pairs
from nucleate.potentials.bonded import BondedPotential, MoleculeField, fit_field
from nucleate.progress import Note, Progress, Step
from nucleate.reference.base import Label
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.engine_inputs import GFN1
from nucleate.reference.ledger import MOLECULE
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

DISPLACEMENT = 0.05
"""Standard deviation of the displacements of the atoms in distorted geometries, Å."""
SUFFICIENT = 1000.0
"""Plane-wave cutoff for stresses of molecular crystals with GPAW, eV."""
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
    (answer,) = dispatcher.label_many([boxed(relaxed, relaxed.positions, settings.vacuum)], MOLECULE, 0)
    if isinstance(answer, ReferenceFailed):
        raise NucleateError(f"the calculation of the isolated molecule {molecule.formula} failed; fix the cause, then resume: {answer}")
    shapes = [relaxed.positions + rng.normal(scale=DISPLACEMENT, size=relaxed.positions.shape) for _ in range(settings.distortions)]
    structures = [boxed(relaxed, shape, settings.vacuum) for shape in shapes]
    answers = dispatcher.label_many(structures, MOLECULE, 0)
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
        (end,) = relax([start], ReferencePotential(dispatcher, MOLECULE, 0), own)
    except ReferenceFailed:
        return molecule, False
    atoms = Atoms(numbers=molecule.numbers, positions=end.atoms.positions)
    if not end.usable or not same_pairs(bonds_of(atoms), molecule.bonds):
        return molecule, False
    return Molecule.from_atoms(atoms, molecule.name, molecule.bonds), True


def fit_molecules(
    settings: RunSettings, dispatcher: Dispatcher, rng: Callable[[int], np.random.Generator], progress: Progress
) -> tuple[BondedPotential, list[MoleculeFitted]]:
    """Relax all molecules of a search alone on the reference, and fit their force field.

    Args:
        settings: settings of the search.
        dispatcher: runs the calculations, which are those of round 0.
        rng: returns the random number generator of the distortions of each molecule, by its number.
        progress: called with a `Note` for what is known to be wrong with the reference or teacher, and as by `fit_alone`.

    Returns:
        The force field, and an event for each molecule.

    Raises:
        NucleateError: the calculation of a molecule failed, or the budget ends before it is complete.
    """
    topology = settings.molecules.topology
    assert topology is not None
    for text in warnings_on(topology.molecules, settings.reference, settings.teacher.name):
        progress(Note(text))
    fields, events = [], []
    for k, molecule in enumerate(topology.molecules):
        made = fit_alone(molecule, settings.molecules, dispatcher, rng(k), progress)
        events.append(MoleculeFitted(molecule.formula, made.field.energy, made.relaxed, made.error, dispatcher.calls()))
        fields.append(made.field)
    return BondedPotential(fields), events


def warnings_on(molecules: Sequence[Molecule], reference: ReferenceSettings, teacher: str | None) -> list[str]:
    """Return what is known to be wrong for molecular crystals with a reference and a teacher.

    Lattice energies of the crystals of X23 (A. M. Reilly and A. Tkatchenko, J. Chem. Phys. 139, 024705 (2013), doi 10.1063/1.4812819).

    Args:
        molecules: the molecules.
        reference: settings of the reference.
        teacher: name of the teacher, or None.
    """
    texts = []
    names, formulas = (reference.engine, teacher), {molecule.formula for molecule in molecules}
    semilocal = reference.xc != GFN1 and not any(word in reference.xc.lower() for word in ("vdw", "vv10", "df", "d3", "d4"))
    if reference.engine in ("gpaw", "espresso", "vasp", "cp2k") and reference.dispersion is None and semilocal:
        texts.append(f'{reference.xc} without a dispersion correction hardly binds molecules; set reference.dispersion = "d3bj"')
    if reference.engine == "gpaw" and (reference.cutoff or 0) < SUFFICIENT:
        texts.append(f"GPAW: stresses of molecular crystals need a cutoff of some {SUFFICIENT:g} eV; set reference.cutoff")
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
