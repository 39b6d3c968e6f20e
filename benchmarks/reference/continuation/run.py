"""Self-consistent iterations and processor time of GPAW along dynamics and relaxations, by the density from which each step starts.

    OMP_NUM_THREADS=1 python benchmarks/reference/continuation/run.py --paths dynamics relaxation cell

The structures are those of dynamics (600 K, 2 fs), of relaxations of rattled atoms (0.08 Å) in a fixed cell, or of relaxations of atoms
and cell on CHGNet, so that all starts are compared on the same structures. Each is calculated with GPAW (PBE, PAW, convergence as in
searches) from superposed atoms; with one calculator of GPAW, which moves its wave functions; with `nucleate.gpaw.continued`, which
extrapolates the density of the last structures; in relaxations with the change that a linear model of the density predicts, fitted to all
structures before (the features of `nucleate electrons fit-start`), with the time of its features; and with the exact density of each
structure. Finished paths are rows, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.optimize import LBFGS
from ase.spacegroup import crystal
from ase.spacegroup.symmetrize import refine_symmetry

from nucleate.benchmark.result_file import ResultFile
from nucleate.electrons.descriptors.power_spectrum import PowerSpectrum
from nucleate.electrons.emulator.emulator import EmulatorTraining, half_coulomb, raw_features
from nucleate.electrons.grid import Grid
from nucleate.gpaw.continued import ContinuedGPAW

CUTOFFS = {"Al8": 350, "Si8": 350, "Mg4O4": 700, "2H silicon": 350, "corundum": 700, "rutile": 700}
"""Plane-wave cutoff of the preset `standard`, eV."""
PATHS = {"dynamics": ("Al8", "Si8", "Mg4O4"), "relaxation": ("Al8", "Si8", "Mg4O4"), "cell": ("2H silicon", "corundum", "rutile")}
STARTS = ("superposed atoms", "calculator of GPAW", "extrapolated", "learned change", "exact")
STEP = 2.0
"""fs."""


def crystal_of(name: str, seed: int) -> Atoms:
    """Return the first structure of a path."""
    if name in PATHS["relaxation"]:
        cells = {
            "Al8": bulk("Al", cubic=True) * (2, 1, 1),
            "Si8": bulk("Si", cubic=True),
            "Mg4O4": bulk("MgO", "rocksalt", 4.25, cubic=True),
        }
        cells[name].rattle(0.08, seed=seed)
        return cells[name]
    # Cells that are 4 % too small or too large, and internal coordinates that are off.
    size = 0.96 if seed % 2 == 0 else 1.04
    symbols, sites, group, cell = {
        "2H silicon": (["Si"], [(1 / 3, 2 / 3, 0.07)], 194, (3.85, 3.85, 6.35, 90, 90, 120)),
        "corundum": (["Al", "O"], [(0, 0, 0.345), (0.29, 0, 0.25)], 167, (4.76, 4.76, 12.99, 90, 90, 120)),
        "rutile": (["Ti", "O"], [(0, 0, 0), (0.29, 0.29, 0)], 136, (4.6, 4.6, 2.96, 90, 90, 90)),
    }[name]
    lengths = [size * x for x in cell[:3]]
    return crystal(symbols, sites, spacegroup=group, cellpar=[*lengths, *cell[3:]], primitive_cell=True)


def path_of(name: str, kind: str, seed: int, steps: int) -> list[Atoms]:
    """Return the structures of a path on CHGNet."""
    from chgnet.model import CHGNetCalculator

    atoms = crystal_of(name, seed)
    atoms.calc = CHGNetCalculator(use_device="cpu", verbose=False)
    found = []
    if kind == "dynamics":
        MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=np.random.default_rng(seed))
        dynamics = VelocityVerlet(atoms, STEP * units.fs)
        for _ in range(steps):
            found.append(atoms.copy())
            dynamics.run(1)
    else:
        optimiser = LBFGS(FrechetCellFilter(atoms) if kind == "cell" else atoms, logfile=None, maxstep=0.1)
        for _ in optimiser.irun(fmax=0.01, steps=steps - 1):
            found.append(atoms.copy())
    for one in found:
        one.set_velocities(np.zeros((len(one), 3)))
        if kind == "cell":
            # As in a search, whose structures are symmetric.
            refine_symmetry(one, symprec=1e-3)
    return [Atoms(one.numbers, one.positions, cell=one.cell, pbc=True) for one in found]


class Exact(ContinuedGPAW):
    """Start from given densities, in order."""

    given: list[tuple[np.ndarray, np.ndarray]]

    def expected(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
        """Return the next of the given densities."""
        del atoms
        return self.given.pop(0)


class Learned(ContinuedGPAW):
    """Start from the last density plus the change that a linear model of the density predicts."""

    def __init__(self, **keywords: Any):
        super().__init__(**keywords)
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._features = torch.empty(0)

    def _describe(self, atoms: Atoms) -> None:
        species = sorted(set(atoms.get_chemical_symbols()))
        chosen = EmulatorTraining()
        descriptor = PowerSpectrum(len(species), chosen.cutoff, chosen.radial, chosen.degree, cubic=False)
        n1, n2, n3 = (int(n) for n in self.dft.density.nt_sR.desc.size_c)
        self._features = raw_features(descriptor, species, atoms, (n1, n2, n3))
        self._grid = Grid(torch.tensor(atoms.cell.array), (n1, n2, n3))

    def expected(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the last density with the predicted change, and the last matrices."""
        self._describe(atoms)
        if len(self._seen) < 2:
            return None
        # Changes from the last structure to the older ones, in the norm of the emulator.
        last, density = self._seen[-1]
        gram, right = torch.zeros((last.shape[1],) * 2, dtype=torch.float64), torch.zeros(last.shape[1], dtype=torch.float64)
        for features, other in self._seen[:-1]:
            rows = half_coulomb((features - last).T.contiguous(), self._grid, 0.2)
            wanted = half_coulomb((other - density).reshape(1, -1), self._grid, 0.2)
            gram += rows @ rows.T
            right += (rows @ wanted.T)[:, 0]
        scale = gram.diagonal().clamp(min=1e-30).rsqrt()
        system = gram * scale * scale[:, None] + 1e-6 * len(self._seen) * torch.eye(len(gram), dtype=torch.float64)
        weights = scale * torch.linalg.solve(system, scale * right)
        change = (self._features - last) @ weights
        change = density + change - change.mean()
        moved = self._superposition(atoms) + change.numpy().reshape(self.dft.density.nt_sR.data.shape)
        return moved, self.dft.density.D_asii.data.copy()

    def _remember(self) -> None:
        atoms = self.atoms
        if not len(self._features):
            self._describe(atoms)
        difference = self.dft.density.nt_sR.data - self._superposition(atoms)
        self._seen = [*self._seen[-7:], (self._features, torch.tensor(difference.ravel()))]


