"""Exchange couplings of the magnetic polymorphs of a search: computed from its folder, and read by its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.crystals.images import plane_distances
from nucleate.csp.atoms_data import atoms_to_dict
from nucleate.csp.records import Polymorph
from nucleate.csp.run_data import RunData, read_run, structure_name
from nucleate.errors import BadInput, NucleateError, quoted
from nucleate.generate.seeds import primitive_cell
from nucleate.persist.files import write_whole
from nucleate.persist.toml import read_settings
from nucleate.progress import Progress, Stage, silent
from nucleate.reference.base import content_hash, has_moments
from nucleate.spins import api
from nucleate.spins.couplings import Couplings
from nucleate.spins.dft.gpaw_liechtenstein import WITHOUT_EFFECT
from nucleate.spins.dft.mapping import MappingSettings
from nucleate.spins.files.table import read_table

FOLDER = "couplings"
"""Folder of a run that holds a folder of each coupled polymorph."""
SUMMARY = "summary.json"
TOP = 3
"""Number of magnetic polymorphs that are coupled by default, the lowest first."""


@dataclass(frozen=True)
class CoupledPolymorph:
    """Exchange couplings of one polymorph.

    Attributes:
        rank: Rank of the polymorph, from 1.
        space_group: Its space group.
        order: Magnetic order that the search reports.
        method: Method of the couplings.
        couplings: The couplings.
        estimate: Leading order and ordering temperatures of the couplings in the table, see `nucleate.spins.api.OrderEstimate`, or the
            reason why there are none as `failure`.
        facts: What the method reports beside them, see `nucleate.spins.api.Coupled`.
        folder: Folder of the calculations, with `couplings.csv`.
    """

    rank: int
    space_group: str
    order: str
    method: str
    couplings: Couplings
    estimate: dict[str, Any]
    facts: dict[str, Any]
    folder: Path


def couple_polymorphs(
    path: Path,
    *,
    top: int | None = None,
    settings: Path | dict[str, Any] | None = None,
    method: str | None = None,
    progress: Progress = silent,
    failed: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> list[CoupledPolymorph]:
    """Compute exchange couplings of the lowest magnetic polymorphs of a run folder; what is finished is kept there and reused.

    Methods from total energies calculate supercells of at least the cutoff along each direction.

    Args:
        path: Folder of a search of crystals whose reference has magnetic moments.
        top: Number of magnetic polymorphs, the lowest first; None: three.
        settings: TOML file or dictionary as for `nucleate.spins.api.couple`; entries of [reference] replace those of the run.
        method: Method; None: liechtenstein with GPAW without Hubbard U, otherwise collinear.
        progress: Called with the events of `nucleate.spins.api.couple` and the stage of each polymorph.
        failed: Called with one line for each polymorph without a result.
        options: Further arguments of `nucleate.spins.api.couple`.

    Raises:
        BadInput: The run has no magnetic polymorph, or an option does not apply.
        NucleateError: No polymorph has a result.
        RunFolderError: The folder is not a run folder, or is damaged.
    """
    run = read_run(path)
    reference = run.settings.reference
    chosen = _magnetic(run)
    if top is not None and top < 1:
        raise BadInput(f"top {top}: give a positive number")
    method = method or ("liechtenstein" if reference.engine.lower() == "gpaw" and not reference.hubbard_u else "collinear")
    given = {} if settings is None else dict(settings) if isinstance(settings, dict) else read_settings(settings)
    own = reference.model_dump(exclude_unset=True, exclude={"ledger", "workers", *(WITHOUT_EFFECT if method == "liechtenstein" else ())})
    given["reference"] = {**own, **given.get("reference", {})}
    found, failures = [], []
    for rank, polymorph in chosen[: top or TOP]:
        name = structure_name(rank, polymorph)
        symbol = polymorph.space_group.replace("/", "_")
        progress(Stage(f"{name} ({polymorph.magnetic.order if polymorph.magnetic else 'FM'})"))
        present = {symbol: moment for symbol, moment in reference.magnetic_moments.items() if symbol in polymorph.atoms.symbols and moment}
        # Ranks change when a search goes on.
        folder = path / FOLDER / f"{symbol}_{content_hash(polymorph.atoms, {})[:8]}"
        moments = {symbol: abs(moment) for symbol, moment in present.items()}
        atoms = _cell(polymorph.atoms, method, options.get("cutoff") or given.get("mapping", {}).get("cutoff"))
        try:
            result = api.couple(atoms, folder, moments, method=method, settings=given, progress=progress, **options)
        except BadInput:
            raise
        except NucleateError as error:
            failures.append(f"{name}: {error}")
            failed(failures[-1])
            continue
        summary = {
            "atoms": atoms_to_dict(polymorph.atoms),
            "method": method,
            "facts": result.facts,
            "estimate": _estimate(result.couplings),
        }
        write_whole(folder / SUMMARY, json.dumps(summary))
        found.append(_coupled(rank, polymorph, folder, summary, result.couplings))
    if not found:
        raise NucleateError(f"no polymorph of {path} has couplings; {failures[0]}")
    return found


def read_coupled(run: RunData) -> list[CoupledPolymorph]:
    """Return the couplings in a run folder of polymorphs that are in its ranking as they were; damaged files are left out."""
    found = []
    ranking = {json.dumps(atoms_to_dict(polymorph.atoms)): (k + 1, polymorph) for k, polymorph in enumerate(run.state.ranking())}
    for path in sorted((run.path / FOLDER).glob(f"*/{SUMMARY}")):
        try:
            summary = json.loads(path.read_text())
            place = ranking.get(json.dumps(summary["atoms"]))
            if place is not None:
                found.append(_coupled(*place, path.parent, summary, read_table(path.parent / "couplings.csv")))
        except (OSError, ValueError, KeyError, TypeError, NucleateError):
            continue
    return sorted(found, key=lambda each: each.rank)


def _magnetic(run: RunData) -> list[tuple[int, Polymorph]]:
    """Return rank and polymorph of those with moments, the lowest first."""
    settings = run.settings
    if not settings.reference.magnetic_moments:
        raise BadInput(f"{run.path}: the search has no magnetic moments; set reference.magnetic_moments and search again")
    if settings.dimensions != 3:
        raise BadInput(f"{run.path}: is a search of layers or clusters; couplings are computed of crystals")
    ranking = [(k + 1, polymorph) for k, polymorph in enumerate(run.state.ranking())]
    if not ranking:
        raise BadInput(f"{run.path}: no polymorph is confirmed yet; wait for the search, or give a structure file")
    found = [(rank, each) for rank, each in ranking if each.magnetic is None or each.magnetic.order not in ("NM", "other")]
    if not found:
        orders = ", ".join(sorted({each.magnetic.order for _, each in ranking if each.magnetic}))
        raise BadInput(f"{run.path}: no polymorph has a collinear magnetic order (found: {quoted(orders, 60)})")
    return found


def _cell(atoms: Atoms, method: str, cutoff: float | None) -> Atoms:
    """Return the primitive cell of a polymorph, or that of its order; for total energies a supercell that distinguishes the pairs."""
    if not has_moments(atoms):
        atoms = primitive_cell(atoms)
    if method not in ("collinear", "four-state"):
        return atoms
    reach = MappingSettings.model_fields["cutoff"].default if cutoff is None else cutoff
    repeated: Atoms = atoms.repeat([max(1, int(np.ceil(reach / height - 1e-9))) for height in plane_distances(atoms.cell.array)])
    return repeated


def _estimate(couplings: Couplings) -> dict[str, Any]:
    try:
        return asdict(api.estimate(couplings))
    except NucleateError as error:
        return {"failure": str(error)}


def _coupled(rank: int, polymorph: Polymorph, folder: Path, summary: dict[str, Any], couplings: Couplings) -> CoupledPolymorph:
    order = polymorph.magnetic.order if polymorph.magnetic else "FM"
    return CoupledPolymorph(
        rank, polymorph.space_group, order, summary["method"], couplings, summary["estimate"], summary["facts"], folder
    )  # fmt: skip
