"""Compare learned moves of a relaxation with FIRE and L-BFGS on random cells.

    OMP_NUM_THREADS=1 python benchmarks/relax/moves/run.py --judge committee --formulas Si8 Si16
    OMP_NUM_THREADS=1 python benchmarks/relax/moves/run.py --judge chgnet --rounds 10
    OMP_NUM_THREADS=1 python benchmarks/relax/moves/run.py --judge minima --optimisers L-BFGS "L-BFGS, last step"
    OMP_NUM_THREADS=1 python benchmarks/relax/moves/run.py --judge gpaw --optimisers L-BFGS evolution

`minima` stands for known crystals near their minima on CHGNet, with random strains of 2 % and displacements of 0.06 Å. "L-BFGS, last step",
the default of the package, takes the curvature of directions that it has not met from its last step; the other two have a constant one.

The policies were trained on `committee.safetensors` and Si8 cells of another seed; train.sh contains the commands. The committee is that of
the last round of

    nucleate search Si8 --reference 7net-0 --seed 4101 --budget 150

A relaxation converges at 0.05 eV/Å and 0.5 GPa and has at most 500 force calls. All optimisers start from the same cells. A round takes the
next cells of each formula, so that the comparison is paired whenever it is stopped; the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from nucleate.benchmark.result_file import ResultFile
from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.formula import parse_formula
from nucleate.crystals.neighbours import Edges
from nucleate.generate import GenerateSettings, make_generator
from nucleate.potentials.base import Potential, Prediction
from nucleate.potentials.files import load_potential
from nucleate.reference.build import make_reference
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import ledger_file
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.batched import Relaxed, relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

HERE = Path(__file__).parent
CONSTANT = {"L-BFGS": 70.0, "L-BFGS, 15 eV/Å²": 15.0}
"""Variants of L-BFGS with a constant initial curvature, eV/Å²: that of ASE, and the best of six on the committee, 100 other cells."""
SCALED = "L-BFGS, last step"
OPTIMISERS = {
    **dict.fromkeys(CONSTANT, "lbfgs"),
    SCALED: "lbfgs",
    "FIRE": "fire",
    "evolution": f"learned:{HERE / 'policies' / 'evolution.moves'}",
    "evolution, seed 1": f"learned:{HERE / 'policies' / 'evolution-1.moves'}",
    "unrolling": f"learned:{HERE / 'policies' / 'unrolling.moves'}",
    "without memory": f"learned:{HERE / 'policies' / 'memoryless.moves'}",
    "momentum alone": f"learned:{HERE / 'policies' / 'momentum.moves'}",
}
SEED = 90_000
"""Seed of the held-out cells; those of the training are hashes of the seed 0 of the training."""
CALLS = 500
LARGEST = 64
"""Number of structures of an evaluation of CHGNet."""
BOUND = 2e-3
"""Energy above the end of L-BFGS up to which a relaxation succeeds, eV/atom."""
ROUND = {"committee": {"Si8": 200, "Si16": 200}, "chgnet": {"Si8": 20, "Si16": 8, "Al4O6": 4}, "gpaw": {"Si8": 1}}
"""Number of cells of a round; those of CHGNet take similar times."""
KNOWN: dict[str, Callable[[], Atoms]] = {
    "Si8": lambda: bulk("Si", cubic=True),
    "C8": lambda: bulk("C", cubic=True),
    "Mg4O4": lambda: bulk("MgO", "rocksalt", a=4.21, cubic=True),
    "Na4Cl4": lambda: bulk("NaCl", "rocksalt", a=5.6, cubic=True),
    "Al4": lambda: bulk("Al", cubic=True),
    "W2": lambda: bulk("W", cubic=True),
    "Al4O6": lambda: crystal(
        ["Al", "O"], [(0, 0, 0.352), (0.306, 0, 0.25)], spacegroup=167, cellpar=[4.76, 4.76, 12.99, 90, 90, 120], primitive_cell=True
    ),
    "Ti2O4": lambda: crystal(["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, 90, 90, 90]),
}
"""Crystals near whose minima relaxations begin."""
ROUND["minima"] = dict.fromkeys(KNOWN, 6)
FIRST = {"gpaw": 3}
"""First cell. That of GPAW is the first whose relaxation by L-BFGS on the committee takes about the median number of calls."""
TITLES = {"committee": "committee", "chgnet": "CHGNet", "minima": "CHGNet, near minima", "gpaw": "GPAW"}


def optimiser_settings(name: str, **limits: float) -> RelaxSettings:
    """Return the settings of one of the optimisers."""
    return RelaxSettings.model_validate({**limits, "curvature": CONSTANT.get(name), "optimiser": OPTIMISERS[name]})


class BatchedChgnet:
    """CHGNet with one evaluation for all structures that several relaxations ask for; a structure without a graph gets NaN.

    Each relaxation runs in a thread of its own and waits until all others have asked as well.

    Args:
        relaxations: number of relaxations.
    """

    cutoff = 1.0
    species = tuple(range(1, 95))

    def __init__(self, relaxations: int) -> None:
        self.model = load_chgnet()
        self.turn = threading.Condition()
        self.left = relaxations
        self.asked: list[dict[str, Any]] = []
        self.evaluations = 0
        self.seconds: dict[int, float] = {}

    def layout(self, batch: CrystalBatch, edges: Edges) -> None:
        """Return None; the package computes its own pairs."""

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: None = None, mean_forces: bool = False
    ) -> Prediction:
        """Predict energies, forces and stresses; see `Potential`."""
        question: dict[str, Any] = {"atoms": batch.to_atoms()}
        with self.turn:
            self.asked.append(question)
            self._answer_if_all_have_asked()
            while "answer" not in question:
                self.turn.wait()
        energies, forces, stresses = (np.array(part) for part in question["answer"])
        return Prediction(
            torch.as_tensor(energies).unsqueeze(0), torch.as_tensor(forces).unsqueeze(0), torch.as_tensor(stresses).unsqueeze(0)
        )

    def leave(self) -> None:
        """End one relaxation."""
        with self.turn:
            self.left -= 1
            self._answer_if_all_have_asked()

    def _answer_if_all_have_asked(self) -> None:
        if not self.asked or len(self.asked) < self.left:
            return
        started = time.thread_time()
        every = [atoms for question in self.asked for atoms in question["atoms"]]
        labels = [label for first in range(0, len(every), LARGEST) for label in chgnet_labels(self.model, every[first : first + LARGEST])]
        for question in self.asked:
            own = [labels.pop(0) for _ in question["atoms"]]
            question["answer"] = [e for e, _, _ in own], np.concatenate([f for _, f, _ in own]), [s for _, _, s in own]
        self.asked = []
        self.evaluations += len(every)
        thread = threading.get_ident()
        self.seconds[thread] = self.seconds.get(thread, 0.0) + time.thread_time() - started
        self.turn.notify_all()


@cache
def load_chgnet() -> Any:
    """Return CHGNet."""
    from chgnet.model import CHGNet

    model = CHGNet.load(verbose=False, use_device="cpu").eval().requires_grad_(False)
    model.graph_converter.set_isolated_atom_response("ignore")
    return model


def chgnet_labels(model: Any, structures: list[Atoms]) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Return energy, forces and stress of structures, all by one evaluation; NaN for a structure without a graph."""
    from pymatgen.core import Lattice, Structure

    labels = [(float("nan"), np.full((len(atoms), 3), np.nan), np.full((3, 3), np.nan)) for atoms in structures]
    graphs, places = [], []
    for k, atoms in enumerate(structures):
        try:
            lattice = Lattice(atoms.cell.array)
            graph = model.graph_converter(Structure(lattice, atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=False)))
        except (ValueError, RuntimeError, np.linalg.LinAlgError):
            continue
        graphs.append(graph)
        places.append(k)
    if not graphs:
        return labels
    values = model.forward(graphs, task="e")["e"].flatten()
    energy = values * torch.tensor([len(structures[k]) for k in places]) if model.is_intensive else values
    slopes = torch.autograd.grad(energy.sum(), [item for graph in graphs for item in (graph.atom_frac_coord, graph.lattice)])
    for n, k in enumerate(places):
        cell = structures[k].cell.array
        # r = s h: dE/dr = dE/ds h^-T, and dE/d(strain) at fixed s = h^T dE/dh.
        forces = -slopes[2 * n].double().numpy() @ np.linalg.inv(cell).T
        stress = cell.T @ slopes[2 * n + 1].double().numpy() / structures[k].get_volume()
        labels[k] = float(energy[n].detach()), forces, 0.5 * (stress + stress.T)
    return labels


