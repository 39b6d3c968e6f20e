"""Training: points of the snapshots' grids, the network on them, then its last layer once more in closed form on every point.

Points are drawn with probability p(r) ~ 1/2 + |d(r)| / (2 <|d|>), so that rare, dense places are learned and none is left out, and weighed
by 1/p: the loss is that of the whole grid. The last layer is linear: with all else fixed, the best one in least squares over all points
*and* over the densities of states of whole cells (whose errors add up in the band energy) solves normal equations, accumulated in one pass
over the grids.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from nucleate.electrons.data.ground_state import Snapshot, check_engine
from nucleate.electrons.data.store import make_folder, read_snapshot, snapshot_paths
from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.fermi_level import fermi_level
from nucleate.electrons.model.blocks import block_indices, surroundings
from nucleate.electrons.model.model import ElectronModel, make_descriptor
from nucleate.electrons.model.network import LdosNetwork
from nucleate.electrons.model.prediction import predict, weigher
from nucleate.electrons.model.slabs import Field as Points
from nucleate.electrons.model.slabs import batches
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput
from nucleate.persist.files import append_line

OnEvent = Callable[[str, dict[str, Any]], None]


class ElectronTraining(BaseModel):
    """How a model of electrons is trained."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    descriptor: dict[str, Any] = Field(default_factory=lambda: {"name": "power"}, description="Name and options: power or bispectrum.")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field((256, 128), description="Widths of the hidden layers.")
    members: int = Field(2, ge=1, description="Of the committee.")
    points: int = Field(3000, ge=10, description="Points of the grid drawn from each snapshot.")
    steps: int = Field(3000, ge=1, description="Steps of AdamW.")
    batch: int = Field(512, ge=1, description="Points a step.")
    learning_rate: float = Field(2e-3, gt=0, description="At the start of the cosine.")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's.")
    validation: float = Field(0.2, ge=0, le=0.5, description="Share of the snapshots held back.")
    refit: bool = Field(True, description="Solve the last layer in closed form at the end.")
    dos_weight: float = Field(
        30.0, ge=0, description="Of each cell's density of states in that solution, relative to all points of the cell together."
    )
    ridge: float = Field(1e-7, ge=0, description="Relative to the largest curvature of that solution.")
    seed: int = Field(0, ge=0, description="Of weights, points and the committee's shares.")
    threads: int = Field(1, ge=1, description="Threads.")


@dataclass(frozen=True)
class Errors:
    """Of a model on a snapshot.

    Attributes:
        name: folder and number of the snapshot.
        ldos: root mean square over grid and energies, relative to that of the target.
        density: integral of |n - n_DFT| over the electrons, %.
        dos: integral of |D - D_DFT| over that of D_DFT, %.
        band: of the band energy, meV/atom.
        free: of the free energy, meV/atom; NaN where the engine's is unknown.
        predicted_free: eV/atom.
        true_free: eV/atom.
        sigma_band: spread of the committee, meV/atom.
    """

    name: str
    ldos: float
    density: float
    dos: float
    band: float
    free: float
    predicted_free: float
    true_free: float
    sigma_band: float


