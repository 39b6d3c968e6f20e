"""Networks of wave functions and densities in time, beside Crank-Nicolson.

    OMP_NUM_THREADS=1 python benchmarks/onedim/packet/run.py

Oscillator: the wave packet of two states, known on |x| < pi/4, continued to |x| < pi. Data alone, the residual of the public notebook of
K. Shah et al. (arXiv:2210.12522), and the residual of the Schrödinger equation, at equal steps of Adam. Orbitals: one and two
time-dependent Kohn-Sham orbitals in a laser pulse, against Crank-Nicolson with the same functional on the same grid. Propagator: an
operator network that continues densities of dimers in pulses, on new dimers and pulses. Finished rows are kept, and the same command
goes on.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nucleate.benchmark.result_file import ResultFile
from nucleate.onedim.api import functional_of
from nucleate.onedim.grid import Grid
from nucleate.onedim.kohn_sham import self_consistent
from nucleate.onedim.operator.propagator import random_trajectories, roll_out, train_propagator
from nucleate.onedim.packet.orbitals import OrbitalNetwork, OrbitalTraining, train_orbitals
from nucleate.onedim.packet.oscillator import PERIOD, WALL, PacketTraining, packet, packet_errors, train_packet
from nucleate.onedim.propagation import Pulse, crank_nicolson, propagate_orbitals
from nucleate.onedim.wells import Well, soft_coulomb

STEPS = 10_000
VARIANTS: dict[str, PacketTraining] = {
    "data alone": PacketTraining(residual="none", width=20, steps=STEPS),
    "notebook's residual": PacketTraining(residual="notebook", steps=STEPS),
    "notebook's residual, weight 1e-2": PacketTraining(residual="notebook", weight=1e-2, steps=STEPS),
    "Schrödinger": PacketTraining(steps=STEPS),
    "Schrödinger, weight 1e-2": PacketTraining(weight=1e-2, steps=STEPS),
}
HIGHER: dict[str, PacketTraining] = {
    "Schrödinger, weight 1e-2": PacketTraining((1, 3), weight=1e-2, steps=STEPS),
    "Schrödinger, weight 1e-2, causal": PacketTraining((1, 3), weight=1e-2, steps=STEPS, causal=1.0),
}
PUBLISHED = {"data alone": (0.280, 0.475, 3.69), "notebook's residual": (5.2e-3, 4.3e-3, 1.1e-3)}
"""Mean squared errors of the notebook's output, one seed."""
PULSE = Pulse(0.05, 0.5, 1.0)
HALF, POINTS, TIME_STEP = 9.0, 73, 0.05
SYSTEMS = {1: ([2.0], [0.0]), 2: ([2.0, 2.0], [-1.0, 1.0])}
"""Charges and positions by the number of orbitals."""


def oscillator(result: ResultFile, seeds: int, states: tuple[int, int], variants: dict[str, PacketTraining]) -> None:
    for seed in range(seeds):
        for name, settings in variants.items():
            if result.find(task="oscillator", states=list(states), variant=name, seed=seed) is None:
                start = time.process_time()
                model = train_packet(settings, seed)
                seconds = time.process_time() - start
                errors = packet_errors(model, states)
                result.add(
                    task="oscillator", states=list(states), variant=name, seed=seed, real=errors.real, imaginary=errors.imaginary,
                    density=errors.density, residual=errors.residual, cpu=round(seconds, 1),
                )  # fmt: skip


def solver(result: ResultFile) -> None:
    """Crank-Nicolson for the same packet."""
    if result.find(task="solver") is not None:
        return
    start = time.process_time()
    grid = Grid.box(8.0, 161)
    inside = np.abs(grid.x) < WALL
    steps = 628
    dt = PERIOD / steps
    wave = packet(grid.x, np.zeros(len(grid)), (0, 1))[:, None]
    square = []
    for k in range(1, steps + 1):
        wave = crank_nicolson(grid, 0.5 * grid.x**2, wave, dt)
        exact = packet(grid.x, np.full(len(grid), k * dt), (0, 1))
        difference = (wave[:, 0] - exact)[inside]
        change = (np.abs(wave[:, 0]) ** 2 - np.abs(exact) ** 2)[inside]
        square.append([np.mean(difference.real**2), np.mean(difference.imag**2), np.mean(change**2)])
    seconds = time.process_time() - start
    real, imaginary, density = np.mean(square, axis=0)
    result.add(task="solver", real=float(real), imaginary=float(imaginary), density=float(density), cpu=round(seconds, 3))


def orbitals(result: ResultFile, seeds: int) -> None:
    for count, (charges, positions) in SYSTEMS.items():
        grid = Grid.box(HALF, POINTS)
        well = Well(grid, soft_coulomb(grid, np.array(charges), np.array(positions)))
        functional = functional_of(well, 2 * count)
        start = self_consistent(well, 2 * count, functional.potential)
        duration = PULSE.duration
        steps = round(duration / TIME_STEP)
        before = time.process_time()
        exact = propagate_orbitals(well, start, 2 * count, functional, PULSE, duration / steps, steps)
        solver_cpu = time.process_time() - before
        for seed in range(seeds):
            if result.find(task="orbitals", orbitals=count, seed=seed) is not None:
                continue
            before = time.process_time()
            make = partial(OrbitalNetwork, well, start, 2 * count, functional, PULSE, duration)
            made = train_orbitals(make, seed, OrbitalTraining())
            seconds = time.process_time() - before
            found = made.density(exact.times)
            dipole = grid.integral(grid.x * found)
            still = exact.densities - exact.densities[0]
            result.add(
                task="orbitals", orbitals=count, seed=seed, largest_dipole=float(np.abs(exact.dipole).max()),
                dipole=float(np.abs(dipole - exact.dipole).max()), norm=float(np.abs(grid.integral(found) - 2 * count).max()),
                density=float(np.mean((found - exact.densities) ** 2)), unmoved=float(np.mean(still**2)), cpu=round(seconds, 1),
                solver_cpu=round(solver_cpu, 2),
            )  # fmt: skip