def relaxed_on_chgnet(atoms: list[Atoms], settings: dict[str, RelaxSettings]) -> dict[str, tuple[list[Relaxed], float]]:
    """Return the ends and CPU-seconds of each optimiser; evaluations of CHGNet count by their number."""
    potential = BatchedChgnet(len(settings))

    def one(chosen: RelaxSettings) -> tuple[list[Relaxed], float, int]:
        started = time.thread_time()
        try:
            ends = relax(atoms, cast(Potential, potential), chosen)
        finally:
            potential.leave()
        # The thread that asks last evaluates for all others, which does not count as its own time.
        own = time.thread_time() - started - potential.seconds.get(threading.get_ident(), 0.0)
        return ends, own, sum(end.steps + 1 for end in ends)

    with ThreadPoolExecutor(len(settings)) as pool:
        found = dict(zip(settings, pool.map(one, settings.values()), strict=True))
    each = sum(potential.seconds.values()) / potential.evaluations
    return {name: (ends, own + calls * each) for name, (ends, own, calls) in found.items()}


def relaxed_on_committee(atoms: list[Atoms], settings: dict[str, RelaxSettings]) -> dict[str, tuple[list[Relaxed], float]]:
    """Return the ends and CPU-seconds of each optimiser."""
    potential, _ = load_potential(HERE / "committee.safetensors")
    found = {}
    for name, chosen in settings.items():
        started = time.process_time()
        ends = relax(atoms, potential, chosen)
        found[name] = ends, time.process_time() - started
    return found