def train(
    data: list[Path], out: Path, settings: ElectronTraining, progress: OnEvent = lambda kind, facts: None
) -> tuple[ElectronModel, dict[str, list[Errors]]]:
    """Train a model and judge it on the snapshots held back.

    Args:
        data: folders of snapshots, or single ones.
        out: folder for model.safetensors and events.jsonl.
        settings: how.
        told: hears of `sampled`, `progress`, `refit`, `evaluated`.

    Raises:
        BadInput: snapshots that do not fit together.
    """
    torch.set_num_threads(settings.threads)
    make_folder(out)
    paths = [path for folder in data for path in snapshot_paths(folder)]
    parts = split(data, settings)
    started = time.process_time()

    def note(kind: str, facts: dict[str, Any]) -> None:
        append_line(out / "events.jsonl", {"event": kind, **facts})
        progress(kind, facts)

    heads = [read_snapshot(path, ldos=False) for path in paths]
    check_together(paths, heads)
    ions = {symbol: ion for head in heads for symbol, ion in head.ions.items()}
    ions = dict(sorted(ions.items(), key=lambda item: atomic_numbers[item[0]]))
    descriptor = make_descriptor({"name": "power", **settings.descriptor, "n_species": len(ions)})
    spacing = float(np.mean([np.linalg.norm(h.atoms.cell.array, axis=1) / np.array(h.ldos.shape[:3]) for h in heads]))
    network = LdosNetwork(descriptor.features, len(heads[0].energies), settings.hidden, settings.members, settings.seed)
    model = ElectronModel(descriptor, network, heads[0].energies, heads[0].sigma, ions, spacing, heads[0].engine, {})
    rng = np.random.default_rng(settings.seed)
    drawn = [_draw(model, read_snapshot(path), settings.points, rng) for path in parts["training"]]
    note("sampled", {"snapshots": len(drawn), "points": sum(len(d[0]) for d in drawn), "cpu_seconds": time.process_time() - started})
    shares = _shares(settings, len(drawn))
    _fit(network, drawn, shares, settings, note)
    network.requires_grad_(False)
    if settings.refit:
        _refit(model, parts["training"], shares, settings)
        note("refit", {"cpu_seconds": time.process_time() - started})
    trained = time.process_time() - started
    errors = {"validation": [errors_on(model, read_snapshot(path), name=snapshot_name(path)) for path in parts["validation"]]}
    model.facts = {
        "temperature": float(np.median([head.temperature for head in heads])),
        "cpu_seconds": trained,
        "snapshots": {name: [str(path) for path in found] for name, found in parts.items()},
        "errors": {name: [vars(e) for e in found] for name, found in errors.items()},
        "settings": json.loads(settings.model_dump_json()),
    }
    model.save(out / "model.safetensors")
    note("evaluated", {"errors": model.facts["errors"], "cpu_seconds": trained})
    return model, errors


def split(data: list[Path], settings: ElectronTraining) -> dict[str, list[Path]]:
    """Snapshots of each folder: the last ones are held back, so that the dynamics between lies between training and validation."""
    parts: dict[str, list[Path]] = {"training": [], "validation": []}
    for folder in data:
        found = snapshot_paths(folder)
        kept = len(found) - int(settings.validation * len(found) + 0.5) if len(found) > 1 else len(found)
        parts["training"] += found[: max(1, kept)]
        parts["validation"] += found[max(1, kept) :]
    return parts


def snapshot_name(path: Path) -> str:
    """Folder of data and number, as `al/0003`."""
    return f"{path.absolute().parents[1].name}/{path.stem}"


def check_together(paths: list[Path], heads: list[Snapshot]) -> None:
    """Raise `BadInput` unless the snapshots share energies, smearing and everything that decides the electrons."""
    first, ions = heads[0], dict[str, Ion]()
    for path, head in zip(paths, heads, strict=True):
        _check(f"{path}: does not go with {paths[0]}:", head, first.energies, first.sigma, first.engine)
        for symbol, ion in head.ions.items():
            if ions.setdefault(symbol, ion) != ion:
                raise BadInput(f"{path}: does not go with those before it: the ion of {symbol} is {ion}, not {ions[symbol]}")


def check_model(model: ElectronModel, snapshot: Snapshot, path: Path) -> None:
    """Raise `BadInput` unless a model was trained on such electrons: the same energies, functional, pseudopotential, cutoff."""
    _check(f"{path}: does not go with the model:", snapshot, model.energies, model.sigma, model.engine)


