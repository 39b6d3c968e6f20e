"""Time variable-cell relaxation of random Si16 cells: nucleate's batch, ASE one at a time, torch-sim's batch.

    OMP_NUM_THREADS=1 python benchmarks/performance/relaxation/run.py [--n 100] [--steps 60] [--repeats 3] [--ase 3]

Structure-steps per CPU-second on one thread; every repeat is a row of result.json. First the committee of four as a search uses it; then
one and the same single model under all three programs, FIRE over atoms and logarithmic strain of the cell, the same number of
steps for every structure, single precision in the model. torch-sim's wrapper may use whatever makes it fastest: nucleate's own
neighbour list with its skin, and the layout kept between rebuilds; it is also timed with vesin afresh at every step.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from nucleate.benchmark.result_file import ResultFile
from nucleate.crystals import CrystalBatch, SkinNeighbours, neighbour_edges, neighbours, strain
from nucleate.crystals.strain import voigt_from_full
from nucleate.generate import GenerateSettings, make_generator
from nucleate.potentials import manybody
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import ModelSettings
from nucleate.reference.base import Label
from nucleate.relax import optimisers
from nucleate.relax.batched import relax
from nucleate.relax.settings import RelaxSettings
from nucleate.training.data import from_labels
from nucleate.training.fitting import fit_model
from nucleate.training.settings import TrainingSettings


def stillinger_weber(atoms: Atoms) -> Label:
    """Silicon after F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985), doi 10.1103/PhysRevB.31.5262."""
    epsilon, sigma, a, big_a, big_b, lamda, gamma = 2.1683, 2.0951, 1.8, 7.049556277, 0.6022245584, 21.0, 1.2
    batch = CrystalBatch.from_atoms([atoms])
    edges = neighbour_edges(batch, a * sigma - 1e-6)
    positions = batch.positions.clone().requires_grad_(True)
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    gradient = torch.eye(3, dtype=torch.float64) + 0.5 * (strain + strain.T)
    cells = batch.cells @ gradient
    vectors = edges.vectors(CrystalBatch(positions @ gradient, cells, batch.numbers, batch.structure))
    r = vectors.norm(dim=1) / sigma
    pair = 0.5 * (big_a * (big_b / r**4 - 1) * torch.exp(1 / (r - a))).sum()
    same = edges.centre.unsqueeze(0) == edges.centre.unsqueeze(1)
    one, two = torch.triu(same, diagonal=1).nonzero().unbind(1)
    unit = vectors / (sigma * r.unsqueeze(1))
    cosine = (unit[one] * unit[two]).sum(1)
    triple = lamda * ((cosine + 1 / 3) ** 2 * torch.exp(gamma / (r[one] - a) + gamma / (r[two] - a))).sum()
    energy = epsilon * (pair + triple)
    slope, work = torch.autograd.grad(energy, [positions, strain])
    stress = voigt_from_full(work / batch.volumes[0]).numpy()
    return Label(float(energy.detach()), -slope.numpy(), stress)


def random_silicon(n: int, seed: int) -> list[Atoms]:
    generator = make_generator({"Si": 16}, GenerateSettings(workers=1))
    return [candidate.atoms for candidate in generator.propose(n, np.random.default_rng(seed))]


def trained(structures: list[Atoms], members: int) -> ManyBodyCommittee:
    """A surface with silicon's densities; how accurate it is does not matter here."""
    labels = [stillinger_weber(atoms) for atoms in structures]
    model = ManyBodyCommittee((14,), ModelSettings(members=members))
    fit_model(model, from_labels(structures, labels), TrainingSettings(steps=200).of_round(0, warm=False))
    return model


def settings(optimiser: str, steps: int) -> RelaxSettings:
    """Every structure takes every step: nothing converges, nothing is stopped."""
    return RelaxSettings(optimiser=optimiser, fmax=1e-12, smax=1e-12, max_steps=steps, patience=10**6, volume_range=(1e-3, 1e3))


def time_ours(model: ManyBodyCommittee, structures: list[Atoms], steps: int, optimiser: str) -> float:
    began = time.process_time()
    ends = relax(structures, model, settings(optimiser, steps))
    seconds = time.process_time() - began
    return sum(end.steps for end in ends) / seconds


@contextmanager
def without_kernels() -> Iterator[None]:
    """As if numba were not installed."""
    for module in (manybody, neighbours, optimisers, strain):
        module.HAS_KERNELS = False
    try:
        yield
    finally:
        for module in (manybody, neighbours, optimisers, strain):
            module.HAS_KERNELS = True


def time_without_kernels(model: ManyBodyCommittee, structures: list[Atoms], steps: int, optimiser: str) -> float:
    with without_kernels():
        return time_ours(model, structures, steps, optimiser)


