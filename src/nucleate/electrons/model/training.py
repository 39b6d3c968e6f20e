"""Training of the network on sampled grid points, followed by a closed-form fit of the last layer on all points (`last_layer.py`)."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from nucleate.electrons.data.convergence import check_meshes
from nucleate.electrons.data.ground_state import INSULATING, Snapshot, check_engine
from nucleate.electrons.data.store import make_folder, read_snapshot, snapshot_paths
from nucleate.electrons.events import NetworkStep
from nucleate.electrons.levels.zero import Zero
from nucleate.electrons.messages.settings import MessageSettings
from nucleate.electrons.model.alignment import common_energies, resolve_zero, zero_of_snapshot
from nucleate.electrons.model.evaluation import Errors, errors_on
from nucleate.electrons.model.header import TOTAL, Channel
from nucleate.electrons.model.last_layer import fit_last_layer, read_aligned
from nucleate.electrons.model.model import ElectronModel, make_descriptor, make_network
from nucleate.electrons.model.sampled_points import PointBatches, draw_points
from nucleate.electrons.model.state_sums import edge_corrections
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput
from nucleate.persist.files import append_line
from nucleate.progress import Event, Progress, silent
from nucleate.training.descent import Descent, cosine_decay

log = logging.getLogger(__name__)

FINAL_RATE = 0.01
"""Final learning rate relative to the initial one."""


class ElectronTraining(BaseModel):
    """Settings of the training of a local density of states model."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    descriptor: dict[str, Any] = Field(
        default_factory=lambda: {"name": "power"}, description="Descriptor name (power or bispectrum) and options."
    )
    messages: MessageSettings | None = Field(
        None, description="Equivariant network of the atoms, whose messages are further features of a point; unset: the descriptor alone."
    )
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field((256, 128), description="Widths of the hidden layers.")
    members: int = Field(2, ge=1, description="Number of committee members.")
    points: int = Field(3000, ge=10, description="Number of grid points sampled from each snapshot.")
    steps: int = Field(3000, ge=1, description="Number of AdamW steps.")
    batch: int = Field(512, ge=1, description="Number of points per step.")
    learning_rate: float = Field(2e-3, gt=0, description="Initial learning rate of the cosine schedule.")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's.")
    integral_weight: float = Field(
        10.0,
        ge=0,
        description="Weight of the errors of the integrals over energy up to each energy, from which density and band energy "
        "follow, relative to those of the local density of states itself.",
    )
    validation: float = Field(0.2, ge=0, le=0.5, description="Fraction of snapshots used for validation.")
    refit: bool = Field(True, description="Whether to fit the last layer in closed form at the end.")
    dos_weight: float = Field(
        30.0, ge=0, description="Weight of each cell's density of states in this fit, relative to all points of the cell together."
    )
    free_weight: float = Field(
        1000.0,
        ge=0,
        description="Weight of the errors of the cells' free energies in this fit, to first order; 1 halves the error of a cell alone.",
    )
    ridge: float = Field(1e-7, ge=0, description="Ridge parameter of this fit, relative to the largest curvature.")
    zero: Zero | None = Field(
        None,
        description="Zero of energy of the learned levels: free electrons, the Fermi level of free electrons of the same density, which "
        "moves with the volume like the levels of a metal, or potential, the average electrostatic potential; unset: free electrons if the "
        "energies are close enough to be interpolated.",
    )
    occupied: bool | None = Field(
        None,
        description="Whether to learn the part of the occupied levels of insulators, which gives density and energy without a Fermi level; "
        "unset: if all snapshots have a band gap.",
    )
    seed: int = Field(0, ge=0, description="Random seed for weights, points and committee subsets.")
    threads: int = Field(1, ge=1, description="Threads.")


