"""Training of a policy of moves on random cells and a learned potential.

Cells, first weights and perturbations follow from the seed and the number of the update alone, and a checkpoint is written after each
update, so that a training that was killed and resumed ends with the same file.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.formula import parse_formula
from nucleate.errors import BadInput, NucleateError
from nucleate.generate.mixture import make_generator
from nucleate.generate.settings import GenerateSettings
from nucleate.persist.files import write_whole
from nucleate.persist.tensors import Whole, read_tensor_file
from nucleate.potentials.base import Potential, check_species
from nucleate.potentials.files import load_potential
from nucleate.progress import Event, Progress, Stage, silent
from nucleate.relax.batched import CommitteeSurface
from nucleate.relax.learned.evolution import evolution_gradient
from nucleate.relax.learned.files import Origin, as_json, save_policy
from nucleate.relax.learned.optimiser import LearnedMoves
from nucleate.relax.learned.policy import Policy
from nucleate.relax.learned.rollout import returns
from nucleate.relax.learned.settings import MoveSettings
from nucleate.relax.learned.unrolling import unrolled_gradient
from nucleate.relax.optimisers import Lbfgs

DECAY = (0.9, 0.99)
"""Decay of the first and second moment of the gradient, as in Adam (D. P. Kingma and J. Ba, arXiv:1412.6980)."""
LONGEST = 1.0
"""Largest norm of an unrolled gradient, beyond which it is shortened: a relaxation in a chaotic region has a gradient without use."""
KEY = "moves-training"


@dataclass(frozen=True)
class MovesUpdate(Event):
    """The weights of a policy were updated.

    Attributes:
        update: number of updates done.
        total: number of all updates.
        value: mean return of the policy on the cells of this update.
        validation: mean return on the validation cells, and that of L-BFGS; None: it was not computed at this update.
    """

    update: int
    total: int
    value: float
    validation: tuple[float, float] | None


class _Progress(BaseModel):
    """Header of a checkpoint."""

    model_config = ConfigDict(extra="forbid")

    version: Whole
    identity: str
    update: Whole
    origin: Origin


@dataclass
class _State:
    """Weights, moments of the gradient, best weights, all (1, n), and the number of updates done."""

    flat: Tensor
    first: Tensor
    second: Tensor
    best: Tensor
    update: int
    origin: Origin


def train_moves(
    model: Path | str, formulas: Sequence[str], out: Path | str, settings: MoveSettings | None = None, progress: Progress = silent
) -> Path:
    """Train a policy of moves; the same call resumes a training that was stopped or killed.

    The file contains the weights of the update with the largest mean return on validation cells, which are not those of the training. An
    untrained policy is L-BFGS and takes part, so that the policy is not worse than L-BFGS on these cells.

    Args:
        model: model file of the potential.
        formulas: formulas of the random cells, each with the exact number of atoms.
        out: policy file. The checkpoint is beside it, with `.checkpoint` added to its name, and is deleted at the end.
        settings: see `MoveSettings`.
        progress: called with a `MovesUpdate` after each update.

    Returns:
        Path of the policy file.

    Raises:
        BadInput: the potential or a formula cannot be read, the potential lacks an element, or the checkpoint belongs to another training.
        StorageFailed: a file could not be written.
    """
    settings = settings or MoveSettings()
    model, out = Path(model), Path(out)
    counts = [parse_formula(formula) for formula in formulas]
    if not counts:
        raise BadInput("a training of moves needs a formula; give one, such as Si8")
    if not out.resolve().parent.is_dir():
        raise BadInput(f"{out}: the folder does not exist; create it or choose another name")
    potential, _ = load_potential(model)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    identity = hashlib.sha256(f"{as_json(settings)} {list(formulas)} {digest}".encode()).hexdigest()[:16]
    checkpoint = out.with_name(out.name + ".checkpoint")
    if out.exists() and not checkpoint.exists():
        raise BadInput(f"{out}: exists; choose another name, or remove it")
    state = _resumed(checkpoint, identity, settings) if checkpoint.exists() else None
    progress(Stage(f"generating {settings.cells} cells of {', '.join(formulas)}"))
    cells = [_cells(each, settings.cells, settings.seed, k) for k, each in enumerate(counts)]
    for atoms in (each[0] for each in cells):
        check_species(potential.species, atoms.numbers.tolist())
    held = [_cells(each, settings.validation, settings.seed, 1000 + k) for k, each in enumerate(counts)]
    validation = CrystalBatch.from_atoms([atoms for part in held for atoms in part])
    flat = Policy.fresh(settings.policy, settings.seed).flat()
    baseline = _mean_return(Lbfgs(maxstep=settings.maxstep), validation, potential, settings)
    if state is None:
        value = _mean_return(LearnedMoves(Policy.from_flat(settings.policy, flat), settings.maxstep), validation, potential, settings)
        origin = Origin(
            potential=model.name, digest=digest, formulas=list(formulas), settings=as_json(settings), curve=[(0, value, baseline)],
            nucleate=version("nucleate"),
        )  # fmt: skip
        state = _State(flat, torch.zeros_like(flat), torch.zeros_like(flat), flat, 0, origin)
    while state.update < settings.updates:
        started = time.process_time()
        batch = _batch(cells, settings, state.update)
        value = _advance(state, batch, potential, settings)
        checked: tuple[float, float] | None = None
        if state.update % settings.validate_every == 0 or state.update == settings.updates:
            policy = LearnedMoves(Policy.from_flat(settings.policy, state.flat), settings.maxstep)
            checked = (_mean_return(policy, validation, potential, settings), baseline)
            if checked[0] > max(point[1] for point in state.origin.curve):
                state.best, state.origin.best = state.flat, state.update
            state.origin.curve.append((state.update, *checked))
        state.origin.cpu_seconds += time.process_time() - started
        _keep(checkpoint, identity, state)
        progress(MovesUpdate(state.update, settings.updates, value, checked))
    save_policy(out, Policy.from_flat(settings.policy, state.best), state.origin)
    checkpoint.unlink(missing_ok=True)
    return out


def _advance(state: _State, batch: CrystalBatch, potential: Potential, settings: MoveSettings) -> float:
    """Update the weights by one step of Adam uphill; return the mean return of the policy before it."""
    surface = CommitteeSurface(potential)
    if settings.method == "evolution":
        generator = torch.Generator().manual_seed(_seed(settings.seed, 2, state.update))
        gradient, value, _ = evolution_gradient(state.flat, batch, surface, settings, generator)
    else:
        gradient, value = unrolled_gradient(state.flat, batch, surface, settings)
        gradient = gradient * (LONGEST / gradient.norm().clamp_min(LONGEST))
    if not bool(torch.isfinite(gradient).all()):
        raise NucleateError("the training of moves diverged: a gradient is not a finite number; reduce the learning rate")
    state.update += 1
    state.first = DECAY[0] * state.first + (1 - DECAY[0]) * gradient
    state.second = DECAY[1] * state.second + (1 - DECAY[1]) * gradient**2
    mean = state.first / (1 - DECAY[0] ** state.update)
    square = state.second / (1 - DECAY[1] ** state.update)
    # The rate falls linearly to a tenth.
    rate = settings.rate * (1 - 0.9 * (state.update - 1) / max(settings.updates - 1, 1))
    state.flat = state.flat + rate * mean / (square.sqrt() + 1e-8)
    return value


def _mean_return(optimiser: Lbfgs | LearnedMoves, batch: CrystalBatch, potential: Potential, settings: MoveSettings) -> float:
    values, _ = returns(optimiser, batch, CommitteeSurface(potential), settings)
    return float(values.mean())


def _seed(*parts: int) -> int:
    """Return a seed that follows from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _cells(counts: dict[str, int], number: int, seed: int, part: int) -> list[Atoms]:
    """Return random cells."""
    generator = make_generator(counts, GenerateSettings(workers=1))
    return [candidate.atoms for candidate in generator.propose(number, np.random.default_rng(_seed(seed, 1, part)))]


