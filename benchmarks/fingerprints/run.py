"""How well fingerprints tell rattled copies of different crystals apart.

    OMP_NUM_THREADS=1 python benchmarks/fingerprints/run.py

Each crystal of a set is copied six times, with Gaussian displacements of its atoms (one standard deviation per component) and a Gaussian
strain of 1 % per component. Sets: the AFLOW prototypes of SiO2 and C in pymatgen, and the minima at which searches of Si8 and Al4O6 on
CHGNet end, one of each set of duplicates by pymatgen's StructureMatcher. Columns: smallest distance of copies of different crystals over
the largest distance of copies of one; share of copies whose nearest neighbour is a copy of the same crystal; adjusted Rand index of average
linkage with the right number of clusters; the same of `nucleate.polymorphs.families`, which finds the number, with that number; the same of
HDBSCAN.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from nucleate import api
from nucleate.benchmark.result_file import ResultFile
from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.formula import parse_formula, scale_formula
from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict
from nucleate.csp.run_data import read_run
from nucleate.fingerprints.latent import Latent
from nucleate.fingerprints.matching import same_crystal
from nucleate.fingerprints.registry import FINGERPRINTS
from nucleate.generate.aflow import read_prototypes
from nucleate.polymorphs.families import families
from nucleate.potentials.files import load_potential

COPIES = 6
STRAIN = 0.01
RATTLES = [0.02, 0.05, 0.1, 0.15]
PROTOTYPES = ["SiO2", "C"]
SEARCHES = ["Si8", "Al4O6"]
MOST_ENDS = 20


def prototypes(formula: str) -> list[Atoms]:
    """Return the primitive cells of the AFLOW prototypes of a compound."""
    wanted = scale_formula(parse_formula(formula), 1)
    return [prototype.atoms for prototype in read_prototypes() if scale_formula(prototype.counts, 1) == wanted]


def ends(formula: str, out: Path) -> list[Atoms]:
    """Return the distinct minima that a search on CHGNet has carried over to its last round, from the file of an earlier call if any."""
    path = out / f"{formula}-ends.json"
    if not path.exists():
        folder = out / formula
        if not folder.exists():
            given = {"reference": {"engine": "chgnet"}, "seed": 7, "search": {"budget": 120, "check": False, "proof": False}}
            api.search(formula, settings=given, prototypes=False, out=folder)
        run = read_run(folder)
        found: list[Atoms] = []
        for atoms in [*(p.atoms for p in run.state.ranking()), *(c.atoms for c in run.state.carried)]:
            if len(found) < MOST_ENDS and not any(same_crystal(atoms, other) for other in found):
                found.append(atoms)
        path.write_text(json.dumps([atoms_to_dict(atoms) for atoms in found]))
    return [atoms_from_dict(data) for data in json.loads(path.read_text())]


def rattled(atoms: Atoms, rattle: float, rng: np.random.Generator) -> Atoms:
    """Return a copy with displaced atoms and a strained cell."""
    copy: Atoms = atoms.copy()
    strain = rng.normal(0, STRAIN, (3, 3))
    copy.set_cell(copy.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    copy.positions += rng.normal(0, rattle, copy.positions.shape)
    return copy


def measures(distances: np.ndarray, truth: np.ndarray) -> dict[str, float | int]:
    """Return the columns of the table for (n, n) distances and the (n,) crystals of the copies."""
    d = 0.5 * (distances + distances.T)
    np.fill_diagonal(d, 0.0)
    same = truth[:, None] == truth[None]
    off = ~np.eye(len(d), dtype=bool)
    nearest = np.where(off, d, np.inf).argmin(1)
    known = fcluster(linkage(squareform(d, checks=False), "average"), len(set(truth.tolist())), "maxclust")
    found = families(d)
    density = HDBSCAN(min_cluster_size=3, metric="precomputed", copy=True).fit_predict(d)
    return {
        "separation": round(float(d[~same].min() / d[same & off].max()), 3),
        "nearest": round(float((truth[nearest] == truth).mean()), 3),
        "ari": round(float(adjusted_rand_score(truth, known)), 3),
        "families": int(found.max() + 1),
        "families_ari": round(float(adjusted_rand_score(truth, found)), 3),
        "hdbscan_ari": round(float(adjusted_rand_score(truth, density)), 3),
    }


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page: one for each set, at 0.1 Å, and one over all rattles."""
    rows, at = data["rows"], RATTLES.index(0.1)
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        mine = [row for row in rows if row["set"] == name]
        crystals, seeds = mine[0]["crystals"], len({row["seed"] for row in mine})
        lines += [
            f"{name}: {crystals} crystals, {seeds} seeds; nearest neighbour right / adjusted Rand index with the number known, by rattle, "
            "and at 0.1 Å also separation, families found (index), index of HDBSCAN, and ms per structure to describe and per pair.",
            "",
            "| fingerprint | " + " | ".join(f"{r:g} Å" for r in RATTLES) + " | separation | families | HDBSCAN | ms | ms per pair |",
            "|" + "---|" * (len(RATTLES) + 6),
        ]
        for fingerprint in dict.fromkeys(row["fingerprint"] for row in mine):
            own = [row for row in mine if row["fingerprint"] == fingerprint]
            cells = [f"{_mean(own, 'nearest', k):.2f} / {_mean(own, 'ari', k):.2f}" for k in range(len(RATTLES))]
            separation = "any" if any(row["separation"][at] is None for row in own) else f"{_mean(own, 'separation', at):.2f}"
            found = ", ".join(str(row["families"][at]) for row in own)
            cost = " | ".join(f"{np.mean([row[key] for row in own]):.{digits}f}" for key, digits in (("ms", 1), ("pair_ms", 3)))
            lines.append(
                f"| {fingerprint} | {' | '.join(cells)} | {separation} | {found} ({_mean(own, 'families_ari', at):.2f}) | "
                f"{_mean(own, 'hdbscan_ari', at):.2f} | {cost} |"
            )
        right = []
        for fingerprint in dict.fromkeys(row["fingerprint"] for row in mine):
            own = [row for row in mine if row["fingerprint"] == fingerprint]
            count = sum(row["families"][0] == crystals for row in own)
            right.append(f"{fingerprint} {count} of {seeds} ({min(row['families_ari'][0] for row in own):.2f})")
        lines += ["", f"Right number of families at {RATTLES[0]:g} Å (smallest index): {', '.join(right)}.", ""]
    return "\n".join(lines).rstrip()