def train(
    data: list[Path], out: Path, settings: ElectronTraining, progress: Progress = silent
) -> tuple[ElectronModel, dict[str, list[Errors]]]:
    """Train a model and evaluate it on the validation snapshots.

    Args:
        data: Folders of snapshots, or single snapshots.
        out: Folder for model.safetensors and events.jsonl.
        settings: Training settings.
        progress: Called with a `NetworkStep` every 100 steps.

    Raises:
        BadInput: The snapshots are not compatible.
        NucleateError: The loss is not finite.
    """
    torch.set_num_threads(settings.threads)
    make_folder(out)
    paths = [path for folder in data for path in snapshot_paths(folder)]
    parts = split(data, settings)
    started = time.process_time()

    def record(kind: str, **facts: Any) -> None:
        append_line(out / "events.jsonl", {"event": kind, **facts})

    def logged(event: Event, /) -> None:
        if isinstance(event, NetworkStep):
            record("progress", step=event.done, total=event.total, loss=event.loss, cpu_seconds=event.cpu_seconds)
        progress(event)

    heads = [read_snapshot(path, ldos=False) for path in paths]
    check_together(paths, heads)
    check_meshes([path.parents[1] for path in paths])
    ions = {symbol: ion for head in heads for symbol, ion in head.ions.items()}
    ions = dict(sorted(ions.items(), key=lambda item: atomic_numbers[item[0]]))
    descriptor = make_descriptor({"name": "power", **settings.descriptor, "n_species": len(ions)})
    spacing = float(np.mean([np.linalg.norm(h.atoms.cell.array, axis=1) / np.array(h.ldos.shape[:3]) for h in heads]))
    zero = resolve_zero(settings.zero, heads[0])
    energies = common_energies(zero, heads)
    channels = choose_channels(settings.occupied, heads)
    outputs = len(energies) * len(channels)
    network = make_network(descriptor, outputs, settings.hidden, settings.members, settings.seed, settings.messages)
    model = ElectronModel(descriptor, network, energies, heads[0].sigma, ions, spacing, heads[0].engine, {}, zero, channels)
    rng = np.random.default_rng(settings.seed)
    drawn, corrections = [], []
    for path in parts["training"]:
        snapshot = read_aligned(model, path)
        drawn.append(draw_points(model, snapshot, settings.points, rng))
        if model.insulator:
            corrections.append(edge_corrections(snapshot, zero_of_snapshot(zero, snapshot)))
    if model.insulator:
        gaps = [head.band_edges[1] - head.band_edges[0] for head in heads if head.band_edges is not None]
        model.facts |= {"gap": min(gaps), "edges": np.mean(corrections, axis=0).tolist()}
    points = PointBatches(drawn, network.messages)
    record("sampled", snapshots=len(drawn), points=len(points.features), cpu_seconds=time.process_time() - started)
    shares = _shares(settings, len(drawn))
    _fit(model, points, shares, settings, logged)
    network.requires_grad_(False)
    if settings.refit:
        fit_last_layer(model, parts["training"], shares, settings.ridge, settings.dos_weight, settings.free_weight)
        record("refit", cpu_seconds=time.process_time() - started)
    trained = time.process_time() - started
    errors = {"validation": [errors_on(model, read_snapshot(path), name=snapshot_name(path)) for path in parts["validation"]]}
    model.facts |= {
        "temperature": float(np.median([head.temperature for head in heads])),
        "cpu_seconds": trained,
        "snapshots": {name: [str(path) for path in found] for name, found in parts.items()},
        "errors": {name: [e.as_dict() for e in found] for name, found in errors.items()},
        "settings": json.loads(settings.model_dump_json()),
    }
    model.save(out / "model.safetensors")
    record("evaluated", errors=model.facts["errors"], cpu_seconds=trained)
    return model, errors


def choose_channels(occupied: bool | None, heads: list[Snapshot]) -> tuple[Channel, ...]:
    """Return what a model of snapshots learns.

    Raises:
        BadInput: `occupied` is true, but a snapshot does not contain the part of the occupied levels.
    """
    insulating = [head.insulating for head in heads]
    if occupied and not all(insulating):
        raise BadInput(
            f"occupied = true: {insulating.count(False)} of {len(heads)} snapshots have no band gap of more than {INSULATING:g} kT, are "
            "spin-polarised or were sampled by an earlier version"
        )
    if occupied is None and any(insulating) and not all(insulating):
        log.warning(
            "%d of %d snapshots have no band gap or were sampled by an earlier version: the model is that of a metal",
            insulating.count(False),
            len(heads),
        )
    if heads[0].spin_density is not None:
        return "total", "spin"
    return ("total", "occupied") if all(insulating) and occupied is not False else TOTAL


def split(data: list[Path], settings: ElectronTraining) -> dict[str, list[Path]]:
    """Split the snapshots of each folder; the last ones are used for validation, so that they are separated in time."""
    parts: dict[str, list[Path]] = {"training": [], "validation": []}
    for folder in data:
        found = snapshot_paths(folder)
        kept = len(found) - int(settings.validation * len(found) + 0.5) if len(found) > 1 else len(found)
        parts["training"] += found[: max(1, kept)]
        parts["validation"] += found[max(1, kept) :]
    return parts


def snapshot_name(path: Path) -> str:
    """Return data folder and number, for example `al/0003`."""
    return f"{path.absolute().parents[1].name}/{path.stem}"


