"""Relaxation of the structures of a file on the reference, without a potential."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms
from pydantic import ValidationError

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.checks import refuse_constraints
from nucleate.crystals.formats import format_of
from nucleate.crystals.formula import formula_text
from nucleate.crystals.io import read_structures
from nucleate.crystals.neighbours import Edges
from nucleate.errors import BadInput, InputNote, ReferenceFailed, quoted
from nucleate.fingerprints.matching import space_group
from nucleate.potentials.base import Prediction
from nucleate.pretrained import check_elements
from nucleate.processes.limits import available_cores
from nucleate.progress import Event, Progress, silent
from nucleate.reference.base import Reference, has_moments
from nucleate.reference.build import make_reference
from nucleate.reference.cluster.given import GivenExecutor, blocks_in, check_place, read_executor
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import ledger_file
from nucleate.reference.settings import ReferenceSettings
from nucleate.reference.shared.opened import owner_of, shared_ledger
from nucleate.relax.batched import Relaxed, make_optimiser, relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

WRITTEN = {".cif": "cif", ".extxyz": "extxyz", ".xyz": "extxyz", ".vasp": "vasp", ".poscar": "vasp"}
"""Format of each suffix; the suffix takes precedence over names such as POSCAR."""


@dataclass(frozen=True)
class RelaxedStructure:
    """Result for one structure of `relax_file`.

    Attributes:
        number: position in the file, starting at 1.
        formula: formula with the number of atoms of the cell.
        space_group: international symbol after relaxation.
        energy: enthalpy, eV/atom; None if the reference failed.
        fmax: largest force on an atom, eV/Å; None if the reference failed.
        volume: volume, Å³/atom; None for layers and clusters, whose cells contain vacuum.
        steps: number of steps taken.
        stop: stop reason (`converged`, `out of steps`, ...), or the reference's error message.
    """

    number: int
    formula: str
    space_group: str
    energy: float | None
    fmax: float | None
    volume: float | None
    steps: int
    stop: str


@dataclass(frozen=True)
class RelaxationStep(Event):
    """A structure of a file was evaluated on the reference.

    Attributes:
        calls: Number of reference calls in the ledger.
        fmax: Largest force on an atom in eV/Å.
    """

    calls: int
    fmax: float


@dataclass(frozen=True)
class RelaxedFile:
    """Result of `relax_file`.

    Attributes:
        structures: results in the order of the file.
        out: file of the structures that did not fail, explode or collapse; None if there are none.
        calls: number of reference calls.
        reference: name of the reference.
        surrogate: whether the reference is a surrogate.
        pressure: external pressure, GPa.
    """

    structures: list[RelaxedStructure]
    out: Path | None
    calls: int
    reference: str
    surrogate: bool
    pressure: float = 0.0


def relax_on_reference(
    path: Path,
    out: Path | None,
    settings: ReferenceSettings,
    limits: dict[str, Any],
    pressure: float = 0.0,
    reference: Reference | None = None,
    ledger: Path | None = None,
    executor: GivenExecutor = None,
    progress: Progress = silent,
) -> RelaxedFile:
    """Relax all structures of a file; see `nucleate.api.relax_file`.

    Args:
        path: structure file.
        out: output file, which is replaced; None adds "-relaxed" to the name, and no file of that name is replaced.
        settings: settings of the reference.
        limits: `fmax`, `smax`, `max_steps`, `keep_symmetry`, and the optimiser with its settings, of `RelaxSettings`.
        pressure: external pressure, GPa.
        reference: a reference in place of the one that the settings describe.
        ledger: ledger file; None uses a temporary one.
        executor: executor of the calculations, or its file, in place of local processes; a file needs `ledger`, beside which blocks lie.
        progress: called with a `RelaxationStep` after each evaluation.

    Raises:
        BadInput: the file or a setting is invalid, or the output cannot be written.
    """
    target = out if out is not None else _relaxed_name(path)
    frames = read_structures(path, open_directions=True)
    for number, atoms in enumerate(frames, start=1):
        refuse_constraints(atoms, f"{path}, structure {number}")
        if limits.get("keep_symmetry") and has_moments(atoms):
            raise BadInput(f"{path}, structure {number}: has starting moments, whose symmetry is not kept; remove --keep-symmetry")
        if pressure and not atoms.pbc.all():
            raise BadInput(f"{path}, structure {number}: pressure {pressure:g}: layers and clusters in vacuum have no pressure; remove it")
    _check_format(target, len(frames))
    if target.resolve() == path.resolve():
        raise BadInput(f"{path}: the input file would be overwritten; choose another --out")
    if out is None and target.exists():
        raise BadInput(f"{target}: exists already; name an output with --out, which may be this file, or delete it")
    try:
        steps = RelaxSettings.model_validate({**limits, "patience": limits["max_steps"] + 1, "pressure": pressure})
    except ValidationError as error:
        problem = error.errors()[0]
        raise BadInput(f"{problem['loc'][0]}: {quoted(problem['msg'])} (got {quoted(problem['input'])})") from None
    # A policy file that cannot be read is refused before calculations start.
    make_optimiser(steps)
    if read_executor(executor) is not None and ledger is None:
        raise BadInput(f"{executor}: blocks need a ledger, which keeps their results; name one with --ledger FILE")
    check_place(executor, target.parent if ledger is None else ledger.parent)
    if settings.engine == "gpaw" and settings.continuation is None:
        # The steps of a relaxation hardly differ.
        settings = settings.model_copy(update={"continuation": True})
    given = reference or make_reference(settings)
    check_elements(given.name, {int(z) for atoms in frames for z in atoms.numbers})
    if given.surrogate and any(has_moments(atoms) for atoms in frames):
        warnings.warn(InputNote(f"{path}: starting moments are ignored, because {given.name} does not use them"), stacklevel=2)
    workers = settings.workers
    if workers is None:
        workers = 0 if given.surrogate else min(available_cores(), len(frames))
    with tempfile.TemporaryDirectory() as scratch, ledger_file(ledger if ledger is not None else Path(scratch) / "ledger.db") as record:
        before = record.count()
        place = Path(scratch) if ledger is None else ledger.parent
        with (
            shared_ledger(settings, None if ledger is None else owner_of(ledger)) as shared,
            blocks_in(place, executor, settings.engine, record.collect) as running,
            Dispatcher(given, record, workers, running, settings.timeout, shared=shared) as dispatcher,
        ):
            ends = _relax_each(frames, lambda: _ReportingPotential(dispatcher, progress), steps)
        calls = record.count() - before
    structures = [_relaxed(k + 1, frames[k], end) for k, end in enumerate(ends)]
    written = [_with_energy(end, given.name) for end in ends if isinstance(end, Relaxed) and end.usable]
    if written:
        _write_frames(target, written)
    return RelaxedFile(structures, target if written else None, calls, given.name, given.surrogate, pressure)


class _ReportingPotential(ReferencePotential):
    """Reference potential that reports every step as an event."""

    def __init__(self, dispatcher: Dispatcher, progress: Progress):
        super().__init__(dispatcher, "relax", 0)
        self.progress = progress

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: None = None, mean_forces: bool = False
    ) -> Prediction:
        """Label all structures of a batch and report the step; see `ReferencePotential`."""
        prediction = super().energy_forces_stress(batch, edges)
        self.progress(RelaxationStep(self.dispatcher.ledger.count(), float(prediction.forces.norm(dim=-1).max())))
        return prediction


def _relax_each(frames: list[Atoms], surface: Callable[[], ReferencePotential], settings: RelaxSettings) -> list[Relaxed | ReferenceFailed]:
    """Relax the structures together; if one fails, relax each one separately."""
    try:
        return list(relax(frames, surface(), settings))
    except ReferenceFailed as failure:
        if len(frames) == 1:
            return [failure]
    # One structure failed. The others are relaxed one by one; calculations that are done are taken from the ledger.
    return [end for atoms in frames for end in _relax_each([atoms], surface, settings)]


def _relaxed(number: int, atoms: Atoms, end: Relaxed | ReferenceFailed) -> RelaxedStructure:
    """Return the result of one structure."""
    formula = formula_text(dict(Counter(atoms.get_chemical_symbols())))
    if isinstance(end, ReferenceFailed):
        volume = _volume(atoms)
        return RelaxedStructure(number, formula, space_group(atoms)[0], None, None, volume, 0, str(end))
    volume = _volume(end.atoms)
    symbol = space_group(end.atoms)[0]
    stop = f"{end.stop}: {end.guard}" if end.guard else end.stop
    return RelaxedStructure(number, formula, symbol, end.energy_per_atom, end.fmax, volume, end.steps, stop)


def _volume(atoms: Atoms) -> float | None:
    return float(atoms.get_volume() / len(atoms)) if atoms.pbc.all() else None


def _with_energy(end: Relaxed, reference: str) -> Atoms:
    """Return the relaxed structure with its enthalpy and stop reason in `info`."""
    atoms: Atoms = end.atoms.copy()
    atoms.info.update(enthalpy_per_atom=end.energy_per_atom, stop=end.stop, reference=reference)
    return atoms


def _relaxed_name(path: Path) -> Path:
    """Return the default path of the output."""
    suffix = path.suffix if path.suffix.lower() in WRITTEN else ".extxyz"
    return path.with_name(f"{path.stem if path.suffix else path.name}-relaxed{suffix}")


def _check_format(path: Path, count: int) -> None:
    """Check that the output can be written, before calculations start."""
    kind = WRITTEN.get(path.suffix.lower()) or format_of(path)
    if kind not in WRITTEN.values():
        raise BadInput(f"{path}: unknown output format; choose a name that ends in .cif, .extxyz or .vasp")
    if count > 1 and kind != "extxyz":
        raise BadInput(f"{path}: this format holds one structure, but there are {count}; choose a name that ends in .extxyz")
    if not path.resolve().parent.is_dir():
        raise BadInput(f"{path}: the folder does not exist; create it or choose another --out")


def _write_frames(path: Path, frames: list[Atoms]) -> None:
    """Write structures in the format of the file name."""
    kind = WRITTEN.get(path.suffix.lower()) or format_of(path)
    try:
        ase.io.write(path, frames[0] if len(frames) == 1 else frames, format=kind)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be written: {error}") from error