def _mean(rows: list[dict[str, Any]], key: str, rattle: int) -> float:
    return float(np.mean([row[key][rattle] for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=PROTOTYPES + SEARCHES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/fingerprints"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    result = ResultFile(a.result, {"copies": COPIES, "strain": STRAIN, "rattles": RATTLES}, ("pymatgen", "scikit-learn"))
    for name in a.sets:
        crystals = ends(name, a.out) if name in SEARCHES else prototypes(name)
        species = sorted({int(z) for atoms in crystals for z in atoms.numbers})
        fingerprints = {key: kind(species) for key, kind in FINGERPRINTS.items()}
        if name in SEARCHES:
            model = max((a.out / name / "models").glob("*.safetensors"))
            fingerprints[Latent.name] = Latent(load_potential(model)[0])
        truth = np.repeat(np.arange(len(crystals)), COPIES)
        for seed in range(a.seeds):
            batches = []
            for rattle in RATTLES:
                rng = np.random.default_rng([seed, round(1000 * rattle)])
                batches.append(CrystalBatch.from_atoms([rattled(crystals[k], rattle, rng) for k in truth]))
            for key, fingerprint in fingerprints.items():
                if result.find(set=name, seed=seed, fingerprint=key) is not None:
                    continue
                # Kernels are compiled before the time is taken.
                fingerprint.describe(batches[0].select(batches[0].ids[:2]))
                found, times = [], np.zeros(2)
                for batch in batches:
                    start = time.process_time()
                    described = fingerprint.describe(batch)
                    middle = time.process_time()
                    distances = fingerprint.distances(described, described)
                    times += middle - start, time.process_time() - middle
                    found.append(measures(distances, truth))
                count = len(RATTLES) * len(truth)
                result.add(
                    set=name, crystals=len(crystals), seed=seed, fingerprint=key, **{k: [each[k] for each in found] for k in found[0]},
                    ms=round(1e3 * times[0] / count, 2), pair_ms=round(1e3 * times[1] / count / len(truth), 4),
                )  # fmt: skip
            print(name, seed, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
