"""Energy and forces of one Behler-Parrinello model: nucleate's a2a against TorchANI 2.9, the same functions and layer sizes, one thread.

    pip install torchani; OMP_NUM_THREADS=1 python benchmarks/performance/torchani/run.py [--repeats 5]

Molecules: a batch of 64 distorted molecules of H, C, N, O. Crystals: a batch of 16 random cells of 16 atoms, and one of 216
atoms. Prints one JSON line: atoms per CPU-second of each, median and range, and the ratio. TorchANI batches molecules by
padding and takes periodic cells one at a time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from torchani.aev import AEVComputer, ANIAngular, ANIRadial
from torchani.nn import ANINetworks, AtomicNetwork

from nucleate.crystals import CrystalBatch, neighbour_edges
from nucleate.potentials.networks.a2a import A2A
from nucleate.potentials.networks.settings import A2ASettings

SYMBOLS = ["H", "C", "N", "O"]
KINDS = {1: 0, 6: 1, 7: 2, 8: 3}
NAMES = ["CH3CH2OH", "CH3CONH2", "C6H6", "CH3COOH", "C2H6NH", "H2CCO", "C4H4NH", "HCOOCH3"]


def theirs(settings: A2ASettings) -> tuple[AEVComputer, ANINetworks]:
    """TorchANI's functions and networks of the same shapes."""
    half = math.pi / settings.angle_bins / 2
    radial = evenly(settings.radial_start, settings.cutoff, settings.radial_bins)
    mean = evenly(settings.angular_start, settings.angular_cutoff, settings.angular_bins)
    angles = evenly(half, math.pi + half, settings.angle_bins)
    computer = AEVComputer(
        ANIRadial(settings.radial_eta, radial, settings.cutoff),
        ANIAngular(settings.angular_eta, settings.zeta, mean, angles, settings.angular_cutoff), 4,
    )  # fmt: skip
    sizes = [768, *settings.hidden, 1]
    networks = ANINetworks({symbol: AtomicNetwork(sizes, activation="celu") for symbol in SYMBOLS})
    return computer, networks


def evenly(start: float, end: float, count: int) -> list[float]:
    """The end left out."""
    return [start + (end - start) * k / count for k in range(count)]


def rate(call: Callable[[], None], atoms: int, repeats: int) -> list[float]:
    """Atoms per CPU-second, each repeat; one call to warm up."""
    call()
    found = []
    for _ in range(repeats):
        started, calls = time.process_time(), 0
        while time.process_time() - started < 2.0:
            call()
            calls += 1
        found.append(atoms * calls / (time.process_time() - started))
    return found


def ask_torchani(computer: AEVComputer, networks: ANINetworks, frames: list[Atoms], periodic: bool) -> Callable[[], None]:
    """Energy and forces; molecules in one padded batch, cells one at a time."""
    groups = [[atoms] for atoms in frames] if periodic else [frames]
    prepared = []
    for group in groups:
        longest = max(len(atoms) for atoms in group)
        kinds = torch.full((len(group), longest), -1)
        places = torch.zeros(len(group), longest, 3)
        for k, atoms in enumerate(group):
            kinds[k, : len(atoms)] = torch.tensor([KINDS[z] for z in atoms.numbers.tolist()])
            places[k, : len(atoms)] = torch.tensor(atoms.positions, dtype=torch.float32)
        cell = torch.tensor(group[0].cell.array, dtype=torch.float32) if periodic else None
        prepared.append((kinds, places, cell, torch.tensor([True] * 3) if periodic else None))

    def call() -> None:
        for kinds, places, cell, pbc in prepared:
            moved = places.clone().requires_grad_(True)
            functions = computer(kinds, moved, cell, pbc)
            energy = networks(kinds, functions)
            torch.autograd.grad(energy.sum(), moved)

    return call


def ask_nucleate(model: A2A, frames: list[Atoms]) -> Callable[[], None]:
    """Energy, forces and stress of all frames in one batch, their neighbours found anew each time."""
    batch = CrystalBatch.from_atoms(frames)

    def call() -> None:
        model.energy_forces_stress(batch, neighbour_edges(batch, model.cutoff))

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    a = parser.parse_args()
    torch.set_num_threads(1)
    settings = A2ASettings()
    model = A2A((1, 6, 7, 8), settings).in_precision(torch.float32)
    computer, networks = theirs(settings)
    rng = np.random.default_rng(0)
    molecules = []
    for k in range(64):
        atoms = molecule(NAMES[k % len(NAMES)])
        atoms.rattle(0.05, seed=k)
        atoms.set_cell([30, 30, 30])
        atoms.center()
        molecules.append(atoms)
    crystals = [random_cell(rng, 16) for _ in range(16)]
    said = {"benchmark": "torchani", "unit": "atoms per CPU-second", "repeats": a.repeats}
    sets = {"molecules": (molecules, False), "crystals": (crystals, True), "large cell": ([random_cell(rng, 216)], True)}
    for name, (frames, periodic) in sets.items():
        atoms = sum(len(frame) for frame in frames)
        ours = rate(ask_nucleate(model, frames), atoms, a.repeats)
        other = rate(ask_torchani(computer, networks, frames, periodic), atoms, a.repeats)
        said[name] = {
            "nucleate": [median(ours), min(ours), max(ours)],
            "torchani": [median(other), min(other), max(other)],
            "ratio": median(ours) / median(other),
        }
    print(json.dumps(said))


def random_cell(rng: np.random.Generator, n: int) -> Atoms:
    """Atoms of H, C, N and O at 12 Å³ each, none closer than 1 Å."""
    side = (12.0 * n) ** (1 / 3)
    places: list[np.ndarray] = []
    while len(places) < n:
        place = rng.random(3) * side
        apart = [np.abs(place - other) for other in places]
        if all(np.linalg.norm(np.minimum(d, side - d)) > 1.0 for d in apart):
            places.append(place)
    return Atoms([SYMBOLS[k % 4] for k in range(n)], positions=places, cell=[side] * 3, pbc=True)


if __name__ == "__main__":
    main()
