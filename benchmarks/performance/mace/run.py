"""Training and inference cost of nucleate's many-body potential against MACE `16x0e` (two layers) on DFT labels, one thread.

    python3.11 -m venv mace-venv; mace-venv/bin/pip install torch mace-torch -e .     # e3nn 0.4.4: cannot stand beside sevenn
    OMP_NUM_THREADS=1 mace-venv/bin/python benchmarks/performance/mace/run.py --data runs/si-dft.extxyz --seeds 0 1 2 --max-force 5

Training: groups of similar structures, 20 %, are held back. nucleate trains as `nucleate train` does, with one member and with
four, for each number of steps; MACE with its command line's parts and defaults (Adam with AMSGrad, 0.01, batches of 10, weights 1
and 100 of energy and forces), running average and E0s by least squares, for each budget of CPU-seconds. Every training has a
whole cosine. A curve is the force error of the averaged weights on what is held back against seconds of training; evaluations,
preparing the data and building the model are left out, on both sides. How soon a side reaches an error is read off the ends of its
trainings, and off any point of their curves, which favours the curve that jumps more. A few structures with large forces decide
the RMSE: the MAE stands beside it, and --max-force leaves such structures out of everything.

Inference: energy, forces and stress of 100 structures of the file and of their doubled cells, structures a CPU-second, with
neighbours found anew and with neighbours given; for each side the best of three sizes of batches, structures at once.

Finished parts are kept in --out: the same call goes on there. `--mace` takes options of `mace_run_train`, as
--mace="--energy_weight 10" (better energies and forces than its defaults on silicon), `--nucleate` settings of a training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from mace import data as mace_data
from mace import modules, tools
from mace.tools import scripts_utils
from mace.tools.model_script_utils import configure_model
from mace.tools.torch_geometric.dataloader import DataLoader
from mace.tools.train import take_step
from torch_ema import ExponentialMovingAverage

from nucleate.crystals import CrystalBatch, neighbour_edges
from nucleate.potentials.families import family_settings
from nucleate.potentials.registry import make_model
from nucleate.progress import Event
from nucleate.training.data import read_data
from nucleate.training.events import Evaluated, TrainingStarted
from nucleate.training.labelled import LabelledStructure
from nucleate.training.run import fit
from nucleate.training.splits import groups, split

SIDES = {"nucleate, 1 member": 1, "nucleate, 4 members": 4, "MACE": 0}
DEFAULTS = "--name speed --hidden_irreps 16x0e --num_interactions 2 --E0s average --ema --default_dtype float32"
POINTS = 10
"""Evaluations of a training."""
FINAL_RATE = 0.01
"""Learning rate at the end of MACE's cosine, relative to its start: nucleate's default."""
AT_ONCE = (10, 25, 100)
ERRORS = ("force_rmse", "force_mae", "energy_rmse")

Point = dict[str, float]


def now(device: str) -> float:
    """CPU-seconds; with a GPU seconds, its work waited for."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def train_nucleate(
    train: list[LabelledStructure], held: list[LabelledStructure], members: int, options: str, steps: int, seed: int, device: str
) -> dict[str, Any]:
    """A training of so many steps, the rest by default or from `options`."""
    points: list[Point] = []
    last = 0.0
    said: dict[str, Any] = {"apart": 0.0}

    def clock(event: Event) -> None:
        nonlocal last
        here = now(device)
        if isinstance(event, TrainingStarted):
            said.update(start=here, weights=event.parameters)
        elif isinstance(event, Evaluated) and event.validation is not None:
            # The previous event ended a step: the time since then was spent on the evaluation.
            said["apart"] += here - last
            errors = event.validation
            points.append({"seconds": here - said["start"] - said["apart"], **{key: errors[key] for key in ERRORS}})
        last = now(device)

    every = max(1, steps // POINTS)
    settings = {"options": {"members": members}, "seed": seed, "steps": steps, "evaluate_every": every, "checkpoint_every": steps}
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / "train.extxyz", Path(name) / "held.extxyz"]
        for file, items in zip(files, (train, held), strict=True):
            ase.io.write(file, [labelled(item) for item in items])
        begun = now(device)
        fit(files[0], Path(name) / "fit", settings | json.loads(options) | {"device": device}, validation=files[1], progress=clock)
    return {"points": points, "prepare": said["start"] - begun, "weights": said["weights"], "steps": steps}


