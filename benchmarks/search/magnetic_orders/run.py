"""Magnetic orders of rocksalt MnO on GPAW with a Hubbard U, at fixed geometry.

    OMP_NUM_THREADS=1 python benchmarks/search/magnetic_orders/run.py

The stage that a search runs on its lowest polymorphs is run on the given structure: PBE with U = 4 eV on the d shell of Mn, starting
moments of 5 Bohr magnetons, one calculation for each order. A row is an order at one lattice constant and one k-point spacing; finished
ones are not repeated.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ase.build import bulk

from nucleate.benchmark.result_file import ResultFile
from nucleate.csp.magnetic.stage import MagneticStage
from nucleate.csp.records import Polymorph
from nucleate.reference import make_reference
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import ledger_file
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.settings import RelaxSettings

MOMENTS = {"Mn": 5.0}
HUBBARD = {"Mn": 4.0}


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page: energies above type II."""
    names = ("a, Å", "k-point spacing, 1/Å", "order", "meV per formula unit", "moment of Mn, Bohr magnetons", "core time of all, s")
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for row in data["rows"]:
        same = [other for other in data["rows"] if (other["a"], other["k"]) == (row["a"], row["k"])]
        (lowest,) = (other["energy"] for other in same if other["order"] == "AFM type II")
        energy = f"{2e3 * (row['energy'] - lowest):.1f} | {row['moment']:.2f}" if row["energy"] is not None else f"{row['failure']} | "
        lines.append(f"| {row['a']:g} | {row['k']:g} | {row['order']} | {energy} | {row['core_seconds']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--constants", nargs="+", type=float, default=[4.44, 4.522], help="Lattice constants, Å.")
    parser.add_argument("--k-spacing", type=float, default=0.45)
    parser.add_argument("--cutoff", type=float, default=700.0)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    settings = ReferenceSettings(magnetic_moments=MOMENTS, hubbard_u=HUBBARD, cutoff=a.cutoff, k_spacing=a.k_spacing)
    result = ResultFile(a.result, {"cutoff": a.cutoff, "hubbard_u": HUBBARD, "moments": MOMENTS}, ("gpaw",))
    for constant in a.constants:
        if result.find(a=constant, k=a.k_spacing) is not None:
            continue
        atoms = bulk("MnO", "rocksalt", a=constant)
        polymorph = Polymorph(atoms, atoms, 0.0, 0.0, 0.0, "Fm-3m", 225, 0.0, "seed", 0, 0, 0)
        # The forces vanish by symmetry, so that nothing is left to relax.
        still = RelaxSettings(variable_cell=False, max_steps=1, patience=1)
        with tempfile.TemporaryDirectory() as folder, ledger_file(Path(folder) / "ledger.db") as ledger:
            with Dispatcher(make_reference(settings), ledger, timeout=3600.0) as dispatcher:
                MagneticStage(dispatcher, MOMENTS, still, 1).run([polymorph], [polymorph])
            seconds = sum(row.core_seconds for row in ledger.rows())
        assert polymorph.magnetic is not None
        for order in polymorph.magnetic.orders:
            result.add(
                a=constant, k=a.k_spacing, order=order.name, ended=order.ended, energy=order.energy, moment=order.moment,
                failure=order.failure, core_seconds=round(seconds),
            )  # fmt: skip
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
