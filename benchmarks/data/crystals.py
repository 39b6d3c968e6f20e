"""Silicon and alumina labelled with GPAW: random cells of several sizes, a third as generated, the others partly relaxed on CHGNet.

    OMP_NUM_THREADS=1 python benchmarks/data/crystals.py silicon --count 480 --out runs/silicon.extxyz --ledgers runs/*/run.db

Labels that searches paid for already are taken from their ledgers, where they are of the same functional; new ones are made until
`--count` are there. Cell k follows from the seed and k alone, and every label is in a ledger beside the output: a stopped run goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from nucleate.generate import GenerateSettings, make_generator
from nucleate.potentials.prior import PriorPotential
from nucleate.reference.base import Label
from nucleate.reference.build import make_reference
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import ledger_file, read_labels
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.batched import relax
from nucleate.relax.settings import RelaxSettings

CELLS = {
    "silicon": [{"Si": n} for n in (2, 4, 6, 3, 8)],
    "alumina": [{"Al": 2, "O": 3}, {"Al": 2, "O": 3}, {"Al": 2, "O": 3}, {"Al": 4, "O": 6}],
}
"""What cells of each material are made in turn."""
MOST_STEPS = 30


def candidate(material: str, number: int, seed: int, prior: PriorPotential) -> tuple[Atoms, int]:
    """Cell `number` and how many steps it was relaxed on CHGNet."""
    rng = np.random.default_rng([seed, number])
    counts = CELLS[material][number % len(CELLS[material])]
    atoms = make_generator(counts, GenerateSettings()).propose(1, rng)[0].atoms
    if number % 3 == 0:
        return atoms, 0
    steps = int(rng.integers(3, MOST_STEPS + 1))
    return relax([atoms], prior, RelaxSettings(max_steps=steps))[0].atoms, steps


def labelled(atoms: Atoms, label: Label, **info: str | int) -> Atoms:
    """The structure with its label, as a frame of extended XYZ."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    frame.calc = SinglePointCalculator(frame, energy=label.energy, forces=label.forces, stress=label.stress)
    frame.info.update(info)
    return frame


def from_ledgers(paths: list[Path], elements: set[str]) -> list[Atoms]:
    """GPAW labels of structures of just these elements, each once."""
    found: list[Atoms] = []
    seen: set[bytes] = set()
    for path in paths:
        for _, reference, atoms, label in read_labels(path):
            key = np.round(atoms.positions, 6).tobytes() + np.round(atoms.cell.array, 6).tobytes()
            if reference.startswith("gpaw") and set(atoms.get_chemical_symbols()) == elements and key not in seen:
                seen.add(key)
                found.append(labelled(atoms, label, origin="search"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("material", choices=sorted(CELLS))
    parser.add_argument("--count", type=int, default=480)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--ledgers", type=Path, nargs="*", default=[], help="ledgers of searches whose labels are taken first")
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    elements = set(CELLS[a.material][0])
    frames = from_ledgers(a.ledgers, elements)
    print(f"{len(frames)} labels from ledgers", flush=True)
    reference = make_reference(ReferenceSettings(engine="gpaw", preset=a.preset))
    prior = PriorPotential("chgnet")
    number, failed, spent = 0, 0, 0.0
    a.out.parent.mkdir(parents=True, exist_ok=True)
    with ledger_file(a.out.with_suffix(".db")) as ledger, Dispatcher(reference, ledger, timeout=600) as dispatcher:
        while len(frames) < a.count:
            atoms, steps = candidate(a.material, number, a.seed, prior)
            (answer,) = dispatcher.label_many([atoms], "data", 0)
            if isinstance(answer, Label):
                frames.append(labelled(atoms, answer, origin=f"random {number}, {steps} steps"))
                spent += answer.core_seconds
                if len(frames) % 20 == 0:
                    ase.io.write(a.out, frames)
                    print(f"{len(frames)} of {a.count}, {failed} failed, {spent:.0f} core-s for the new ones", flush=True)
            else:
                failed += 1
                print(f"{number} {atoms.get_chemical_formula()}: {answer}", flush=True)
            number += 1
    ase.io.write(a.out, frames)
    print(f"{len(frames)} labels, {failed} failed, {spent:.0f} core-s for the new ones; {a.out}")


if __name__ == "__main__":
    main()
