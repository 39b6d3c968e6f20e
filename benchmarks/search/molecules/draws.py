"""Random crystals of molecules until one of them relaxes into a known form, on the force field mcGFN-FF.

    OMP_NUM_THREADS=1 python benchmarks/search/molecules/draws.py --workers 2

Given are the molecule, its conformer from SMILES relaxed alone, the space group and the number of molecules in the primitive cell. Each
draw is a generated crystal that is relaxed on the force field, whose parameters are those of the generated structure; the end point is then
relaxed again with its own parameters. It is a hit if its energy is within 1 meV/atom of the known form, relaxed in the same way, and its
fingerprint within 0.05. Energies below the known form are reported as such. Draws are kept in --out, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS
from gfnff import GFNFF
from targets import TARGETS, Target

from nucleate.csp.molecular.alone import fit_alone
from nucleate.csp.molecular.settings import MolecularSettings
from nucleate.fingerprints.matching import space_group
from nucleate.fingerprints.selection import fingerprints
from nucleate.generate.molecular import MolecularGenerator
from nucleate.generate.settings import GenerateSettings
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.reading import read_molecule
from nucleate.molecules.topology import Topology
from nucleate.processes.pools import worker_pool
from nucleate.progress import silent
from nucleate.reference import Dispatcher, Ledger
from nucleate.reference.surrogates import pretrained_reference

warnings.filterwarnings("ignore", message="logm result may be inaccurate")
SAME_ENERGY = 0.001
SAME = 0.05
STEPS = 400
FMAX = 0.02


def relaxed(atoms: Atoms, topology: Topology, steps: int = STEPS) -> tuple[Atoms, float, int]:
    """Return a crystal relaxed on the force field, twice, its energy per atom and the number of steps."""
    total = 0
    for _ in range(2):
        # The package needs molecules in one piece, not cut by the cell.
        atoms = topology.whole(Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True))
        atoms.calc = GFNFF(version="mcgfnff2023", fragments=topology.fragments(atoms.numbers) + 1)
        optimiser = LBFGS(FrechetCellFilter(atoms), logfile=None, maxstep=0.15, memory=30)
        optimiser.run(fmax=FMAX, steps=steps)
        total += optimiser.nsteps
    return atoms, atoms.get_potential_energy() / len(atoms), total


@lru_cache(maxsize=1)
def alone(smiles: str) -> Molecule:
    """Return a molecule from its SMILES, relaxed alone on the force field as in a search."""
    molecule = read_molecule(smiles)
    with TemporaryDirectory() as folder:
        dispatcher = Dispatcher(pretrained_reference("gfnff", Topology((molecule,))), Ledger(Path(folder) / "molecule.db"), workers=0)
        return fit_alone(molecule, MolecularSettings(), dispatcher, np.random.default_rng(0), silent).field.molecule


def draw(target: Target, seed: int) -> dict:
    """Return the end point of one draw."""
    molecule = alone(target.smiles)
    topology = Topology((molecule,))
    generator = MolecularGenerator([molecule], [target.units], GenerateSettings(space_groups=(target.group,), workers=1))
    candidate = generator.propose(1, np.random.default_rng([seed, target.group]))[0]
    started = time.process_time()
    end, energy, steps = relaxed(candidate.atoms, topology)
    vector = fingerprints([end], sorted(set(end.numbers.tolist())))[0]
    return {
        "seed": seed, "energy": energy, "steps": steps, "seconds": round(time.process_time() - started, 2), "group": space_group(end)[1],
        "volume": end.get_volume() / target.units, "sites": candidate.details["sites"], "other": topology.others(end),
        "fingerprint": [round(float(x), 6) for x in vector],
    }  # fmt: skip


def known(target: Target) -> dict:
    """Return the known form relaxed on the force field."""
    molecule = read_molecule(target.smiles)
    topology = Topology((molecule,))
    atoms = topology.ordered(target.atoms(), target.name)
    end, energy, _ = relaxed(atoms, topology, 1000)
    vector = fingerprints([end], sorted(set(end.numbers.tolist())))[0]
    return {"energy": energy, "group": space_group(end)[1], "volume": end.get_volume() / target.units, "fingerprint": vector.tolist()}


def main() -> None:
    """Draw until each target has been hit --hits times, or --draws draws are made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="*", default=[target.name for target in TARGETS])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--hits", type=int, default=5, help="hits after which a target is finished")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path("runs/molecular_draws"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with worker_pool(options.workers) as pool:
        for name in options.targets:
            summary(next(target for target in TARGETS if target.name == name), options, pool)


def summary(target: Target, options: argparse.Namespace, pool: ProcessPoolExecutor) -> None:
    """Draw for one target and print the result."""
    file = options.out / f"{target.name.replace(' ', '_')}.jsonl"
    form = known(target)
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for row in more(target, options, pool, file, rows, form):
        if is_hit(row, form):
            print(f"{target.name}: draw {row['seed'] + 1} is a hit", flush=True)
    rows.sort(key=lambda row: row["seed"])
    hits = [row["seed"] + 1 for row in rows if is_hit(row, form)]
    lower = [row for row in rows if row["energy"] < form["energy"] - SAME_ENERGY and row["other"] is None]
    print(
        f"{target.name}: {len(hits)} hits in {len(rows)} draws (first {hits[:5]}); {len(lower)} draws lie lower, by at most "
        f"{max([1000 * (form['energy'] - row['energy']) for row in lower], default=0):.1f} meV/atom; "
        f"{np.mean([row['seconds'] for row in rows]):.1f} s and {np.mean([row['steps'] for row in rows]):.0f} steps a draw; "
        f"the known form has group {form['group']} and {form['volume']:.1f} Å³ a molecule",
        flush=True,
    )


def is_hit(row: dict, form: dict) -> bool:
    """Return whether a draw ended in the known form."""
    apart = np.linalg.norm(np.array(row["fingerprint"]) - np.array(form["fingerprint"]))
    return abs(row["energy"] - form["energy"]) < SAME_ENERGY and bool(apart < SAME)


def more(target: Target, options: argparse.Namespace, pool: ProcessPoolExecutor, file: Path, rows: list, form: dict) -> Iterator[dict]:
    """Make draws in the order of their seeds until there are enough hits; write each to the file."""
    block = 2 * options.workers
    while len(rows) < options.draws and sum(is_hit(row, form) for row in rows) < options.hits:
        seeds = range(len(rows), min(len(rows) + block, options.draws))
        for row in pool.map(draw, [target] * len(seeds), seeds):
            rows.append(row)
            with file.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            yield row


if __name__ == "__main__":
    main()