class CommitteeCalculator(Calculator):
    """The model as an ASE calculator, with its neighbour list and layout kept while the skin allows."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, model: ManyBodyCommittee):
        super().__init__()
        self.model = model
        self.neighbours = SkinNeighbours(model.cutoff, skin=0.4)
        self.edges = self.layout = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):  # noqa: D102
        super().calculate(atoms, properties, system_changes)
        batch = CrystalBatch.from_atoms([atoms])
        edges = self.neighbours.update(batch)
        if edges is not self.edges:
            self.edges, self.layout = edges, self.model.layout(batch, edges)
        found = self.model.energy_forces_stress(batch, edges, layout=self.layout, mean_forces=True)
        self.results = {
            "energy": float(found.energy[0, 0]),
            "forces": found.forces[0].double().numpy(),
            "stress": voigt_from_full(found.stress[0, 0].double()).numpy(),
        }


def time_ase(model: ManyBodyCommittee, structures: list[Atoms], steps: int) -> float:
    copies = [atoms.copy() for atoms in structures]
    began = time.process_time()
    for atoms in copies:
        atoms.calc = CommitteeCalculator(model)
        run = FIRE(FrechetCellFilter(atoms), logfile=None)
        for _ in range(steps):
            run.step()
        atoms.get_forces()
    return len(structures) * steps / (time.process_time() - began)


def time_torch_sim(model: ManyBodyCommittee, structures: list[Atoms], steps: int, dtype: torch.dtype, skin: float) -> float:
    import torch_sim
    from torch_sim.models.interface import ModelInterface
    from torch_sim.optimizers import frechet_cell_fire

    class Wrapped(ModelInterface):
        def __init__(self):
            super().__init__()
            self._device, self._dtype = torch.device("cpu"), dtype
            self._compute_stress = self._compute_forces = True
            self.neighbours = SkinNeighbours(model.cutoff, skin)
            self.edges = self.layout = None

        def forward(self, state, **unused):
            batch = CrystalBatch(state.positions, state.row_vector_cell.contiguous(), state.atomic_numbers.long(), state.system_idx.long())
            edges = self.neighbours.update(batch)
            if edges is not self.edges:
                self.edges, self.layout = edges, model.layout(batch, edges)
            found = model.energy_forces_stress(batch, edges, layout=self.layout, mean_forces=True)
            return {
                "energy": found.energy[0].to(dtype),
                "forces": found.forces[0].to(dtype),
                "stress": found.stress[0].to(dtype),
            }

    start = torch_sim.io.atoms_to_state([atoms.copy() for atoms in structures], torch.device("cpu"), dtype)
    began = time.process_time()
    init, step = frechet_cell_fire(Wrapped())
    state = init(start)
    for _ in range(steps):
        state = step(state)
    seconds = time.process_time() - began
    if not bool(torch.isfinite(state.energy).all()):
        raise RuntimeError("torch-sim left the finite numbers")
    return len(structures) * steps / seconds


NAMES = {
    "committee_fire": "committee of 4, FIRE",
    "committee_lbfgs": "committee of 4, L-BFGS (used in searches)",
    "committee_lbfgs_torch": "committee of 4, L-BFGS, without numba",
    "single_fire": "one model: nucleate, FIRE",
    "torch_sim": "the same model: torch-sim (fastest of three set-ups)",
    "ase_fire": "the same model: ASE, FIRE with FrechetCellFilter",
}


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    rates: dict[str, list[float]] = {}
    for row in data["rows"]:
        rates.setdefault(row["method"], []).append(row["rate"])
    theirs = {name: values for name, values in rates.items() if name.startswith("torch_sim")}
    shown = {name: values for name, values in rates.items() if name not in theirs}
    if theirs:
        shown["torch_sim"] = max(theirs.values(), key=median)
    lines = ["| method | median | range |", "|---|---|---|"]
    for name, text in NAMES.items():
        if name in shown:
            lines.append(f"| {text} | {median(shown[name]):.0f} | {min(shown[name]):.0f}-{max(shown[name]):.0f} |")
    if "committee_lbfgs_torch" in shown:
        kernels = f"{median(shown['committee_lbfgs']) / median(shown['committee_lbfgs_torch']):.1f} times as many with numba as without"
        lines += ["", f"Steps of the committee per CPU-second: {kernels}."]
    ours, ratios = median(rates["single_fire"]), []
    for name, peer in (("torch_sim", "torch-sim"), ("ase_fire", "ASE")):
        if name in shown:
            ratios.append(f"{ours / median(shown[name]):.1f} times as many as {peer}")
    return "\n".join(lines) + (f"\n\nSteps of nucleate per CPU-second: {' and '.join(ratios)}." if ratios else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="cells in the batch")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ase", type=int, default=3, help="cells relaxed by ASE; 0 leaves it out")
    parser.add_argument("--no-torch-sim", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    structures = random_silicon(asked.n, asked.seed)
    teachers = random_silicon(40, asked.seed + 1)
    committee, single = trained(teachers, 4), trained(teachers, 1)
    contestants = {
        "committee_lbfgs": lambda: time_ours(committee, structures, asked.steps, "lbfgs"),
        "committee_lbfgs_torch": lambda: time_without_kernels(committee, structures, asked.steps, "lbfgs"),
        "committee_fire": lambda: time_ours(committee, structures, asked.steps, "fire"),
        "single_fire": lambda: time_ours(single, structures, asked.steps, "fire"),
    }
    if asked.ase:
        contestants["ase_fire"] = lambda: time_ase(single, structures[: asked.ase], asked.steps)
    if not asked.no_torch_sim:
        for name, dtype in (("float64", torch.float64), ("float32", torch.float32)):
            contestants[f"torch_sim_{name}"] = lambda dtype=dtype: time_torch_sim(single, structures, asked.steps, dtype, 0.4)
        contestants["torch_sim_float64_vesin"] = lambda: time_torch_sim(single, structures, asked.steps, torch.float64, 0.0)
    # The kernels are compiled, or read from their cache, before anything is timed.
    for optimiser in ("lbfgs", "fire"):
        time_ours(committee, structures[:2], 2, optimiser)
    result = ResultFile(asked.result, {"n": asked.n, "steps": asked.steps, "seed": asked.seed}, ("torch-sim-atomistic",))
    # The programs take turns, so that a slow period of the machine affects all of them.
    for repeat in range(asked.repeats):
        for name, run in contestants.items():
            if result.find(method=name, repeat=repeat) is None:
                result.add(method=name, repeat=repeat, rate=round(run(), 1))
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