def labelled(item: LabelledStructure) -> Atoms:
    atoms = item.atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=item.energy, forces=item.forces, stress=item.stress)
    return atoms


def graphs(frames: Sequence[Atoms], args: argparse.Namespace, labels: Sequence[LabelledStructure] | None = None) -> list[Any]:
    """MACE's form of structures, their neighbours found."""
    table = tools.AtomicNumberTable(args.species)
    said = []
    for k, atoms in enumerate(frames):
        named = {} if labels is None else {"energy": labels[k].energy, "forces": labels[k].forces}
        config = mace_data.Configuration(atoms.numbers, atoms.positions, named, dict.fromkeys(named, 1.0), atoms.cell.array, (True,) * 3)
        said.append(mace_data.AtomicData.from_config(config, z_table=table, cutoff=args.r_max))
    return said


def make_mace(train: list[LabelledStructure], options: str, seed: int) -> tuple[Any, dict[str, bool], argparse.Namespace, DataLoader]:
    """MACE's model as its command line builds it for these data, with its data loader."""
    args = tools.build_default_arg_parser().parse_args([*DEFAULTS.split(), *options.split()])
    args.species = sorted({int(z) for item in train for z in item.atoms.numbers})
    args.compute_energy, args.compute_dipole, args.compute_polarizability = True, False, False
    tools.set_seeds(seed)
    tools.set_default_dtype(args.default_dtype)
    loader = DataLoader(graphs([item.atoms for item in train], args, train), batch_size=args.batch_size, shuffle=True, drop_last=False)
    # Least squares with one unknown each element, as `--E0s average`.
    counts = np.array([[np.count_nonzero(item.atoms.numbers == z) for z in args.species] for item in train])
    free = np.linalg.lstsq(counts, np.array([item.energy for item in train]), rcond=None)[0]
    args.avg_num_neighbors = modules.compute_avg_num_neighbors(loader)
    table = tools.AtomicNumberTable(args.species)
    model, outputs = configure_model(args, loader, np.atleast_2d(free), heads=["Default"], z_table=table)
    return model, outputs, args, loader


def train_mace(
    train: list[LabelledStructure], held: list[LabelledStructure], options: str, budget: float, seed: int, device: str, save: Path | None
) -> dict[str, Any]:
    """A training of so many seconds, by its command line's parts, with a cosine in place of waiting for a plateau."""
    begun = now(device)
    model, outputs, args, loader = make_mace(train, options, seed)
    model.to(device)
    tests = DataLoader(graphs([item.atoms for item in held], args, held), batch_size=args.valid_batch_size, shuffle=False, drop_last=False)
    loss = scripts_utils.get_loss_fn(args, dipole_only=False, compute_dipole=False).to(device)
    optimiser = scripts_utils.get_optimizer(args, scripts_utils.get_params_options(args, model))
    average = ExponentialMovingAverage(model.parameters(), decay=args.ema_decay)
    points: list[Point] = []
    prepare, spent, steps = now(device) - begun, 0.0, 0

    def evaluate() -> None:
        force, energy = [], []
        with average.average_parameters():
            for batch in tests:
                batch = batch.to(device)
                found = model(batch.to_dict(), training=False, compute_force=True)
                force.append((found["forces"] - batch.forces).detach().flatten())
                energy.append(((found["energy"] - batch.energy) / batch.ptr.diff()).detach())
        forces, energies = torch.cat(force).double(), torch.cat(energy).double()
        errors = (forces.square().mean().sqrt(), forces.abs().mean(), energies.square().mean().sqrt())
        points.append({"seconds": spent, **{key: float(error) for key, error in zip(ERRORS, errors, strict=True)}})

    evaluate()
    while spent < budget:
        batches = iter(loader)
        while spent < budget:
            started = now(device)
            batch = next(batches, None)
            if batch is None:
                break
            factor = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * spent / budget))
            for group in optimiser.param_groups:
                group["lr"] = args.lr * factor
            take_step(model, loss, batch, optimiser, average, outputs, args.clip_grad, device)
            spent += now(device) - started
            steps += 1
            if spent >= budget * len(points) / POINTS:
                evaluate()
    if save is not None:
        with average.average_parameters():
            torch.save(model.to("cpu"), save)
    return {"points": points, "prepare": prepare, "weights": sum(p.numel() for p in model.parameters()), "steps": steps}