def compared(name: str, kind: str, seed: int, steps: int) -> list[dict[str, Any]]:
    """Return a row for each start of a path."""
    from gpaw import GPAW, PW
    from gpaw.occupations import FermiDirac

    structures = path_of(name, kind, seed, steps)
    grid = {"2H silicon": (4, 4, 2), "rutile": (3, 3, 4)}.get(name, (2, 2, 2))
    keywords: dict[str, Any] = {
        "mode": PW(CUTOFFS[name]), "xc": "PBE", "kpts": {"size": grid, "gamma": True}, "occupations": FermiDirac(0.1), "txt": None,
        "convergence": {"density": 1e-4, "forces": 0.01}, "symmetry": {"tolerance": 1e-4},
    }  # fmt: skip
    makes: dict[str, Callable[[], Any]] = {
        "superposed atoms": lambda: ContinuedGPAW(**keywords), "calculator of GPAW": lambda: GPAW(**keywords),
        "extrapolated": lambda: ContinuedGPAW(**keywords), "learned change": lambda: Learned(**keywords),
        "exact": lambda: Exact(**keywords),
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    exact: list[tuple[np.ndarray, np.ndarray]] = []
    forces: list[np.ndarray] = []
    for start in STARTS:
        if start == "learned change" and kind != "relaxation":
            continue
        calculator = makes[start]()
        row: dict[str, Any] = {"iterations": [], "seconds": [], "errors": [], "forces": 0.0}
        if start == "exact":
            calculator.given = exact[1:]
        for number, atoms in enumerate(structures):
            if start == "superposed atoms":
                calculator = makes[start]()
            if start in ("extrapolated", "learned change") and number:
                expected = _watched(calculator)
            atoms.calc = calculator
            began = time.process_time()
            atoms.get_potential_energy()
            forces_now = atoms.get_forces()
            atoms.get_stress()
            row["seconds"].append(round(time.process_time() - began, 2))
            density = calculator.dft.density
            row["iterations"].append(int(calculator.dft.scf_loop.niter))
            if start == "superposed atoms":
                exact.append((density.nt_sR.data.copy(), density.D_asii.data.copy()))
                forces.append(forces_now)
            elif start in ("extrapolated", "learned change") and number:
                row["errors"].append(_error(expected, exact[number][0]))
            row["forces"] = max(row["forces"], round(float(np.abs(forces_now - forces[number]).max()), 5))
        rows.append({"crystal": name, "path": kind, "seed": seed, "start": start, **row})
    return rows


def _watched(calculator: Any) -> list[np.ndarray]:
    """Return a list that the next expected density of a calculator is appended to."""
    found: list[np.ndarray] = []
    inner = type(calculator).expected

    def expected(atoms: Atoms) -> Any:
        answer = inner(calculator, atoms)
        if answer is not None:
            found.append(answer[0].copy())
        return answer

    calculator.expected = expected
    return found


def _error(expected: list[np.ndarray], exact: np.ndarray) -> float | None:
    """Return the error of a start in per cent of the electrons; None if there was none."""
    return round(100 * float(np.abs(expected[0] - exact).sum() / exact.sum()), 4) if expected else None


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| path | crystal | start | paths | iterations, mean | processor s a step | of superposed atoms | error of the start, %, median "
        "| steps with a start | largest change of a force, meV/Å |",
        "|" + "---|" * 10,
    ]
    for kind, names in PATHS.items():
        for name in names:
            mine = [row for row in data["rows"] if (row["path"], row["crystal"]) == (kind, name)]
            base = np.mean([np.mean(row["seconds"][1:]) for row in mine if row["start"] == STARTS[0]]) if mine else 0.0
            for start in STARTS:
                rows = [row for row in mine if row["start"] == start]
                if not rows:
                    continue
                seconds = np.mean([np.mean(row["seconds"][1:]) for row in rows])
                errors = [error for row in rows for error in row["errors"]]
                known = [error for error in errors if error is not None]
                lines.append(
                    f"| {kind} | {name} | {start} | {len(rows)} | {np.mean([np.mean(row['iterations'][1:]) for row in rows]):.1f} "
                    f"| {seconds:.2f} | {seconds / base:.2f} | {f'{np.median(known):.3f}' if known else ''} "
                    f"| {f'{len(known)} of {len(errors)}' if errors else ''} | {1000 * max(row['forces'] for row in rows):.1f} |"
                )
    return "\n".join(lines)


def main() -> None:
    """Calculate all paths and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", nargs="+", choices=list(PATHS), default=list(PATHS))
    parser.add_argument("--crystals", nargs="+", choices=list(CUTOFFS), default=list(CUTOFFS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    result = ResultFile(a.result, {"steps": a.steps}, ("gpaw", "chgnet"))
    done = {(row["crystal"], row["path"], row["seed"]) for row in result.rows}
    for seed in range(a.seeds):
        for kind in a.paths:
            for name in PATHS[kind]:
                if name not in a.crystals or (name, kind, seed) in done:
                    continue
                for row in compared(name, kind, seed, a.steps):
                    result.add(**row)
                    print(
                        row["crystal"], row["path"], row["seed"], row["start"], row["iterations"], np.mean(row["seconds"][1:]), flush=True
                    )
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