def check_together(paths: list[Path], heads: list[Snapshot]) -> None:
    """Raise `BadInput` unless the snapshots share energies, smearing and engine settings."""
    first, ions = heads[0], dict[str, Ion]()
    for path, head in zip(paths, heads, strict=True):
        where = f"{path}: not compatible with {paths[0]}:"
        _check_energies(where, head.energies, first.energies)
        _check_labels(where, head, first.sigma, first.engine)
        for symbol, ion in head.ions.items():
            if ions.setdefault(symbol, ion) != ion:
                raise BadInput(f"{path}: not compatible with earlier snapshots: the ion of {symbol} is {ion}, not {ions[symbol]}")


def check_model(model: ElectronModel, snapshot: Snapshot, path: Path) -> None:
    """Raise `BadInput` unless the snapshot has the energies, functional, pseudopotential and cutoff of the training data."""
    where = f"{path}: not compatible with the model:"
    if model.zero == "potential":
        _check_energies(where, snapshot.energies, model.energies)
    else:
        spacings = [float(energies[1] - energies[0]) for energies in (snapshot.energies, model.energies)]
        if abs(spacings[0] - spacings[1]) > 1e-6:
            raise BadInput(f"{where} the energies are {spacings[0]:g} eV apart, not {spacings[1]:g} eV")
    _check_labels(where, snapshot, model.sigma, model.engine)


def _check_energies(where: str, own: np.ndarray, energies: np.ndarray) -> None:
    if len(own) != len(energies) or not np.allclose(own, energies, atol=1e-6):
        raise BadInput(
            f"{where} there are {len(own)} energies from {own[0]:g} eV, not {len(energies)} from {energies[0]:g} eV; "
            "sample both with the same low, high and spacing"
        )


def _check_labels(where: str, snapshot: Snapshot, sigma: float, engine: dict[str, Any]) -> None:
    if snapshot.sigma != sigma:
        raise BadInput(f"{where} sigma is {snapshot.sigma:g} eV, not {sigma:g} eV")
    check_engine(where, snapshot.engine, engine)


def _shares(settings: ElectronTraining, snapshots: int) -> Tensor:
    """Return snapshot weights (members, snapshots): random for each committee member, uniform for a single member."""
    shares = torch.ones(settings.members, snapshots)
    if settings.members > 1:
        shares.exponential_(generator=torch.Generator().manual_seed(settings.seed + 2))
        shares /= shares.mean(1, keepdim=True)
    return shares


def _fit(model: ElectronModel, points: PointBatches, shares: Tensor, settings: ElectronTraining, progress: Progress) -> None:
    network, x, y = model.network, points.features, points.targets
    # With spin, the integrals of the sum and of the difference of both spins are apart.
    apart = (len(model.channels), len(model.energies))
    own, spread = x.shape[1], x.std(0)
    network.mean[:own] = x.mean(0)
    network.scale[:own] = 1 / torch.clamp(spread, min=1e-4 * float(spread.max()))
    scale = float(y.square().mean().sqrt())
    generator = torch.Generator().manual_seed(settings.seed + 1)
    if network.messages is not None:
        with torch.no_grad():
            first = points.draw(settings.batch, torch.Generator().manual_seed(settings.seed + 3))[0][..., own:].flatten(0, 1)
        network.mean[own:] = first.mean(0)
        network.scale[own:] = 1 / torch.clamp(first.std(0), min=1e-3)
    network.last_bias.data[:] = y.mean(0) / scale
    # Errors of neighbouring energies add up in the density; the loss of each energy alone does not see them.
    integrals = settings.integral_weight / float((y / scale).unflatten(-1, apart).cumsum(-1).square().mean())
    descent = Descent(
        network.parameters(), settings.learning_rate, settings.weight_decay, lambda k: cosine_decay(k / settings.steps, FINAL_RATE)
    )
    started, total = time.process_time(), 0.0
    for step in range(settings.steps):
        features, pick, snapshot = points.draw(settings.batch, generator)
        weights = points.weights[pick] * shares[:, snapshot]
        difference = network(features) - y[pick] / scale
        summed = difference.unflatten(-1, apart).cumsum(-1).flatten(-2)
        loss = (weights.unsqueeze(-1) * (difference.square() + integrals * summed.square())).mean()
        total += descent.step(loss)
        if (step + 1) % 100 == 0:
            progress(NetworkStep("training", step + 1, settings.steps, total / 100, time.process_time() - started))
            total = 0.0
    with torch.no_grad():
        network.last.mul_(scale)
        network.last_bias.mul_(scale)