def ask_nucleate(members: int, frames: list[Atoms], anew: bool, size: int, device: str) -> Callable[[], None]:
    """Energy, forces and stress of every member, `size` structures at once."""
    species = tuple(sorted({int(z) for atoms in frames for z in atoms.numbers}))
    model = make_model("manybody", species, family_settings("manybody", {"members": members}), 0, torch.float32).to(device)
    model.requires_grad_(False)
    parts = [frames[first : first + size] for first in range(0, len(frames), size)]

    def prepare(part: list[Atoms]) -> tuple[CrystalBatch, Any]:
        batch = CrystalBatch.from_atoms(part, device=device)
        return batch, neighbour_edges(batch, model.cutoff)

    given = [prepare(part) for part in parts]

    def call() -> None:
        for k, part in enumerate(parts):
            model.energy_forces_stress(*(prepare(part) if anew else given[k]))

    return call


def ask_mace(data: list[LabelledStructure], options: str, frames: list[Atoms], anew: bool, size: int, device: str) -> Callable[[], None]:
    """The same of MACE, with its neighbour list and data loader."""
    model, _, args, _ = make_mace(data, options, 0)
    model.to(device).requires_grad_(False)
    given = list(DataLoader(graphs(frames, args), batch_size=size, shuffle=False, drop_last=False))

    def call() -> None:
        for batch in DataLoader(graphs(frames, args), batch_size=size, shuffle=False, drop_last=False) if anew else given:
            model(batch.to(device).to_dict(), training=False, compute_force=True, compute_stress=True)

    return call


def rate(call: Callable[[], None], structures: int, repeats: int, device: str) -> list[float]:
    """Structures a second, each repeat; two calls to warm up: TorchScript optimises in the second."""
    call()
    call()
    found = []
    for _ in range(repeats):
        started, calls = now(device), 0
        while now(device) - started < 2.0:
            call()
            calls += 1
        found.append(structures * calls / (now(device) - started))
    return found


def inference(data: list[LabelledStructure], options: str, repeats: int, device: str) -> list[dict[str, Any]]:
    single = [data[k % len(data)].atoms for k in range(100)]
    rows = []
    for frames in (single, [atoms.repeat((2, 1, 1)) for atoms in single]):
        for anew in (True, False):
            row: dict[str, Any] = {"atoms": float(np.mean([len(atoms) for atoms in frames])), "neighbours": "anew" if anew else "given"}
            for side, members in SIDES.items():
                rates = []
                for size in AT_ONCE:
                    mine = (frames, anew, size, device)
                    call = ask_nucleate(members, *mine) if members else ask_mace(data, options, *mine)
                    rates.append(rate(call, len(frames), repeats, device))
                best = max(rates, key=median)
                row[side] = [median(best), min(best), max(best)]
            rows.append(row)
    return rows


def reached(runs: list[dict[str, Any]], key: str, level: float, ends: bool) -> float | None:
    """Seconds until this error, at the end of a training or at any point of one."""
    points = [p for run in runs for p in (run["points"][-1:] if ends else run["points"][1:])]
    return min((p["seconds"] for p in points if p[key] <= level), default=None)


def spread(values: Sequence[float | None], digits: int = 3) -> str:
    """Median and range; the number of seeds where some did not get there."""
    there = [value for value in values if value is not None]
    if not there:
        return "not reached"
    text = f"{median(there):.{digits}g}" + (f" ({min(there):.{digits}g}-{max(there):.{digits}g})" if len(there) > 1 else "")
    return text if len(there) == len(values) else f"{text}; {len(there)} of {len(values)} seeds"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows]) + "\n"


