"""A leader to be killed: asks a fake reference some questions on worker processes.

    python leader.py FOLDER REFERENCE WORKERS TIMEOUT COORDINATE...

Light enough that its workers, which load this file too, begin soon.
"""

import sys
from pathlib import Path


def main():
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from ase.build import bulk

    from nucleate.reference import Dispatcher, Ledger
    from tests.reference import fakes

    folder, reference, workers, timeout = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    structures = []
    for coordinate in sys.argv[5:]:
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.positions[0, 0] = float(coordinate)
        structures.append(atoms)
    asked = getattr(fakes, reference)(folder / "paid")
    with Dispatcher(asked, Ledger(folder / "run.db"), workers=workers, timeout=timeout) as dispatcher:
        for answer in dispatcher.label_many(structures, "train", 0):
            print(getattr(answer, "kind", "ok"))


if __name__ == "__main__":
    main()
