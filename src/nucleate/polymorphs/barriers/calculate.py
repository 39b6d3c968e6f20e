"""Barriers between the lowest polymorphs of a search, on its committee.

from nucleate.polymorphs.barriers.calculate import barriers

result = barriers("Si8")
for first, second in result.pairs:
    print(result.minima[first].name, result.minima[second].name, result.barrier(first, second).height)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path

import numpy as np
from ase.io import write

from nucleate.errors import BadInput, NucleateError
from nucleate.fingerprints.matching import same_crystal
from nucleate.persist.files import write_whole
from nucleate.polymorphs.barriers.mapping import Mapping, mappings
from nucleate.polymorphs.barriers.network import EQUAL, Found, Network
from nucleate.polymorphs.barriers.results import BarriersResult, Connection, Minimum, Spot
from nucleate.polymorphs.barriers.settings import BarrierSettings
from nucleate.polymorphs.barriers.tree import disconnectivity
from nucleate.polymorphs.stability.inputs import Inputs, make_check_reference, read_committee, read_inputs
from nucleate.polymorphs.stability.prepared import Prepared, Unusable, prepare
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.surface import CommitteeForces, ReferenceForces, Surface
from nucleate.processes.interrupts import check as check_interrupt
from nucleate.processes.interrupts import listening
from nucleate.processes.limits import available_cores
from nucleate.progress import Event, Progress, Stage, Step, silent
from nucleate.reference.base import Reference
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import ledger_file
from nucleate.reference.shared.opened import owner_of, shared_ledger
from nucleate.units import GPA

TOP = 5
"""Number of polymorphs of a run folder by default, the lowest first."""
AnyPath = str | PathLike[str]


def barriers(
    path: AnyPath,
    settings: BarrierSettings | None = None,
    *,
    model: AnyPath | None = None,
    reference: str | Reference | None = None,
    top: int | None = None,
    pressure: float | None = None,
    ledger: AnyPath | None = None,
    out: AnyPath | None = None,
    progress: Progress = silent,
) -> BarriersResult:
    """Calculate the barriers between all pairs of the lowest polymorphs.

    Args:
        path: run folder or structure file.
        settings: settings; None: defaults.
        model: model file of a committee; None: the last one of the run folder.
        reference: engine, or a reference itself, of the spot checks; None: that of the run.
        top: number of polymorphs of a run folder (default 5), or of structures of a file (default all).
        pressure: external pressure of structures of a file, GPa.
        ledger: ledger that other calculations share, see docs/shared-ledger.md; None: that of the settings, or none if
            `reference` is an object.
        out: folder of barriers.json and the paths; None: `barriers` in the run folder, or one beside the file.
        progress: called with a `Stage` or a `Step` as the calculation advances.

    Returns:
        The result; barriers.json and the paths as extended XYZ files are in its folder.

    Raises:
        BadInput: an option or file is invalid, there are fewer than two different polymorphs, or no pair has a common cell.
        NucleateError: the reference of the spot checks failed, or no structure could be relaxed.
        KeyboardInterrupt: the calculation was interrupted.
    """
    settings = settings or BarrierSettings()
    source = Path(path)
    inputs = read_inputs(source, (top or TOP) if source.is_dir() and top != 0 else top, pressure)
    committee = read_committee(inputs, None if model is None else Path(model))
    if committee is None:
        raise BadInput(f"{path}: name the committee with --model FILE")
    if reference is not None and not settings.spots:
        raise BadInput("a reference has an effect only on spot checks; give --spots N as well")
    if ledger is not None and not settings.spots:
        raise BadInput("a shared ledger has an effect only on spot checks; give --spots N as well")
    made = make_check_reference(inputs, reference, None, None, None, ledger) if settings.spots else None
    if settings.spots and made is None:
        raise BadInput("--spots needs a reference that labels the structures; name it with --reference")
    folder = Path(out) if out is not None else source / "barriers" if source.is_dir() else source.with_name(f"{source.stem}-barriers")
    if folder.resolve() == source.resolve():
        raise BadInput(f"{folder}: is the run folder itself; choose another --out, such as {folder / 'barriers'}")
    surface = CommitteeForces(*committee)

    def watched(event: Event, /) -> None:
        # An interrupt that a package swallowed is raised here, at the next event.
        check_interrupt()
        progress(event)

    with listening(), ExitStack() as stack:
        watched(Stage("relaxing on the committee"))
        ends = prepare(inputs.subjects, surface, CheckSettings(), inputs.pressure, watched)
        omitted = [f"{end.name}: {end.reason}" for end in ends if isinstance(end, Unusable)]
        minima = _different([end for end in ends if isinstance(end, Prepared)], omitted)
        if len(minima) < 2:
            few = f"{path}: has {len(minima)} polymorph{'' if len(minima) == 1 else 's'} on this committee, and a barrier needs two"
            raise BadInput(f"{few}; raise --top, or continue the search if it has no others")
        network = Network(surface, settings, inputs.pressure, list(minima), progress=watched)
        network.connect(_chosen(minima, settings, omitted, watched))
        if not network.found:
            raise NucleateError(f"no path could be optimised: {omitted[0] if omitted else 'all bands failed'}")
        if network.failed:
            omitted.append(f"{network.failed} bands failed: forces or strains grew beyond all limits")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{folder}: cannot be created: {error.strerror}; choose another --out") from error
        connections = _connections(network, surface, inputs.pressure, folder)
        edges = [(each.first, each.second, each.band.height) for each in connections]
        tree = disconnectivity([float(each.energy.mean()) for each in network.minima], edges)
        spots, name = [], None
        if made is not None:
            watched(Stage("spot checks on the reference"))
            own = stack.enter_context(ledger_file(folder / "ledger.db"))
            shared = stack.enter_context(shared_ledger(made[1], owner_of(folder / "ledger.db")))
            workers = made[1].workers
            workers = (0 if made[0].surrogate else available_cores()) if workers is None else workers
            dispatcher = stack.enter_context(Dispatcher(made[0], own, workers, None, made[1].timeout, shared=shared))
            dispatcher.forget_failures()
            exact = ReferenceForces(dispatcher)
            # Only these heights are barriers of the table.
            heights = tree.bottleneck[: len(minima), : len(minima)]
            order = [each.edge for each in tree.merges if each.edge in heights][: settings.spots]
            spots, name = _spots(connections, order, exact, inputs.pressure, watched), exact.name
    result = BarriersResult(
        source, folder, surface.name, _surrogate(inputs), len(minima[0].energy), inputs.pressure, settings, network.minima, connections,
        tree, omitted, name, spots,
    )  # fmt: skip
    write_whole(folder / "barriers.json", json.dumps(result.as_dict(), ensure_ascii=False))
    return result


def _surrogate(inputs: Inputs) -> str | None:
    """Return the name of the surrogate whose labels trained the committee of a run."""
    return inputs.run.reference if inputs.run is not None and inputs.run.surrogate else None


def _different(prepared: Sequence[Prepared], omitted: list[str]) -> list[Minimum]:
    """Return the different minima, the lowest first; those that relax to the same crystal are one."""
    result: list[Minimum] = []
    for each in prepared:
        twin = next((k for k in result if abs(k.energy.mean() - each.energy.mean()) < EQUAL and same_crystal(k.atoms, each.atoms)), None)
        if twin is None:
            result.append(Minimum(each.name, each.atoms, each.energy))
        else:
            omitted.append(f"{each.name}: relaxes on the committee to the same crystal as {twin.name}")
    return sorted(result, key=lambda item: float(item.energy.mean()))


def _chosen(minima: Sequence[Minimum], settings: BarrierSettings, omitted: list[str], progress: Progress) -> list[tuple[int, int, Mapping]]:
    """Return the mappings of all pairs; a pair without a common cell is left out by name."""
    progress(Stage("mappings"))
    pairs = [(i, j) for i in range(len(minima)) for j in range(i + 1, len(minima))]
    chosen, reasons = [], []
    for done, (i, j) in enumerate(pairs, start=1):
        try:
            chosen += [(i, j, each) for each in mappings(minima[i].atoms, minima[j].atoms, settings.atoms, settings.paths)]
        except BadInput as error:
            reasons.append(f"{minima[i].name} to {minima[j].name}: {error}")
        progress(Step("mappings", done, len(pairs)))
    if not chosen:
        raise BadInput(reasons[0] if reasons else "no mapping has a small strain; raise --atoms")
    omitted += reasons
    return chosen


def _connections(network: Network, surface: Surface, pressure: float, folder: Path) -> list[Connection]:
    """Evaluate the members along all bands and write the images, in place of those of an earlier calculation."""
    found: list[Found] = network.found
    evaluated = surface.evaluate([atoms for each in found for atoms in each.band.images], "members", network.progress)
    parts = evaluated.split([len(each.band.images) for each in found])
    for old in folder.glob("path*.extxyz"):
        old.unlink()
    result = []
    for k, (each, part) in enumerate(zip(found, parts, strict=True), start=1):
        images = each.band.images
        volumes = np.array([atoms.get_volume() for atoms in images])
        members = (part.energy + pressure * GPA * volumes) / len(images[0])
        file = folder / f"path{k:02d}_{network.minima[each.first].name}_{network.minima[each.second].name}.extxyz"
        for atoms, energy in zip(images, each.band.enthalpy, strict=True):
            atoms.info["enthalpy_per_atom"] = float(energy)
        write(file, images, format="extxyz")
        result.append(Connection(each.first, each.second, each.band, members, each.strain, each.displacement, file))
    return result


def _spots(connections: Sequence[Connection], order: Sequence[int], exact: Surface, pressure: float, progress: Progress) -> list[Spot]:
    """Label both ends and the highest image of the chosen paths, in the same cell and with the same k-points."""
    chosen = [(k, sorted({0, connections[k].band.top, len(connections[k].band.images) - 1})) for k in order]
    structures = [connections[k].band.images[place] for k, places in chosen for place in places]
    like = [connections[k].band.images[0] for k, places in chosen for _ in places]
    evaluated = exact.evaluate(structures, "barriers", progress, like)
    result = []
    for (k, places), part in zip(chosen, evaluated.split([len(places) for _, places in chosen]), strict=True):
        band = connections[k].band
        own = {
            place: (energy + pressure * GPA * band.images[place].get_volume()) / len(band.images[place])
            for place, energy in zip(places, part.energy[0], strict=True)
        }
        three = [0, band.top, len(band.images) - 1]
        result.append(Spot(k, np.array([own[place] for place in three]), band.enthalpy[three]))
    return result