def report(done: dict[str, Any], prefix: str, budgets: dict[str, list[float]], seeds: list[int]) -> None:
    """Final errors, levels and when they are reached, inference."""

    def runs(side: str, seed: int) -> list[dict[str, Any]]:
        return [done[f"{prefix}|{side}|{budget}|{seed}"] for budget in budgets[side]]

    rows = []
    for side in SIDES:
        for k, budget in enumerate(budgets[side]):
            some = [runs(side, seed)[k] for seed in seeds]
            ends = [run["points"][-1] for run in some]
            steps = median(run["steps"] for run in some)
            what = [f"{budget:g} " + ("steps" if SIDES[side] else "s"), str(some[0]["weights"]), f"{steps:g}"]
            said = [spread([end[key] for end in ends]) for key in ("seconds", *ERRORS)]
            rows.append([side, *what, *said, spread([run["prepare"] for run in some], 2)])
    head = ["side", "budget", "weights", "steps", "seconds", "force RMSE, eV/Å", "force MAE", "energy RMSE, eV/atom", "preparing, s"]
    print(table(head, rows))
    rows = []
    for key in ERRORS[:2]:
        for ends, aim in product((True, False), SIDES):
            levels = [runs(aim, seed)[-1]["points"][-1][key] for seed in seeds]
            when = {
                side: [reached(runs(side, seed), key, level, ends) for seed, level in zip(seeds, levels, strict=True)] for side in SIDES
            }
            ratios = []
            for ours in list(SIDES)[:2]:
                pairs = zip(when["MACE"], when[ours], strict=True)
                ratios.append(spread([None if a is None or b is None else a / b for a, b in pairs]))
            goal = [f"{aim}: {key[6:].upper()} {spread(levels)} eV/Å", "end" if ends else "any point"]
            rows.append([*goal, *(spread(when[side]) for side in SIDES), *ratios])
    head = ["seconds until the force error of the longest training of", "at", *SIDES, "MACE / 1 member", "MACE / 4 members"]
    print(table(head, rows))
    rows = []
    for row in done[f"{prefix}|inference"]:
        one, four, mace = (row[side] for side in SIDES)
        figures = [f"{middle:.4g} ({low:.4g}-{high:.4g})" for middle, low, high in (one, four, mace)]
        ratios = [f"{one[0] / mace[0]:.2f}", f"{four[0] / mace[0]:.2f}", f"{one[0] / four[0]:.2f}"]
        rows.append([f"{row['atoms']:g}", row["neighbours"], *figures, *ratios])
    print(table(["atoms", "neighbours", *SIDES, "1 member / MACE", "4 members / MACE", "cost of 4 members / 1"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/si-dft.extxyz"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of split, weights and minibatches")
    parser.add_argument("--max-force", type=float, default=math.inf, help="eV/Å, largest component of a structure that is taken")
    parser.add_argument("--budgets", type=float, nargs="+", default=[30, 100, 300], help="seconds of MACE's trainings")
    parser.add_argument("--steps", type=float, nargs="+", default=[250, 500, 1000, 2000], help="of nucleate's trainings")
    parser.add_argument("--repeats", type=int, default=5, help="of the inference")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--nucleate", default="{}", help="settings of a training, JSON")
    parser.add_argument("--mace", default="", help="options of mace_run_train")
    parser.add_argument("--save", type=Path, help="where to keep MACE's last model")
    parser.add_argument("--out", type=Path, default=Path("runs/mace-speed.json"))
    a = parser.parse_args()
    # TorchScript warns of every module of e3nn.
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    data = [item for item in read_data(a.data) if np.abs(item.forces).max() <= a.max_force]
    digest = hashlib.sha256(a.data.read_bytes()).hexdigest()[:12]
    done: dict[str, Any] = json.loads(a.out.read_text(encoding="utf-8")) if a.out.exists() else {}
    prefix = f"{a.data.name} {digest}|{a.max_force:g}|{a.device}|{a.nucleate}|{a.mace}"
    budgets = {side: sorted(a.steps if members else a.budgets) for side, members in SIDES.items()}
    group, words = groups(data, "similarity")

    def keep(key: str, found: Any) -> None:
        done[key] = found
        a.out.parent.mkdir(parents=True, exist_ok=True)
        part = a.out.with_name(a.out.name + ".part")
        part.write_text(json.dumps(done, indent=1), encoding="utf-8")
        part.replace(a.out)

    for seed in a.seeds:
        chosen = split(group, 0.2, seed)
        train, held = ([data[k] for k in indices] for indices in chosen)
        print(f"seed {seed}: {len(train)} trained on, {len(held)} held back, by {words}", flush=True)
        for side, members in SIDES.items():
            for budget in budgets[side]:
                key = f"{prefix}|{side}|{budget}|{seed}"
                if key not in done and members:
                    keep(key, train_nucleate(train, held, members, a.nucleate, int(budget), seed, a.device))
                elif key not in done:
                    keep(key, train_mace(train, held, a.mace, budget, seed, a.device, a.save))
    if f"{prefix}|inference" not in done:
        keep(f"{prefix}|inference", inference(data, a.mace, a.repeats, a.device))
    print()
    report(done, prefix, budgets, a.seeds)


if __name__ == "__main__":
    main()