def relaxed_on_gpaw(atoms: list[Atoms], settings: dict[str, RelaxSettings]) -> dict[str, tuple[list[Relaxed], float]]:
    """Return the ends and CPU-seconds of each optimiser with PBE, 250 eV and k-points 0.6 1/Å apart, enough to count calls."""
    found = {}
    for name, chosen in settings.items():
        reference = make_reference(ReferenceSettings(preset="fast", cutoff=250.0, k_spacing=0.6))
        started = time.process_time()
        with TemporaryDirectory() as scratch, ledger_file(Path(scratch) / "ledger.db") as ledger, Dispatcher(reference, ledger) as calls:
            ends = relax(atoms, ReferencePotential(calls, "relax", 0), chosen)
        found[name] = ends, time.process_time() - started
    return found


def cells(formula: str, number: int) -> list[Atoms]:
    """Return the first held-out cells of a formula; each has a seed of its own."""
    generator = make_generator(parse_formula(formula), GenerateSettings(workers=1))
    return [generator.propose(1, np.random.default_rng([SEED, k]))[0].atoms for k in range(number)]


def near_minima(name: str, number: int) -> list[Atoms]:
    """Return a known crystal with a random strain and random displacements, several times."""
    found = []
    for k in range(number):
        rng, atoms = np.random.default_rng([SEED, k]), KNOWN[name]()
        strain = rng.normal(0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.06, atoms.positions.shape)
        found.append(atoms)
    return found


JUDGES = {"committee": relaxed_on_committee, "chgnet": relaxed_on_chgnet, "minima": relaxed_on_chgnet, "gpaw": relaxed_on_gpaw}