def propagator(result: ResultFile, seeds: int, train: int = 60, test: int = 20) -> None:
    if all(result.find(task="propagator", seed=seed) for seed in range(seeds)):
        return
    data = random_trajectories(train, np.random.default_rng(1))
    before = time.process_time()
    new = random_trajectories(test, np.random.default_rng(1001))
    solver_cpu = (time.process_time() - before) / test
    electrons = new.grid.integral(new.densities[0, 0])
    dipoles = new.grid.integral(new.grid.x * (new.densities - new.densities[:, :1]))
    for seed in range(seeds):
        if result.find(task="propagator", seed=seed) is not None:
            continue
        before = time.process_time()
        model = train_propagator(data, np.random.default_rng(seed))
        seconds = time.process_time() - before
        before = time.process_time()
        found = roll_out(model, new)
        rollout_cpu = (time.process_time() - before) / test
        change = new.grid.integral(np.abs(found - new.densities)) / electrons
        still = new.grid.integral(np.abs(new.densities[:, :1] - new.densities)) / electrons
        moved = new.grid.integral(new.grid.x * (found - found[:, :1]))
        result.add(
            task="propagator", seed=seed, train=train, test=test, density=float(np.median(change[:, -1])), worst=float(change.max()),
            unmoved=float(np.median(still[:, -1])), dipole=float(np.sqrt(np.mean((moved - dipoles) ** 2) / np.mean(dipoles**2))),
            norm=float(np.abs(new.grid.integral(found) - electrons).max()), cpu=round(seconds, 1), rollout_cpu=rollout_cpu,
            solver_cpu=solver_cpu,
        )  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page."""
    lines = []
    for states in ([0, 1], [1, 3]):
        rows = [row for row in data["rows"] if row["task"] == "oscillator" and row["states"] == states]
        if not rows:
            continue
        head = f"States {states[0]} and {states[1]}, mean squared errors on the whole domain:"
        lines += [head, "", "| | seed | u | v | density | residual | CPU-s |", "|---|---|---|---|---|---|---|"]
        if states == [0, 1]:
            lines += [f"| {name}, published | | {u:.2e} | {v:.2e} | {n:.2e} | | |" for name, (u, v, n) in PUBLISHED.items()]
        for row in sorted(rows, key=lambda row: (list({**VARIANTS, **HIGHER}).index(row["variant"]), row["seed"])):
            errors = " | ".join(f"{row[name]:.2e}" for name in ("real", "imaginary", "density", "residual"))
            lines.append(f"| {row['variant']} | {row['seed']} | {errors} | {row['cpu']:.0f} |")
        solvers = [row for row in data["rows"] if row["task"] == "solver"] if states == [0, 1] else []
        for row in solvers:
            errors = " | ".join(f"{row[name]:.2e}" for name in ("real", "imaginary", "density"))
            lines.append(f"| Crank-Nicolson, 628 steps, 161 points | | {errors} | | {row['cpu']:.2f} |")
        lines.append("")
    rows = [row for row in data["rows"] if row["task"] == "orbitals"]
    if rows:
        lines += [
            "| orbitals | seed | largest dipole, bohr | error of the dipole | error of the norm | density MSE | of the unmoved density "
            "| network, CPU-s | Crank-Nicolson, CPU-s |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in sorted(rows, key=lambda row: (row["orbitals"], row["seed"])):
            lines.append(
                f"| {row['orbitals']} | {row['seed']} | {row['largest_dipole']:.4f} | {row['dipole']:.4f} | {row['norm']:.1e} | "
                f"{row['density']:.1e} | {row['unmoved']:.1e} | {row['cpu']:.0f} | {row['solver_cpu']:.2f} |"
            )
    rows = [row for row in data["rows"] if row["task"] == "propagator"]
    if rows:
        lines += [
            "",
            "| seed | density after 20 a.u., median | of the unmoved density | largest | dipole, relative RMS | training, CPU-s "
            "| a trajectory, CPU-ms | Crank-Nicolson, CPU-ms |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in sorted(rows, key=lambda row: row["seed"]):
            shares = " | ".join(f"{100 * row[name]:.2f} %" for name in ("density", "unmoved", "worst", "dipole"))
            times = f"{row['cpu']:.0f} | {1e3 * row['rollout_cpu']:.0f} | {1e3 * row['solver_cpu']:.0f}"
            lines.append(f"| {row['seed']} | {shares} | {times} |")
    return "\n".join(lines).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = ["oscillator", "orbitals", "propagator", "higher"]
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=tasks, default=tasks)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    result = ResultFile(a.result, {"steps": STEPS}, ("scipy",))
    if "oscillator" in a.only:
        solver(result)
        oscillator(result, a.seeds, (0, 1), {name: VARIANTS[name] for name in a.variants})
    if "orbitals" in a.only:
        orbitals(result, a.seeds)
    if "propagator" in a.only:
        propagator(result, a.seeds)
    if "higher" in a.only:
        oscillator(result, a.seeds, (1, 3), HIGHER)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
