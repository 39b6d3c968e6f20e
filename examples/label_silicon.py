"""Label random silicon cells with GPAW and write them as extended XYZ: data for the training tutorial.

python examples/label_silicon.py --count 40 --out silicon.extxyz
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from nucleate.errors import NucleateError
from nucleate.generate import GenerateSettings, make_generator
from nucleate.reference.base import Label
from nucleate.reference.build import make_reference
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import ledger_file
from nucleate.reference.settings import ReferenceSettings


def main(count: int, out: Path) -> list:
    """Label `count` cells of two to four atoms; every answer is kept beside `out`, so that a stopped run goes on."""
    rng = np.random.default_rng(0)
    cells = []
    for number in range(count):
        generator = make_generator({"Si": 2 + number % 3}, GenerateSettings(workers=1))
        cells.append(generator.propose(1, rng)[0].atoms)
    reference = make_reference(ReferenceSettings(engine="gpaw", preset="fast"))
    with ledger_file(out.with_suffix(".db")) as ledger, Dispatcher(reference, ledger, workers=2) as dispatcher:
        answers = dispatcher.label_many(cells, "data", 0, progress=print)
    labelled = []
    for number, (atoms, answer) in enumerate(zip(cells, answers, strict=True)):
        if isinstance(answer, Label):
            atoms.calc = SinglePointCalculator(atoms, energy=answer.energy, forces=answer.forces, stress=answer.stress)
            atoms.info["parent"] = number
            labelled.append(atoms)
    if not labelled:
        raise NucleateError(f"all {count} calculations failed; the first one said: {answers[0]}")
    ase.io.write(out, labelled)
    return labelled


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("silicon.extxyz"))
    arguments = parser.parse_args()
    main(arguments.count, arguments.out)
