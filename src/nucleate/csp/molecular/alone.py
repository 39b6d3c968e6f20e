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
from nucleate.molecules.torsions import rotatable_bonds, turn_about, turn_bonds
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

DISPLACEMENT = 0.03
"""Standard deviation of the displacements of the atoms in distorted geometries, Å; bonds and angles in crystals change by less."""
NUDGE, LOWER = np.radians(15.0), 0.005
"""Angle (radians) by which single bonds are turned to see whether the relaxed molecule is at a saddle point, and the energy (eV) by which
the minimum behind it is lower. Geometries from distance geometry often have a mirror plane, in which they relax to eclipsed conformers."""
SUFFICIENT = 1000.0
"""Plane-wave cutoff for stresses of molecular crystals with GPAW, eV."""
FMAX, STEPS = 0.05, 100
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


def boxed(molecule: Molecule, shapes: Sequence[np.ndarray], edges: np.ndarray) -> list[Atoms]:
    """Return geometries of a molecule in the middle of one cell.

    Energies are compared in the same cell only, because periodic images shift the energy of a polar molecule by up to 0.1 eV.

    Args:
        molecule: the molecule.
        shapes: (n, 3) positions of each geometry, Å.
        edges: (3,) edges of the cell, Å.
    """
    middles = [0.5 * (shape.max(axis=0) + shape.min(axis=0)) for shape in shapes]
    return [
        Atoms(numbers=molecule.numbers, positions=shape - middle + 0.5 * edges, cell=np.diag(edges), pbc=True)
        for shape, middle in zip(shapes, middles, strict=True)
    ]


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
    around = np.ptp(molecule.positions, axis=0) + settings.vacuum
    end = _minimised(molecule, around, dispatcher) if settings.relax else None
    relaxed, moved = (molecule, False) if end is None else (end[0], True)
    if settings.relax and not moved:
        progress(Note(f"{molecule.formula}: the isolated molecule does not keep its bonds on the reference; the given geometry is used"))
    shapes = [relaxed.positions, *distorted(relaxed, settings.distortions, rng)]
    edges = np.max([np.ptp(shape, axis=0) for shape in shapes], axis=0) + settings.vacuum
    own, *structures = boxed(relaxed, shapes, edges)
    (answer,) = dispatcher.label_many([own], MOLECULE, 0)
    if isinstance(answer, ReferenceFailed):
        raise NucleateError(f"the calculation of the isolated molecule {molecule.formula} failed; fix the cause, then resume: {answer}")
    answers = dispatcher.label_many(structures, MOLECULE, 0)
    pairs = [(atoms, answer) for atoms, answer in zip(structures, answers, strict=True) if isinstance(answer, Label)]
    if len(pairs) < settings.distortions // 2:
        raise NucleateError(
            f"{len(structures) - len(pairs)} of {len(structures)} calculations of distorted {molecule.formula} failed; fix the cause"
        )
    kept, labels = [atoms for atoms, _ in pairs], [label for _, label in pairs]
    field, error = fit_field(relaxed, kept, labels, answer.energy)
    lower = _past_saddles(field, edges, dispatcher) if moved else None
    if lower is not None and lower[1] < answer.energy:
        field, error = fit_field(lower[0], kept, labels, lower[1])
    return Fitted(field, error, moved)


def distorted(molecule: Molecule, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the (n, 3) positions of distorted geometries, Å; half of them are other conformers."""
    shapes = [turn_bonds(molecule, rng) if k % 2 else molecule.positions for k in range(count)]
    return [shape + rng.normal(scale=DISPLACEMENT, size=shape.shape) for shape in shapes]


def _past_saddles(field: MoleculeField, edges: np.ndarray, dispatcher: Dispatcher) -> tuple[Molecule, float] | None:
    """Return the lower minimum behind a small turn of single bonds, relaxed on the reference, and its energy in eV; None: there is none.

    The field decides, so that a molecule at a minimum costs no call.
    """
    molecule = field.molecule
    starts = [molecule.positions, *(turn_about(molecule.positions, bond, NUDGE) for bond in rotatable_bonds(molecule))]
    ends = relax(boxed(molecule, starts, edges), BondedPotential([field]), RelaxSettings(max_steps=STEPS, variable_cell=False))
    energies = [end.energy if end.usable else np.inf for end in ends]
    lowest = int(np.argmin(energies))
    if not ends[lowest].usable or energies[lowest] > energies[0] - LOWER:
        return None
    return _minimised(_with_positions(molecule, ends[lowest].atoms.positions), edges, dispatcher)


def _minimised(molecule: Molecule, edges: np.ndarray, dispatcher: Dispatcher) -> tuple[Molecule, float] | None:
    """Return a molecule relaxed on the reference and its energy in eV; None if its bonds change or a calculation fails."""
    own = RelaxSettings(fmax=FMAX, max_steps=STEPS, variable_cell=False)
    try:
        (end,) = relax(boxed(molecule, [molecule.positions], edges), ReferencePotential(dispatcher, MOLECULE, 0), own)
    except ReferenceFailed:
        return None
    if not end.usable or not same_pairs(bonds_of(Atoms(molecule.numbers, positions=end.atoms.positions)), molecule.bonds):
        return None
    return _with_positions(molecule, end.atoms.positions), end.energy


def _with_positions(molecule: Molecule, positions: np.ndarray) -> Molecule:
    return Molecule.from_atoms(Atoms(molecule.numbers, positions=positions), molecule.name, molecule.bonds)


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
