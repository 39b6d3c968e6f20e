"""Check whether polymorphs would survive: relaxation, phonons, elastic constants and free energies on a committee or the reference.

from nucleate.polymorphs.check import check

result = check("Si8")
for polymorph in result.polymorphs:
    print(polymorph.prepared.name, polymorph.verdict)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.csp.result_files import cif_text
from nucleate.errors import BadInput, NucleateError, ReferenceFailed
from nucleate.persist.files import write_whole
from nucleate.polymorphs.stability.cost import Estimate, cells_of, estimate, longer_matrix, matrix_of, typical
from nucleate.polymorphs.stability.elastic import ElasticConstants, Strains
from nucleate.polymorphs.stability.free_energy import FreeEnergy, Transition, transitions
from nucleate.polymorphs.stability.inputs import Inputs, make_check_reference, read_committee, read_inputs
from nucleate.polymorphs.stability.leads import NewLead, follow
from nucleate.polymorphs.stability.modes import ImaginaryMode, imaginary_modes
from nucleate.polymorphs.stability.phonons import Displacements, Frequencies, Phonons, density_of_states, require_phonopy
from nucleate.polymorphs.stability.prepared import Prepared, Unusable, prepare
from nucleate.polymorphs.stability.refinement import Refined, Refinement, cells_to_label, refuse_training
from nucleate.polymorphs.stability.results import CheckedPolymorph, CheckResult, PhononResult
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.spots import spot_checks
from nucleate.polymorphs.stability.supercells import composition, primitive_cell
from nucleate.polymorphs.stability.surface import CommitteeForces, ReferenceForces, Surface
from nucleate.polymorphs.stability.thermal import harmonic, quasi_harmonic
from nucleate.processes.interrupts import check as check_interrupt
from nucleate.processes.interrupts import listening
from nucleate.processes.limits import available_cores
from nucleate.progress import Event, Note, Progress, Stage, silent
from nucleate.reference.base import Label, Reference
from nucleate.reference.cluster.given import GivenExecutor, blocks_in, check_place, read_executor
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import Ledger, ledger_file
from nucleate.reference.settings import ReferenceSettings
from nucleate.reference.shared.base import Shared
from nucleate.reference.shared.opened import owner_of, shared_ledger

AnyPath = str | PathLike[str]


def check(
    path: AnyPath,
    settings: CheckSettings | None = None,
    *,
    model: AnyPath | None = None,
    reference: str | Reference | None = None,
    preset: str | None = None,
    reference_settings: AnyPath | dict[str, Any] | None = None,
    top: int | None = None,
    pressure: float | None = None,
    workers: int | None = None,
    out: AnyPath | None = None,
    executor: GivenExecutor = None,
    ledger: AnyPath | None = None,
    approve: Callable[[Estimate], bool] = lambda cost: True,
    progress: Progress = silent,
) -> CheckResult:
    """Check the lowest polymorphs of a run folder, or the structures of a file.

    The surface is a committee if there is one: that of `model`, or the last one of the run folder. The reference then labels a few
    displaced structures, from which the error of the forces follows. If `reference` is given without `model`, everything is calculated on
    it, and its calls are kept in a ledger in the output folder, so that an interrupted check repeats none. With `settings.train`, the
    committee is first trained further on labels near the minima, and the trained model is written to the output folder.

    Args:
        path: run folder or structure file.
        settings: what is calculated, and how accurately; None: defaults.
        model: model file of a committee.
        reference: engine, or a reference itself.
        preset: preset of the engine.
        reference_settings: TOML file or dictionary with a table [reference].
        top: number of polymorphs of a run folder (default 3), or of structures of a file (default all).
        pressure: external pressure of structures of a file, GPa.
        workers: number of simultaneous reference calculations.
        out: folder of check.json and the new leads; None: `check` in the run folder, or one beside the file.
        executor: executor of reference calculations, or its file, in place of local processes; blocks are recorded in `out`.
        ledger: ledger that other calculations share, see docs/shared-ledger.md; None: that of the settings, or none if
            `reference` is an object.
        approve: called with the cost of a check on a reference that is no surrogate, or of the labels of `settings.train` on one, before it
            starts; False ends the check.
        progress: called with a `Stage`, a `Step` or a `Note` as the check advances.

    Returns:
        The result; check.json, the CIF files of new leads and a trained model are in its folder.

    Raises:
        BadInput: an option or file is invalid.
        MissingDependency: phonopy or a package of the reference is not installed.
        NucleateError: the reference failed, or the check is not approved.
        KeyboardInterrupt: the check was interrupted; with the same command it resumes from the ledger.
    """
    require_phonopy()
    settings = settings or CheckSettings()
    inputs = read_inputs(Path(path), top, pressure)
    named = any(option is not None for option in (reference, preset, reference_settings))
    committee = None if named and model is None else read_committee(inputs, None if model is None else Path(model))
    labels = settings.spots > 0 or settings.train > 0
    if committee is not None and not labels and (named or workers is not None):
        raise BadInput("a reference has no effect on the check of a committee with --spots 0; leave one of them out")
    source = reference_settings if isinstance(reference_settings, dict | None) else Path(reference_settings)
    wanted = committee is None or labels
    made = make_check_reference(inputs, reference, preset, source, workers, ledger) if wanted else None
    if committee is None and made is None:
        raise BadInput(f"{path}: name the surface on which the structures are checked, with --model FILE or --reference ENGINE")
    if committee is None and settings.spots and "spots" in settings.model_fields_set:
        raise BadInput("--spots has no effect on a check on the reference itself; remove it, or give --model")
    if made is None and settings.spots and "spots" in settings.model_fields_set:
        raise BadInput("--spots needs a reference that labels the structures; name it with --reference")
    if settings.train:
        if committee is None:
            raise BadInput("--train has no committee to train: give a run folder without --reference, or a model file with --model")
        if made is None:
            raise BadInput("--train needs the reference on which the model was trained; name it with --reference")
        refuse_training(inputs, Path(committee[1]), made[0])
    folder = inputs.default_out if out is None else Path(out)
    if executor is not None and made is None:
        raise BadInput("an executor has no effect on the check of a committee without a reference; remove it")
    if ledger is not None and made is None:
        raise BadInput("a shared ledger has no effect on the check of a committee without a reference; remove it")
    read_executor(executor)
    check_place(executor, folder)
    _make_folder(folder, inputs)

    def watched(event: Event, /) -> None:
        # An interrupt that a package swallowed is raised here, at the next event.
        check_interrupt()
        progress(event)

    with listening(), ExitStack() as stack:
        own, exact = None, None
        if made is not None:
            own = stack.enter_context(ledger_file(folder / "ledger.db"))
            shared = stack.enter_context(shared_ledger(made[1], owner_of(folder / "ledger.db")))
            running = stack.enter_context(blocks_in(folder, executor, made[1].engine, own.collect))
            dispatcher = stack.enter_context(_dispatcher(*made, own, running, shared))
            # Calculations that failed are repeated, since their cause may have been removed.
            dispatcher.forget_failures()
            exact = ReferenceForces(dispatcher)
        if committee is None:
            assert exact is not None
            assert own is not None
            cells = [size for subject in inputs.subjects for size in cells_of(subject.atoms, settings)]
            if not exact.surrogate and not approve(_estimate(inputs, cells, exact, own, follows=True)):
                raise NucleateError("stopped before the check: its cost is not approved")
            result = _Check(inputs, settings, exact, None, folder, watched).run()
        else:
            refinement = None
            if settings.train:
                assert exact is not None
                assert own is not None
                cells = [size for subject in inputs.subjects for size in cells_to_label(subject.atoms, settings)]
                if not exact.surrogate and not approve(_estimate(inputs, cells, exact, own, follows=False)):
                    raise NucleateError("stopped before the check: the cost of its labels is not approved")
                refinement = Refinement(inputs, Path(committee[1]), settings, exact, folder, watched)
            result = _Check(inputs, settings, CommitteeForces(*committee), exact, folder, watched, refinement).run()
        result.calls = 0 if own is None else own.count()
    write_whole(folder / "check.json", json.dumps(result.as_dict(), ensure_ascii=False))
    return result


def _make_folder(folder: Path, inputs: Inputs) -> None:
    """Create the output folder."""
    if folder.resolve() == inputs.path.resolve():
        raise BadInput(f"{folder}: is the run folder itself; choose another --out, such as {folder / 'check'}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be created: {error.strerror}; choose another --out") from error


def _dispatcher(
    reference: Reference, settings: ReferenceSettings, ledger: Ledger, executor: Executor | None, shared: Shared | None
) -> Dispatcher:
    workers = settings.workers
    if workers is None:
        workers = 0 if reference.surrogate else available_cores()
    return Dispatcher(reference, ledger, workers, executor, settings.timeout, shared=shared)


def _estimate(inputs: Inputs, cells: list[int], surface: ReferenceForces, ledger: Ledger, follows: bool) -> Estimate:
    """Return the cost of calculations with these numbers of atoms by the core time of known calls, or of a first one."""
    same = inputs.run is not None and inputs.run.reference == surface.name
    known = typical(inputs.run.rows) if inputs.run is not None and same else typical(ledger.rows())
    if known is None:
        first = primitive_cell(inputs.subjects[0].atoms)
        (label,) = surface.dispatcher.label_many([first], "first call", 0)
        if not isinstance(label, Label):
            raise label
        known = (float(len(first)), label.core_seconds)
    return estimate(cells, *known, follows)


@dataclass
class _Check:
    """One check: all structures advance together, so that each step is one evaluation of the surface."""

    inputs: Inputs
    settings: CheckSettings
    surface: Surface
    exact: Surface | None
    folder: Path
    progress: Progress
    refinement: Refinement | None = None

    def run(self) -> CheckResult:
        """Calculate everything."""
        self.progress(Stage("relaxing on the surface of the check"))
        ends = prepare(self.inputs.subjects, self.surface, self.settings, self.inputs.pressure, self.progress)
        refined: Refined | None = None
        if self.refinement is not None and any(isinstance(end, Prepared) for end in ends):
            refined = self.refinement.run(ends)
            self.surface, ends = refined.surface, refined.ends
        ready = [end for end in ends if isinstance(end, Prepared)]
        unusable = [end for end in ends if isinstance(end, Unusable)]
        if not ready:
            raise NucleateError(f"no structure could be relaxed: {unusable[0].name}: {unusable[0].reason}")
        polymorphs = [CheckedPolymorph(each) for each in ready]
        if self.exact is not None and self.settings.spots:
            self.progress(Stage("spot checks on the reference"))
            self._spots(polymorphs)
        if self.settings.phonons:
            self.progress(Stage("phonons"))
            self._phonons(polymorphs)
        if self.settings.elastic:
            self.progress(Stage("elastic constants"))
            self._elastic(polymorphs)
        spots = self.exact if any(each.spot for each in polymorphs) else None
        run = self.inputs.run
        trainer = None if self.refinement is None else self.exact
        surrogates = [surface.name for surface in (self.surface, spots, trainer) if surface is not None and surface.surrogate]
        if run is not None and run.surrogate and not self.surface.exact:
            surrogates.append(run.reference)
        return CheckResult(
            self.inputs.path, self.folder, self.surface.name, surrogates[0] if surrogates else None, None if spots is None else spots.name,
            len(ready[0].energy), self.inputs.pressure, self.settings, polymorphs, unusable, self._transitions(polymorphs), 0,
            None if refined is None else refined.labels,
        )  # fmt: skip

    def _spots(self, polymorphs: list[CheckedPolymorph]) -> None:
        assert self.exact is not None
        try:
            found = spot_checks([each.prepared for each in polymorphs], self.surface, self.exact, self.settings.spots, self.progress)
        except ReferenceFailed as failure:
            self.progress(Note(f"no spot checks: {failure.reason}"))
            return
        for polymorph, spot in zip(polymorphs, found, strict=True):
            polymorph.spot = spot

    def _force_constants(self, cells: list[Atoms], matrices: list[np.ndarray], purpose: str) -> list[tuple[Phonons, int, int]]:
        """Return phonons, atoms of the supercell and number of displacements of each crystal."""
        sets = [Displacements(cell, matrix, self.settings.displacement) for cell, matrix in zip(cells, matrices, strict=True)]
        lists = [each.structures for each in sets]
        # Forces are differences to those of the perfect cell, and both need the same k-points.
        like = [own[0] for own in lists for _ in own]
        evaluated = self.surface.evaluate([atoms for own in lists for atoms in own], purpose, self.progress, like)
        parts = evaluated.split([len(own) for own in lists])
        return [(each.phonons(part), len(own[0]), len(own) - 1) for each, part, own in zip(sets, parts, lists, strict=True)]

    def _phonons(self, polymorphs: list[CheckedPolymorph]) -> None:
        """Calculate phonons and free energies, and follow imaginary modes."""
        settings = self.settings
        cells = [each.prepared.atoms for each in polymorphs]
        found = self._force_constants(cells, [matrix_of(cell, settings) for cell in cells], "displaced supercells")
        longer = None
        if settings.converge:
            longer = self._force_constants(cells, [longer_matrix(cell, settings) for cell in cells], "longer supercells")
        phonons = [each[0] for each in found]
        modes = {k: imaginary_modes(each) for k, each in enumerate(phonons)}
        for k, (polymorph, (own, atoms, count)) in enumerate(zip(polymorphs, found, strict=True)):
            mesh = own.mesh()
            polymorph.phonons = _result(own, mesh, atoms, count, modes[k], None if longer is None else longer[k][0])
            polymorph.harmonic = harmonic(polymorph.prepared, mesh, bool(modes[k]), settings)
        if settings.quasi_harmonic:
            self.progress(Stage("quasi-harmonic free energies"))
            curves = quasi_harmonic(
                [each.prepared for each in polymorphs], phonons, self.surface, settings, self.inputs.pressure, self.progress
            )
            for polymorph, curve in zip(polymorphs, curves, strict=True):
                polymorph.quasi_harmonic = curve
        imaginary = {k: own for k, own in modes.items() if own}
        leads: list[NewLead] = []
        if imaginary and settings.follow:
            self.progress(Stage("following imaginary modes"))
            leads = follow({k: phonons[k] for k in imaginary}, imaginary, self.surface, settings, self.inputs.pressure, self.progress)
        self._write(leads, polymorphs)

    def _write(self, leads: list[NewLead], polymorphs: list[CheckedPolymorph]) -> None:
        """Write a CIF file for each lead in place of those of an earlier check."""
        written = []
        for lead in leads:
            polymorph = polymorphs[lead.parent]
            symbol = lead.space_group.replace("/", "_")
            path = self.folder / f"{polymorph.prepared.name}-lead{len(polymorph.leads) + 1}_{symbol}.cif"
            write_whole(path, cif_text(lead.atoms))
            polymorph.leads.append((lead, path))
            written.append(path)
        for old in self.folder.glob("*-lead*.cif"):
            if old not in written:
                old.unlink()

    def _elastic(self, polymorphs: list[CheckedPolymorph]) -> None:
        """Calculate the elastic constants."""
        cells = [each.prepared.atoms for each in polymorphs]
        centres = self._force_constants(cells, [np.eye(3, dtype=int)] * len(cells), "displaced primitive cells")
        strains = [Strains(cell, self.settings.strain) for cell in cells]
        lists = [each.structures for each in strains]
        like = [cell for cell, own in zip(cells, lists, strict=True) for _ in own]
        evaluated = self.surface.evaluate([atoms for own in lists for atoms in own], "strained cells", self.progress, like)
        for k, part in enumerate(evaluated.split([len(own) for own in lists])):
            constants: ElasticConstants = strains[k].constants(part, centres[k][0].constants)
            polymorphs[k].elastic = constants

    @staticmethod
    def _transitions(polymorphs: list[CheckedPolymorph]) -> list[Transition]:
        """Return the transitions between polymorphs of each composition."""
        groups: dict[tuple[tuple[str, int], ...], dict[int, FreeEnergy]] = {}
        for k, polymorph in enumerate(polymorphs):
            curve = polymorph.free_energy
            if curve is not None and np.isfinite(curve.mean[0]):
                groups.setdefault(composition(polymorph.prepared.atoms), {})[k] = curve
        return [transition for curves in groups.values() for transition in transitions(curves)]


def _result(
    phonons: Phonons,
    mesh: tuple[np.ndarray, Frequencies],
    atoms: int,
    count: int,
    imaginary: list[ImaginaryMode],
    longer: Phonons | None,
) -> PhononResult:
    """Return frequencies, band path and density of states of a polymorph; `longer`: its phonons in a longer supercell."""
    points = phonons.commensurate
    commensurate = phonons.frequencies(points)
    change = None
    if longer is not None:
        change = float(np.abs(longer.frequencies(points).mean - commensurate.mean).max())
    weights, found = mesh
    axis = np.linspace(min(0.0, 1.05 * found.mean.min()), 1.05 * found.mean.max(), 400)
    return PhononResult(
        phonons.matrix, atoms, count, phonons.path(), phonons.frequencies([[0.0, 0.0, 0.0]]), points, commensurate,
        axis, density_of_states(weights, found.mean, axis), imaginary, change,
    )  # fmt: skip
