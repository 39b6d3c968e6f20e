"""Couplings of transition-metal dimers in MgO (PBE + U) and aluminium (PBE), from GPAW.

    OMP_NUM_THREADS=1 python benchmarks/data/dimers.py [--only mgo al] --out runs/dimers

Settings: dimers.toml beside this file. Two states a dimer, moments verified; calculations are in a ledger: a stopped run goes on
and failures are not asked again. The table is written after every dimer; failures stand in it with their reason and no number.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from nucleate.errors import ReferenceFailed
from nucleate.persist.toml import read_settings
from nucleate.reference import Dispatcher, ReferenceSettings, make_reference
from nucleate.reference.ledger import ledger_file
from nucleate.spins.dft.dimers import Dimer, dimer_coupling, host_pairs, put_in
from nucleate.spins.dft.mapping import MappingSettings
from nucleate.spins.models.data import Pairs

COLUMNS = ("host", "element_a", "element_b", "lattice", "repeat", "site_a", "site_b", "distance", "bonds", "J_meV", "moment_a", "moment_b",
           "core_seconds", "failure")  # fmt: skip


def dimers(table: dict[str, Any]) -> list[tuple[float, Dimer]]:
    """Every dimer of a table of settings, with its lattice constant."""
    found = []
    nearest, farthest = table["distances"]
    for lattice in table["lattice"]:
        host: Atoms = bulk(table["compound"], table["crystal"], a=lattice, cubic=True).repeat(table["repeat"])
        sites = [p for p in host_pairs(host, table["replaced"], farthest) if put_in(host, p, (table["replaced"],) * 2).distance >= nearest]
        for pair in sites:
            for elements in itertools.combinations_with_replacement(table["impurities"], 2):
                found.append((lattice, put_in(host, pair, elements)))
    return found


def pairs_of(path: Path, hosts: tuple[str, ...] = ("MgO", "Al")) -> Pairs:
    """Dimers of a table that have a coupling, with their crystals."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(line for line in stream if not line.startswith("#")) if row["J_meV"] and row["host"] in hosts]
    atoms, sites, vectors = [], [], []
    for row in rows:
        crystal = "rocksalt" if row["host"] == "MgO" else "fcc"
        host = bulk(row["host"], crystal, a=float(row["lattice"]), cubic=True).repeat([int(n) for n in row["repeat"].split("x")])
        dimer = put_in(host, (int(row["site_a"]), int(row["site_b"])), (row["element_a"], row["element_b"]))
        atoms.append(dimer.atoms)
        sites.append(dimer.sites)
        vectors.append(dimer.vector)
    return Pairs.of_crystals(atoms, np.array(sites), np.array(vectors), np.array([float(row["J_meV"]) for row in rows]))


def reference_settings(table: dict[str, Any]) -> ReferenceSettings:
    """How GPAW computes a table's dimers."""
    parameters: dict[str, Any] = {"convergence": {"density": 1e-4, "energy": 1e-6}}
    if "hubbard" in table:
        parameters["setups"] = {element: f":d,{table['hubbard']}" for element in table["impurities"]}
    return ReferenceSettings(
        cutoff=table["cutoff"], k_spacing=table["k_spacing"], smearing=0.1, workers=0, parameters=parameters, max_iterations=80
    )


HEADER = """# Couplings of transition-metal dimers: H = - sum over bonds J e_a.e_b, unit vectors, meV a bond, positive is ferromagnetic.
# J = (E_opposite - E_aligned) / (2 bonds); it holds what farther images add. One bond: an isolated pair; more: a cell of ordered pairs.
# GPAW 26.7, PAW, PBE, Fermi-Dirac 0.1 eV. MgO: 400 eV, U = 4 eV on d (Dudarev), a gap is required. Al: 350 eV.
# k-points, starting moments and all else: dimers.toml. Made by dimers.py. An empty J is a failure, with its reason.
"""


def read(path: Path) -> list[list[str]]:
    """Rows of a table, without its head."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(line for line in stream if not line.startswith("#")))[1:]


def write(path: Path, rows: list[list[Any]]) -> None:
    """A table with its settings on top."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.write(HEADER)
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_suffix(".toml"))
    parser.add_argument("--out", type=Path, default=Path("runs/dimers"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    every = read_settings(a.settings)
    for name in a.only or every:
        table = every[name]
        mapping = MappingSettings(moments=table["impurities"], cutoff=table["distances"][1], insulator=table["insulator"])
        rows = []
        with ledger_file(a.out / f"{name}.db") as ledger, Dispatcher(make_reference(reference_settings(table)), ledger) as dispatcher:
            for lattice, dimer in dimers(table):
                repeat = "x".join(map(str, table["repeat"]))
                row = [table["compound"], *dimer.elements, lattice, repeat, *dimer.sites, round(dimer.distance, 4), dimer.bonds]
                try:
                    found = dimer_coupling(dimer, mapping, dispatcher)
                    row += [round(found.coupling, 4), *(round(m, 3) for m in found.moments), round(found.core_seconds), ""]
                except ReferenceFailed as failure:
                    row += ["", "", "", "", failure.reason]
                rows.append(row)
                print(name, *row, flush=True)
                write(a.out / f"{name}.csv", rows)
    merged = [row for path in sorted(a.out.glob("*.csv")) if path.name != "dimers.csv" for row in read(path)]
    write(a.out / "dimers.csv", merged)


if __name__ == "__main__":
    main()
