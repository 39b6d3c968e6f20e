"""What a check reads: a run folder or a structure file, the committee, and the reference."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ase import Atoms

from nucleate.crystals.checks import refuse_constraints
from nucleate.crystals.io import read_structures
from nucleate.csp.plan import prepare
from nucleate.csp.resolve import resolve_settings
from nucleate.csp.run_data import RunData, read_run
from nucleate.errors import BadInput, quoted
from nucleate.fingerprints.matching import space_group
from nucleate.polymorphs.stability.prepared import Subject
from nucleate.polymorphs.stability.supercells import SAME
from nucleate.potentials.base import Potential, check_species
from nucleate.potentials.files import load_potential
from nucleate.pretrained import check_elements
from nucleate.reference.base import Reference, has_moments
from nucleate.reference.build import make_reference
from nucleate.reference.settings import ReferenceSettings

TOP = 3
"""Number of polymorphs of a run folder that are checked by default, the lowest first."""


@dataclass(frozen=True)
class Inputs:
    """Structures of a check.

    Attributes:
        path: run folder or file.
        subjects: the structures.
        pressure: external pressure, GPa.
        run: the run; None for a file.
    """

    path: Path
    subjects: list[Subject]
    pressure: float
    run: RunData | None

    @property
    def species(self) -> list[int]:
        """Atomic numbers of the structures."""
        return sorted({int(z) for subject in self.subjects for z in subject.atoms.numbers})

    @property
    def default_out(self) -> Path:
        """Folder of the results: `check` in a run folder, or one beside the file."""
        return self.path / "check" if self.run is not None else self.path.with_name(f"{self.path.stem}-check")


def read_inputs(path: Path, top: int | None, pressure: float | None) -> Inputs:
    """Return the structures of a run folder or a file.

    Args:
        path: run folder or structure file.
        top: number of polymorphs of a run folder, or of structures of a file; None: three, or all.
        pressure: external pressure, GPa; a run folder has its own.

    Raises:
        BadInput: the file cannot be read, a structure is no crystal, or an option does not apply.
        RunFolderError: the folder is not a run folder, or is damaged.
    """
    if top is not None and top < 1:
        raise BadInput(f"--top {top}: give a positive number")
    if not path.is_dir():
        frames = read_structures(path, open_directions=True)[:top]
        for number, atoms in enumerate(frames, start=1):
            _refuse(atoms, f"{path}, structure {number}")
        return Inputs(path, [_subject(k + 1, atoms) for k, atoms in enumerate(frames)], pressure or 0.0, None)
    run = read_run(path)
    if pressure is not None and pressure != run.settings.pressure:
        raise BadInput(f"--pressure {pressure:g}: the search in {path} was made at {run.settings.pressure:g} GPa, which the check keeps")
    if run.settings.dimensions != 3:
        raise BadInput(f"{path}: is a search of layers or clusters; the check supports only crystals with three periodic directions")
    polymorphs = run.state.ranking()[: top or TOP]
    if not polymorphs:
        raise BadInput(f"{path}: no polymorph is confirmed yet; wait for the search, or check a structure file with --model")
    return Inputs(path, [_subject(k + 1, each.atoms) for k, each in enumerate(polymorphs)], run.settings.pressure, run)


def _refuse(atoms: Atoms, where: str) -> None:
    """Raise `BadInput` for structures that are not plain crystals."""
    refuse_constraints(atoms, where)
    if not atoms.pbc.all():
        raise BadInput(f"{where}: the structure is a layer or a cluster; the check supports only crystals with three periodic directions")
    if has_moments(atoms):
        raise BadInput(f"{where}: the structure has starting moments, which supercells do not keep; set reference.magnetic_moments instead")


def _subject(number: int, atoms: Atoms) -> Subject:
    symbol = re.sub(r"[^A-Za-z0-9_-]", "_", space_group(atoms, SAME)[0])
    return Subject(f"{number:02d}_{symbol}", atoms)


def read_committee(inputs: Inputs, model: Path | None) -> tuple[Potential, str] | None:
    """Return the committee of a model file, or the last one of a run folder, with its path; None: a file without a model.

    Raises:
        BadInput: the file is not a model file or does not support an element, or the run has no committee yet.
    """
    if model is None:
        if inputs.run is None:
            return None
        files = sorted((inputs.path / "models").glob("round_*.safetensors"))
        if not files:
            raise BadInput(f"{inputs.path}: the run has no trained committee; give --model FILE, or --reference ENGINE")
        model = files[-1]
    potential, _ = load_potential(model)
    check_species(potential.species, inputs.species)
    return potential, str(model)


def make_check_reference(
    inputs: Inputs,
    engine: str | Reference | None,
    preset: str | None,
    settings: Path | dict[str, Any] | None,
    workers: int | None,
    ledger: str | PathLike[str] | None,
) -> tuple[Reference, ReferenceSettings] | None:
    """Return the reference that the options name, or that of the run; None: a file without a reference.

    Args:
        inputs: structures of the check.
        engine: engine, or a reference itself.
        preset: preset of the engine.
        settings: settings with a table [reference].
        workers: number of simultaneous calculations.
        ledger: address of a shared ledger; None: that of the settings.

    Raises:
        BadInput: a setting is invalid, or the reference of the run cannot be used.
        MissingDependency: a program or package is missing.
    """
    run = inputs.run
    name = engine if isinstance(engine, str) else None
    options = {"reference__engine": name, "reference__preset": preset, "reference__workers": workers}
    options["reference__ledger"] = None if ledger is None else str(ledger)
    if engine is None and settings is None and run is None:
        if preset is not None or workers is not None:
            raise BadInput("--preset and --workers describe a reference; name it with --reference")
        return None
    if run is not None and settings is None and (name is None or name == run.settings.reference.engine):
        if not isinstance(engine, str | None):
            return _checked(engine, inputs), run.settings.reference.model_copy(update={"ledger": options["reference__ledger"]})
        _refuse_foreign(run)
        resolved = resolve_settings(None, run.settings, **options)
        reference = prepare(resolved).reference
    else:
        # Settings require a formula, which a check does not use.
        resolved = resolve_settings("H", settings, **options)
        if resolved.pressure not in (0.0, inputs.pressure):
            raise BadInput(f"the settings have pressure = {resolved.pressure:g}, but a check reads [reference] alone; give --pressure")
        reference = make_reference(resolved.reference) if isinstance(engine, str | None) else engine
    return _checked(reference, inputs), resolved.reference


def _checked(reference: Reference, inputs: Inputs) -> Reference:
    check_elements(reference.name, inputs.species)
    return reference


def _refuse_foreign(run: RunData) -> None:
    """Raise `BadInput` if the settings of the run, which name programs to start, belong to another user."""
    if (run.path / "run.toml").stat().st_uid != os.geteuid():
        raise BadInput(
            f"{run.path}: run.toml belongs to another user and names the programs of the reference; "
            f"leave them out with --spots 0, or name {quoted(run.settings.reference.engine)} with --settings"
        )
