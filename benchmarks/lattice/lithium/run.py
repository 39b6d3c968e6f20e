"""Lithium on graphene: a cluster expansion with and without the dipole term, its ground states, and the gas beside ordered islands.

    OMP_NUM_THREADS=1 python benchmarks/lattice/lithium/run.py --out FOLDER

Labels: GPAW, PBE, 400 eV, dipole correction, 12 Å of vacuum, all k-points folding the mesh 12 x 12 of the primitive cell; carbon atoms and
the height of lithium above the hexagons are fixed. PBE-D3(BJ) adds the dispersion energy of the same structures. Training: all arrangements
of up to six cells to which the mesh folds, those of eight cells with at least five atoms, and those of 3 x 3 with at most four. Held out:
cells of 4 x 4. Finished calculations are in the ledger in FOLDER, finished rows in the result file, and the same command goes on.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, graphene

from nucleate.benchmark.result_file import ResultFile
from nucleate.lattice import api
from nucleate.lattice.dipoles import DipoleTerm, plain_charges
from nucleate.lattice.enumeration import Arrangement
from nucleate.lattice.expansion import ClusterExpansion
from nucleate.lattice.labels import Labelled, LatticeData
from nucleate.lattice.parent import Parent
from nucleate.lattice.supercells import Supercell
from nucleate.persist.files import read_lines
from nucleate.reference import ReferenceSettings, make_reference
from nucleate.reference.dispersion import d3bj
from nucleate.reference.ledger import ledger_file

LATTICE, VACUUM, HEIGHT = 2.466, 12.0, 1.8
MESH = (12, 12, 1)
REFERENCE = {"engine": "gpaw", "cutoff": 400, "smearing": 0.1, "dipole_correction": True, "timeout": 7200}
COULOMB = 14.399645
"""e^2 / (4 pi eps0), eV Å."""
MODELS = {
    "3 pairs": ([2 * LATTICE + 0.01], False),
    "3 pairs + dipoles": ([2 * LATTICE + 0.01], True),
    "4 pairs": ([2.65 * LATTICE], False),
    "3 pairs, 1 triplet": ([2 * LATTICE + 0.01, LATTICE + 0.01], False),
    "3 pairs, 1 triplet + dipoles": ([2 * LATTICE + 0.01, LATTICE + 0.01], True),
    "4 pairs, 1 triplet": ([2.65 * LATTICE, LATTICE + 0.01], False),
    "3 pairs, 3 triplets": ([2 * LATTICE + 0.01, 1.74 * LATTICE], False),
    "3 pairs, 3 triplets + dipoles": ([2 * LATTICE + 0.01, 1.74 * LATTICE], True),
    "4 pairs, 3 triplets": ([2.65 * LATTICE, 1.74 * LATTICE], False),
    "3 pairs, 3 triplets, 1 quadruplet": ([2 * LATTICE + 0.01, 1.74 * LATTICE, 1.74 * LATTICE], False),
    "3 pairs, 3 triplets, 1 quadruplet + dipoles": ([2 * LATTICE + 0.01, 1.74 * LATTICE, 1.74 * LATTICE], True),
    "4 pairs, 3 triplets, 1 quadruplet": ([2.65 * LATTICE, 1.74 * LATTICE, 1.74 * LATTICE], False),
}
"""Cutoffs in Å, and whether the dipole term is fitted. Each third model has as many parameters as the one before it."""
FUNCTIONALS = ("PBE", "PBE-D3")
SIMULATED = "3 pairs, 3 triplets + dipoles"
TEMPERATURES = [200.0, 250.0, 300.0, 350.0, 400.0, 450.0, 500.0, 600.0]
SIZES = (12, 18, 24)
COOLED = [900.0, 700.0, 600.0, 500.0, 400.0, 300.0, 200.0]
SHARE = 0.1
"""Share of filled hollow sites in the pictures of islands, 0.3 Li per 6 C."""


def structure() -> Atoms:
    """Return LiC2 with lithium above every hexagon."""
    cell = graphene(a=LATTICE).cell.array
    cell[2] = [0, 0, VACUUM]
    z = 0.5 - HEIGHT / VACUUM / 2
    scaled = [[1 / 3, 2 / 3, z], [2 / 3, 1 / 3, z], [0, 0, z + HEIGHT / VACUUM]]
    return Atoms("C2Li", cell=cell, scaled_positions=scaled, pbc=(True, True, False))


def arrangement(parent: Parent, n: int, filled: list[tuple[int, int]]) -> Arrangement:
    """Return an arrangement of n x n cells with lithium in some of them."""
    supercell = Supercell(parent, np.diag([n, n, 1]))
    occupation = np.ones(supercell.sites, dtype=int)
    for x, y in filled:
        occupation[supercell.cell_index(np.array([x, y, 0]))] = 0
    return Arrangement(supercell, occupation)


def held_out(parent: Parent) -> dict[str, Arrangement]:
    """Return dilute arrangements in 4 x 4 cells."""
    places = {"one": [(0, 0)], "two, 1 a": [(0, 0), (1, 0)], "two, 1.73 a": [(0, 0), (1, 2)], "two, 2 a": [(0, 0), (2, 0)]}
    return {name: arrangement(parent, 4, filled) for name, filled in places.items()}


def repeated(parent: Parent) -> list[list[Arrangement]]:
    """Return three arrangements, each described by two cells."""
    root = np.array([[1, -1, 0], [1, 2, 0], [0, 0, 1]])
    row = np.diag([2, 1, 1])
    pairs = []
    wide = np.rint(np.diag([3, 3, 1]) @ np.linalg.inv(root)).astype(int)
    cases: list[tuple[np.ndarray, list[int], np.ndarray]] = [
        (root, [0, 1, 1], wide),
        (np.eye(3, dtype=int), [0], np.diag([2, 2, 1])),
        (row, [0, 1], row),
    ]
    for matrix, occupation, times in cases:
        small = Supercell(parent, matrix)
        large = Supercell(parent, times @ matrix)
        filled = np.array(occupation)
        pairs.append([Arrangement(small, filled), Arrangement(large, filled[small.cell_index(large.cells)])])
    return pairs


def labels(parent: Parent, arrangements: list[Arrangement], out: Path) -> list[Labelled]:
    """Return the arrangements with PBE energies."""
    data = LatticeData(parent, [Labelled(a) for a in arrangements], mesh=MESH)

    def tell(event: object, /) -> None:
        print(event, flush=True)

    return api.compute(data, {"reference": REFERENCE}, out=out, workers=0, progress=tell).labelled


def with_dispersion(entries: list[Labelled]) -> list[Labelled]:
    """Return the labels with the D3(BJ) energy of PBE."""
    result = []
    for entry in entries:
        if entry.energy is None:
            continue
        atoms = entry.arrangement.supercell.atoms(entry.arrangement.occupation)
        result.append(Labelled(entry.arrangement, entry.energy + d3bj(atoms, "PBE")[0], entry.dipole))
    return result


def bulk_lithium(dispersion: bool) -> float:
    """Return the energy of body-centred cubic lithium, eV/atom; PBE lattice constant 3.43 Å."""
    atoms = bulk("Li", "bcc", a=3.43)
    settings = ReferenceSettings(**{**REFERENCE, "dipole_correction": False, "k_spacing": 0.12})
    energy = make_reference(settings).label(atoms).energy
    return energy + (d3bj(atoms, "PBE")[0] if dispersion else 0.0)


def islands(supercell: Supercell, occupation: np.ndarray, reach: float) -> tuple[float, int]:
    """Return the share of atoms in the largest island, and the number of directions in which it wraps around the cell (1: a stripe).

    Atoms nearer than `reach` (Å) belong together.
    """
    steps = [
        np.array([x, y, 0]) for x in range(-3, 4) for y in range(-3, 4)
        if 0 < np.linalg.norm(np.array([x, y, 0]) @ supercell.parent.cell) <= reach
    ]  # fmt: skip
    filled = np.flatnonzero(occupation == 0)
    place: dict[int, np.ndarray] = {}
    best, wraps = 0, 0
    for start in filled.tolist():
        if start in place:
            continue
        place[start] = supercell.cells[start]
        queue, size, windings = deque([start]), 0, []
        while queue:
            here = queue.popleft()
            size += 1
            for step in steps:
                there = place[here] + step
                site = int(supercell.cell_index(there))
                if occupation[site] != 0:
                    continue
                if site not in place:
                    place[site] = there
                    queue.append(site)
                elif (place[site] != there).any():
                    windings.append(place[site] - there)
        if size > best:
            best, wraps = size, int(np.linalg.matrix_rank(np.array(windings))) if windings else 0
    return best / max(1, len(filled)), wraps


def fits(result: ResultFile, name: str, data: LatticeData, dilute: dict[str, Labelled]) -> None:
    """Fit all models, and predict the held-out cells: the interaction energy of two atoms, and the energy of adding one."""
    for model_name, (cutoffs, dipoles) in MODELS.items():
        if result.find(task="fit", functional=name, model=model_name) is not None:
            continue
        model = api.fit(data, cutoffs, dipoles=dipoles, per_atom=True)
        errors = {}
        for key, entry in dilute.items():
            assert entry.energy is not None
            predicted = float(model.predict([entry.arrangement])[0]) * entry.arrangement.supercell.count
            atoms = int((entry.arrangement.occupation == 0).sum())
            errors[key] = (predicted - entry.energy) / atoms
        facts = model.facts
        result.add(
            task="fit", functional=name, model=model_name, parameters=facts["parameters"], rmse=facts["rmse"],
            loo=facts["loo"], nested=facts["nested"], dipole=model.dipole_strength if dipoles else None,
            dipole_error=facts["errors"][-1] if dipoles else None,
            dilute=errors, interactions=model.coefficients.tolist(),
        )  # fmt: skip


def hulls(result: ResultFile, name: str, data: LatticeData, lithium: float) -> None:
    """Compare every arrangement with graphene and bulk lithium, and find the ground states of the lattice."""
    if result.find(task="hull", functional=name) is not None:
        return
    shares, energies = api.shares([entry.arrangement for entry in data.with_energies]), data.energies()
    hull = api.lower_hull(shares, energies)
    bare = energies[hull.ends[1]]
    filled = shares[:, 0] > 0
    formation = (energies[filled] - bare - shares[filled, 0] * lithium) / shares[filled, 0]
    states = [[float(shares[k, 0]), float(hull.mixing[k])] for k in hull.ground_states]
    result.add(
        task="hull", functional=name, states=sorted(states), lithium=lithium, lowest_formation=float(formation.min()),
        lowest_share=float(shares[filled, 0][np.argmin(formation)]),
    )  # fmt: skip


def coexistence(result: ResultFile, name: str, model: ClusterExpansion, sizes: tuple[int, ...], seeds: int) -> None:
    """Find the equilibrium of the gas and the ordered arrangement of a third of the sites."""
    for size in sizes:
        for seed in range(seeds):
            if result.find(task="coexistence", functional=name, size=size, seed=seed) is not None:
                continue
            found = api.coexist(model, (size, size, 1), TEMPERATURES, share=1 / 3, max_cells=3, sweeps=2000, seed=seed)
            rows = [[r.temperature, r.potential, r.dilute, r.ordered] for r in found]
            result.add(task="coexistence", functional=name, size=size, seed=seed, rows=rows)


def pictures(result: ResultFile, name: str, model: ClusterExpansion, sizes: tuple[int, ...], seeds: int) -> None:
    """Cool a dilute layer at fixed composition and describe its islands."""
    for size in sizes:
        for seed in range(seeds):
            if result.find(task="islands", functional=name, size=size, seed=seed) is not None:
                continue
            supercell = Supercell(model.parent, np.diag([size, size, 1]))
            with tempfile.TemporaryDirectory() as scratch:
                record = Path(scratch) / "record.jsonl"
                api.simulate(
                    model, (size, size, 1), COOLED, composition={"Li": SHARE}, sweeps=2000, burn=1000, seed=seed, record=record
                )  # fmt: skip
                cooled = [(row["averages"]["temperature"], np.array(row["occupation"])) for row in read_lines(record)]
            shapes = [[t, *islands(supercell, last, 2 * LATTICE + 0.01)] for t, last in cooled if t <= 500]
            result.add(task="islands", functional=name, size=size, seed=seed, shapes=shapes)


def stored_model(result: ResultFile, name: str, parent: Parent) -> ClusterExpansion | None:
    """Return the simulated model from its row, so that simulations do not need the labels; None before the fit."""
    row = result.find(task="fit", functional=name, model=SIMULATED)
    if row is None:
        return None
    cutoffs, _ = MODELS[SIMULATED]
    term = DipoleTerm(max(cutoffs), plain_charges(parent))
    return ClusterExpansion(parent, tuple(cutoffs), np.array(row["interactions"]), term, row["dipole"])


def measure(result: ResultFile, parent: Parent, out: Path) -> None:
    """Calculate the labels, and add the rows of spread, dipoles, fits and ground states."""
    small = list(api.enumerate_arrangements(parent, 6, 1, MESH))
    labels(parent, small, out)
    wide = [
        found for found in api.enumerate_arrangements(parent, 9, 8, MESH)
        if ((found.occupation == 0).sum() >= 5 if found.supercell.count == 8 else (found.occupation == 0).sum() <= 4)
    ]  # fmt: skip
    pairs = repeated(parent)
    doubles = labels(parent, [each for pair in pairs for each in pair], out)
    names = list(held_out(parent))
    dilute = dict(zip(names, labels(parent, list(held_out(parent).values()), out), strict=True))
    training = labels(parent, [*small, *wide], out)
    if result.find(task="spread") is None:
        differences = []
        for small, large in zip(doubles[::2], doubles[1::2], strict=True):
            assert small.energy is not None
            assert large.energy is not None
            per_cell = large.energy / large.arrangement.supercell.count - small.energy / small.arrangement.supercell.count
            differences.append(abs(per_cell) / small.arrangement.fractions()["Li"])
        failed = sum(entry.energy is None for entry in training)
        result.add(task="spread", differences=differences, training=len(training), failed=failed)
    if result.find(task="dipole") is None:
        alone = [entry for entry in training if (entry.arrangement.occupation == 0).sum() == 1]
        for entry in sorted([*alone, dilute["one"]], key=lambda e: e.arrangement.fractions()["Li"]):
            if entry.dipole is not None:
                share = entry.arrangement.fractions()["Li"]
                matrix = entry.arrangement.supercell.matrix[:2, :2].tolist()
                result.add(task="dipole", share=share, matrix=matrix, dipole=entry.dipole, helmholtz=COULOMB * entry.dipole**2)
    for name in FUNCTIONALS:
        used = training if name == "PBE" else with_dispersion(training)
        far = dilute if name == "PBE" else dict(zip(names, with_dispersion(list(dilute.values())), strict=True))
        data = LatticeData(parent, [entry for entry in used if entry.energy is not None], REFERENCE)
        fits(result, name, data, far)
        hulls(result, name, data, bulk_lithium(name != "PBE"))


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page."""
    rows = data["rows"]
    spread = next((row for row in rows if row["task"] == "spread"), None)
    lines = []
    if spread is not None:
        text = ", ".join(f"{1e3 * value:.2f}" for value in spread["differences"])
        lines += [f"Equal arrangements in two cells each (3 and 9, 1 and 4, 2 and 4 cells) differ by {text} meV/Li.", ""]
    dipoles = [row for row in rows if row["task"] == "dipole"]
    if dipoles:
        lines += ["| Li per 6 C | dipole, e Å | p²/(4 pi eps0), eV Å³ | twice that |", "|---|---|---|---|"]
        lines += [f"| {3 * r['share']:.3f} | {r['dipole']:.4f} | {r['helmholtz']:.4f} | {2 * r['helmholtz']:.4f} |" for r in dipoles] + [""]
    keys = ("one", "two, 1 a", "two, 1.73 a", "two, 2 a")
    for name in FUNCTIONALS:
        found = [row for row in rows if row["task"] == "fit" and row["functional"] == name]
        if not found:
            continue
        head = f"| {name} | parameters | fit | leave-one-out | nested | " + " | ".join(f"4 x 4: {key}" for key in keys) + " | J_d, eV Å³ |"
        lines += [head, "|---|" + "---|" * (len(keys) + 5)]
        for r in found:
            strength = "" if r["dipole"] is None else f"{r['dipole']:.2f} ± {r['dipole_error']:.2f}"
            far = " | ".join(f"{1e3 * r['dilute'][key]:.0f}" if key in r["dilute"] else "" for key in keys)
            errors = " | ".join(f"{1e3 * r[key]:.1f}" for key in ("rmse", "loo", "nested"))
            lines.append(f"| {r['model']} | {r['parameters']} | {errors} | {far} | {strength} |")
        lines.append("")
    for r in (row for row in rows if row["task"] == "hull"):
        states = ", ".join(f"{3 * x:.3g} ({1e3 * e:.0f})" for x, e in r["states"])
        lines.append(
            f"{r['functional']}: calculated ground states of the lattice in Li per 6 C (mixing energy, meV per primitive cell): {states}; "
            f"the lowest formation energy from graphene and bulk lithium is {1e3 * r['lowest_formation']:.0f} meV/Li, at "
            f"{3 * r['lowest_share']:.3g}."
        )
    found = [row for row in rows if row["task"] == "coexistence"]
    if found:
        lines += ["", "| functional | cells | seeds | " + " | ".join(f"{t:.0f} K" for t in TEMPERATURES) + " |"]
        lines.append("|---|---|---|" + "---|" * len(TEMPERATURES))
        for name, size in sorted({(r["functional"], r["size"]) for r in found}):
            here = [r for r in found if r["functional"] == name and r["size"] == size]
            cells = []
            for k in range(len(TEMPERATURES)):
                values = [3 * r["rows"][k][2] for r in here if r["rows"][k][2] is not None]
                cells.append(f"{np.mean(values):.2g} ± {np.std(values):.1g}" if len(values) == len(here) else "none")
            lines.append(f"| {name} | {size} x {size} | {len(here)} | " + " | ".join(cells) + " |")
    found = [row for row in rows if row["task"] == "islands"]
    if found:
        temperatures = [shape[0] for shape in found[0]["shapes"]]
        lines += [
            "",
            "| functional | cells | " + " | ".join(f"{t:.0f} K" for t in temperatures) + " |",
            "|---|---|" + "---|" * len(temperatures),
        ]
        for name, size in sorted({(r["functional"], r["size"]) for r in found}):
            here = [r for r in found if r["functional"] == name and r["size"] == size]
            cells = []
            for k in range(len(temperatures)):
                share = np.mean([r["shapes"][k][1] for r in here])
                stripes = sum(r["shapes"][k][2] > 0 for r in here)
                cells.append(f"{100 * share:.0f} %, {stripes} of {len(here)}")
            lines.append(f"| {name} | {size} x {size} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--retry", action="store_true", help="repeat calculations that failed")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if a.retry:
        with ledger_file(a.out / "ledger.db") as ledger:
            ledger.forget_failures()
    parent = api.make_parent(structure(), {"Li": ["Li", "X"]})
    settings = {"reference": REFERENCE, "mesh": list(MESH), "height": HEIGHT, "lattice": LATTICE, "vacuum": VACUUM}
    result = ResultFile(a.result, settings, ("gpaw", "dftd3"))
    if not all(stored_model(result, name, parent) and result.find(task="hull", functional=name) for name in FUNCTIONALS):
        measure(result, parent, a.out)
    for name in FUNCTIONALS:
        model = stored_model(result, name, parent)
        assert model is not None
        coexistence(result, name, model, SIZES, a.seeds)
        pictures(result, name, model, (*SIZES, 36), a.seeds)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