def columns(data: dict[str, Any], judge: str, formula: str) -> dict[str, dict[str, np.ndarray]]:
    """Return arrays of each optimiser, for the cells that L-BFGS has relaxed as well; names with `base` are those of L-BFGS."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for row in data["rows"]:
        if (row["judge"], row["formula"]) == (judge, formula):
            found.setdefault(row["optimiser"], {})[row["first"]] = row
    result = {}
    for name in OPTIMISERS:
        parts = sorted(set(found.get(name, {})) & set(found.get("L-BFGS", {})))
        if parts:
            base = _arrays([found["L-BFGS"][part] for part in parts])
            result[name] = _arrays([found[name][part] for part in parts]) | {f"base {key}": value for key, value in base.items()}
    return result


def _arrays(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {
        "calls": np.array([c for row in rows for c in row["calls"]]),
        "converged": np.array([str(k) not in row["failed"] for row in rows for k in range(len(row["calls"]))]),
        "energies": np.array([np.nan if e is None else e for row in rows for e in row["energies"]]),
        "cpu": np.array([row["cpu_seconds"] for row in rows]),
    }


def interval(ratio: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the ratio of sums over cells, from 2000 bootstrap samples of the (cells, 2) sums."""
    draws = np.random.default_rng(0).integers(len(ratio), size=(2000, len(ratio)))
    sums = ratio[draws].sum(1)
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
    return float(low), float(high)


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| potential | cell | optimiser | cells | converged | success | calls, median (10-90 %) | calls / L-BFGS (95 %) "
        "| end - L-BFGS, meV/atom (10, 50, 90 %) | lower / same / higher | CPU-s a cell |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for judge, rounds in ROUND.items():
        for formula in rounds:
            for name, one in columns(data, judge, formula).items():
                n = len(one["calls"])
                calls = np.where(one["converged"], one["calls"], CALLS)
                own = np.where(one["base converged"], one["base calls"], CALLS)
                above = 1e3 * (one["energies"] - one["base energies"])
                success = one["converged"] & ((above <= 1e3 * BOUND) | ~one["base converged"])
                low, high = interval(np.stack([calls, own], axis=1))
                spread_of_ratio = f" ({low:.2f}-{high:.2f})" if n > 1 else ""
                both = one["converged"] & one["base converged"] & np.isfinite(above)
                ends = np.quantile(above[both], [0.1, 0.5, 0.9]) if both.any() else [np.nan] * 3
                parts = [int((above[both] < -2).sum()), int((np.abs(above[both]) <= 2).sum()), int((above[both] > 2).sum())]
                quantiles = np.quantile(calls, [0.5, 0.1, 0.9])
                ratio = "1" if name == "L-BFGS" else f"{calls.sum() / own.sum():.2f}{spread_of_ratio}"
                spread = "" if name == "L-BFGS" else f"{ends[0]:.1f}, {ends[1]:.1f}, {ends[2]:.1f}"
                shares = "" if name == "L-BFGS" else " / ".join(map(str, parts))
                lines.append(
                    f"| {TITLES[judge]} | {formula} | {name} | {n} | {one['converged'].sum()} "
                    f"| {success.sum()} | {quantiles[0]:.0f} ({quantiles[1]:.0f}-{quantiles[2]:.0f}) | {ratio} | {spread} | {shares} "
                    f"| {one['cpu'].sum() / n:.2f} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", choices=tuple(ROUND), required=True)
    parser.add_argument("--formulas", nargs="+", default=None)
    parser.add_argument("--optimisers", nargs="+", choices=tuple(OPTIMISERS), default=["L-BFGS", "FIRE", "evolution", "unrolling"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--result", type=Path, default=HERE / "result.json")
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    result = ResultFile(a.result, {"fmax": 0.05, "smax": 0.5, "calls": CALLS, "seed": SEED}, ("chgnet", "numba"))
    limits = {"fmax": 0.05, "smax": 0.5, "max_steps": CALLS - 1, "patience": CALLS}
    settings = {name: optimiser_settings(name, **limits) for name in a.optimisers}
    for part in range(a.rounds):
        for formula in a.formulas or ROUND[a.judge]:
            size = ROUND[a.judge][formula]
            first = FIRST.get(a.judge, 0) + part * size
            key = {"judge": a.judge, "formula": formula, "first": first}
            missing = {name: each for name, each in settings.items() if result.find(**key, optimiser=name) is None}
            if not missing:
                continue
            make = near_minima if a.judge == "minima" else cells
            atoms = make(formula, first + size)[first:]
            found = JUDGES[a.judge](atoms, missing)
            for name, (ends, seconds) in found.items():
                calls = [end.steps + 1 for end in ends]
                result.add(
                    **key, optimiser=name, calls=calls, failed={str(k): end.stop for k, end in enumerate(ends) if end.stop != "converged"},
                    energies=[round(end.energy_per_atom, 4) for end in ends], cpu_seconds=round(seconds, 2),
                )  # fmt: skip
                print(f"{a.judge} {formula} {first}-{first + size - 1} {name}: mean {np.mean(calls):.1f}, {seconds:.0f} CPU-s", flush=True)
    if result.rows:
        print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