def _batch(cells: Sequence[Sequence[Atoms]], settings: MoveSettings, update: int) -> CrystalBatch:
    """Return the cells of an update, in equal parts of all formulas."""
    rng = np.random.default_rng(_seed(settings.seed, 3, update))
    places = [(k % len(cells), int(rng.integers(settings.cells))) for k in range(settings.batch)]
    return CrystalBatch.from_atoms([cells[formula][place] for formula, place in places])


def _keep(path: Path, identity: str, state: _State) -> None:
    """Write the checkpoint."""
    header = _Progress(version=1, identity=identity, update=state.update, origin=state.origin)
    tensors = {name: getattr(state, name).contiguous().clone() for name in ("flat", "first", "second", "best")}
    write_whole(path, save(tensors, metadata={KEY: header.model_dump_json()}))


def _resumed(path: Path, identity: str, settings: MoveSettings) -> _State:
    """Return the state of a checkpoint."""
    file = read_tensor_file(path, "checkpoint of a training of moves")
    header = file.header(KEY, 1, _Progress)
    if header.identity != identity:
        raise BadInput(f"{path}: belongs to a training with other settings, formulas or potential; repeat its command, or remove it")
    shape = tuple(Policy.fresh(settings.policy, 0).flat().shape)
    file.check({name: (shape, torch.float64) for name in ("flat", "first", "second", "best")})
    tensors = file.tensors
    return _State(tensors["flat"], tensors["first"], tensors["second"], tensors["best"], header.update, header.origin)