def _check(where: str, snapshot: Snapshot, energies: np.ndarray, sigma: float, engine: dict[str, Any]) -> None:
    own = snapshot.energies
    if len(own) != len(energies) or not np.allclose(own, energies, atol=1e-6):
        raise BadInput(
            f"{where} its energies are {len(own)} from {own[0]:g} eV, not {len(energies)} from {energies[0]:g} eV; "
            "sample both with the same low, high and spacing"
        )
    if snapshot.sigma != sigma:
        raise BadInput(f"{where} levels are drawn {snapshot.sigma:g} eV wide, not {sigma:g}")
    check_engine(where, snapshot.engine, engine)


def _draw(model: ElectronModel, snapshot: Snapshot, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Features, targets and weights of drawn points."""
    shape = snapshot.ldos.shape
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (shape[0], shape[1], shape[2]))
    flat = snapshot.ldos.reshape(-1, shape[3])
    size = np.linalg.norm(flat, axis=1)
    chance = 0.5 + 0.5 * size / size.mean()
    chance /= chance.sum()
    # With replacement: only then is 1/p the weight that makes the loss the whole grid's.
    chosen = np.sort(rng.choice(len(flat), count, p=chance))
    points = Points.of(model, snapshot.atoms, grid.shape)
    # Neighbours in the numbering are neighbours in space along one axis alone: groups of sixteen, or fewer at the end.
    groups = [chosen[k : k + 16] for k in range(0, len(chosen), 16)]
    features = []
    with torch.no_grad():
        for group in batches(groups, 512):
            near = surroundings(group, grid, points.positions, points.species, points.around, model.descriptor.cutoff, torch.float32)
            features.append((group.flatten(), model.descriptor(*near).flatten(0, 1)))
    order = torch.cat([index for index, _ in features])
    weights = torch.tensor(1 / (chance[order.numpy()] * len(flat)), dtype=torch.float32)
    return torch.cat([f for _, f in features]), torch.tensor(flat[order.numpy()]), weights


def _shares(settings: ElectronTraining, snapshots: int) -> Tensor:
    """(members, snapshots): each member of a committee weighs the snapshots in its own way; a single one weighs them alike."""
    shares = torch.ones(settings.members, snapshots)
    if settings.members > 1:
        shares.exponential_(generator=torch.Generator().manual_seed(settings.seed + 2))
        shares /= shares.mean(1, keepdim=True)
    return shares


def _fit(
    network: LdosNetwork, drawn: list[tuple[Tensor, Tensor, Tensor]], shares: Tensor, settings: ElectronTraining, note: OnEvent
) -> None:
    x, y, w = (torch.cat([part[k] for part in drawn]) for k in range(3))
    network.mean.copy_(x.mean(0))
    spread = x.std(0)
    network.scale.copy_(1 / torch.clamp(spread, min=1e-4 * float(spread.max())))
    scale = float(y.square().mean().sqrt())
    snapshot = torch.repeat_interleave(torch.arange(len(drawn)), torch.tensor([len(part[0]) for part in drawn]))
    generator = torch.Generator().manual_seed(settings.seed + 1)
    network.last_bias.data[:] = y.mean(0) / scale
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps, 0.01 * settings.learning_rate)
    started, total = time.process_time(), 0.0
    for step in range(settings.steps):
        pick = torch.randint(len(x), (settings.batch,), generator=generator)
        weights = w[pick] * shares[:, snapshot[pick]]
        difference = network(x[pick]) - y[pick] / scale
        loss = (weights.unsqueeze(-1) * difference.square()).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        total += float(loss.detach())
        if not np.isfinite(total):
            raise BadInput(f"the training diverged at step {step + 1}; lower learning_rate ({settings.learning_rate:g})")
        if (step + 1) % 100 == 0:
            note("progress", {"step": step + 1, "total": settings.steps, "loss": total / 100, "cpu_seconds": time.process_time() - started})
            total = 0.0
    with torch.no_grad():
        network.last.mul_(scale)
        network.last_bias.mul_(scale)


def _refit(model: ElectronModel, paths: list[Path], shares: Tensor, settings: ElectronTraining) -> None:
    """The last layer of every member in closed form."""
    network = model.network
    width, outputs = network.last.shape[1], network.last.shape[2]
    left = torch.zeros(network.members, width + 1, width + 1, dtype=torch.float64)
    right = torch.zeros(network.members, width + 1, outputs, dtype=torch.float64)
    for number, path in enumerate(paths):
        snapshot, own = read_snapshot(path), shares[:, number].double()[:, None, None]
        shape = snapshot.ldos.shape
        grid = Grid(torch.tensor(snapshot.atoms.cell.array), (shape[0], shape[1], shape[2]))
        points = Points.of(model, snapshot.atoms, grid.shape)
        flat = torch.tensor(snapshot.ldos.reshape(-1, shape[3]))
        sums = torch.zeros(network.members, width + 1, dtype=torch.float64)
        with torch.no_grad():
            for index in batches(block_indices(grid.shape)):
                h = network.hidden(points.features(index))
                h = torch.nn.functional.pad(h, (0, 1), value=1.0)
                target = flat[index.flatten()]
                left += own * torch.bmm(h.transpose(1, 2), h).double() / grid.size
                right += own * torch.matmul(h.transpose(1, 2), target).double() / grid.size
                sums += h.sum(1, dtype=torch.float64) / grid.size
        mean = flat.mean(0, dtype=torch.float64)
        # The mean of d over the cell is its density of states: one more row, that weighs as much as all points together.
        left += own * settings.dos_weight * torch.einsum("mi,mj->mij", sums, sums)
        right += own * settings.dos_weight * torch.einsum("mi,e->mie", sums, mean)
    ridge = settings.ridge * left.diagonal(dim1=1, dim2=2).amax(1)
    left += ridge[:, None, None] * torch.eye(width + 1, dtype=torch.float64)
    solution = torch.linalg.solve(left, right)
    network.last.copy_(solution[:, :-1])
    network.last_bias.copy_(solution[:, -1])


def errors_on(model: ElectronModel, snapshot: Snapshot, overlap: bool = True, name: str = "") -> Errors:
    """Errors of a model on a snapshot, on its own grid and at its own temperature."""
    shape = snapshot.ldos.shape
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (shape[0], shape[1], shape[2]))
    found = predict(model, snapshot.atoms, snapshot.temperature, shape=grid.shape, overlap=overlap)
    atoms, voxel = len(snapshot.atoms), float(grid.voxel)
    points = Points.of(model, snapshot.atoms, grid.shape)
    flat = torch.tensor(snapshot.ldos.reshape(-1, shape[3]))
    squared = 0.0
    with torch.no_grad():
        for index in batches(block_indices(grid.shape)):
            squared += float((model.network(points.features(index)).mean(0) - flat[index.flatten()]).square().sum(dtype=torch.float64))
    dos = flat.sum(0, dtype=torch.float64) * voxel
    weigh = weigher(found.levels.energies, model.sigma, snapshot.temperature)
    mu = fermi_level(found.levels.energies, dos, snapshot.electrons, weigh, near=float(found.levels.mu))
    weights = weigh(mu)
    exact = (flat @ weights.number.float()).double() if snapshot.density is None else torch.tensor(snapshot.density.reshape(-1))
    band = snapshot.terms.get("band", float(weights.energy @ dos))
    true = snapshot.terms.get("free", float("nan"))
    return Errors(
        name=name,
        ldos=(squared / float(flat.square().sum(dtype=torch.float64))) ** 0.5,
        density=100 * float((found.density.flatten() - exact).abs().sum() / exact.sum()),
        dos=100 * float((found.levels.dos - dos).abs().sum() / dos.abs().sum()),
        band=1e3 * (float(found.levels.band) - band) / atoms,
        free=1e3 * (float(found.terms.free) - true) / atoms,
        predicted_free=float(found.terms.free) / atoms,
        true_free=true / atoms,
        sigma_band=1e3 * found.sigma_band,
    )
