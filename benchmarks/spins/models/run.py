"""Learned couplings: the printed map of dimers in Bi2Te3, and dimers in MgO and aluminium from GPAW.

    OMP_NUM_THREADS=1 python benchmarks/spins/models/run.py [--map FILE] [--only map dimers curves active]

Map: 400 couplings of 20 metals as printed by J. Wasmer et al., "Benchmark study of symmetry-adapted ML-DFT models for magnetically doped
topological insulators" (2023). Grouped 10-fold cross-validation keeps a-b and b-a together; an ungrouped split and the asymmetry of the map
are reported beside it. Dimers: data/dimers.csv, made by data/dimers.py; grouped 10-fold cross-validation, then learning curves and active
learning over seeds, each of which holds out a sixth of the element pairs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from nucleate.persist.toml import read_settings
from nucleate.spins.models.active import ActiveSettings, learn_actively
from nucleate.spins.models.data import Pairs, folds, read_pairs
from nucleate.spins.models.training import PairTraining, cross_validate, fit_pairs, scores

HERE = Path(__file__).parents[2]


def row(name: str, pairs: Pairs, found) -> None:
    print(f"| {name} | {len(pairs)} | {found.mae:.3f} | {found.rmse:.3f} | {found.r2:.3f} | {100 * found.inside:.0f} |", flush=True)


HEAD = "| model | pairs | MAE, meV | RMSE, meV | R² | within one sigma, % |\n|---|---|---|---|---|---|"


def printed_map(path: Path, seeds: int) -> None:
    pairs = read_pairs(path)
    value = {pair: j for pair, j in zip(pairs.elements, pairs.couplings, strict=True)}
    mirrored = np.array([value[b, a] for a, b in pairs.elements])
    print(HEAD)
    row("b-a for a-b: the map's own asymmetry", pairs, scores(pairs, mirrored, np.zeros(len(pairs))))
    row("the mean", pairs, scores(pairs, np.full(len(pairs), pairs.couplings.mean()), np.zeros(len(pairs))))
    for seed in range(seeds):
        for model in ("elements", "kernel"):
            settings = PairTraining(model=model, seed=seed)
            row(f"{model}, seed {seed}", pairs, cross_validate(pairs, settings))
    row("elements, ungrouped", pairs, cross_validate(pairs, PairTraining(model="elements"), grouping="ungrouped"))
    row("kernel, ungrouped", pairs, cross_validate(pairs, PairTraining(model="kernel"), grouping="ungrouped"))


def dimers(pairs: Pairs, settings: dict, seeds: int) -> None:
    print(HEAD)
    row("the mean", pairs, scores(pairs, np.full(len(pairs), pairs.couplings.mean()), np.zeros(len(pairs))))
    for seed in range(seeds):
        for model in ("elements", "kernel", "network"):
            if model == "network" and seed > 0:
                continue
            row(
                f"{model}, seed {seed}",
                pairs,
                cross_validate(pairs, PairTraining.model_validate({**settings, "model": model, "seed": seed})),
            )
    row("kernel, ungrouped", pairs, cross_validate(pairs, PairTraining(model="kernel"), grouping="ungrouped"))


def held_back(pairs: Pairs, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows to test, no pair of elements in both."""
    test = folds(pairs, 6, np.random.default_rng(1000 + seed))[0]
    return np.setdiff1d(np.arange(len(pairs)), test), test


def curves(pairs: Pairs, seeds: int) -> None:
    print(
        "| labels | "
        + " | ".join(f"{m}: MAE, meV, mean and standard error over {seeds} seeds" for m in ("elements", "kernel"))
        + " |\n|---|---|---|"
    )
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        cells = []
        for model in ("elements", "kernel"):
            errors = []
            for seed in range(seeds):
                learn, test = held_back(pairs, seed)
                rows = np.random.default_rng(seed).permutation(learn)[: max(8, int(share * len(learn)))]
                fitted = fit_pairs(pairs.take(rows), PairTraining(model=model, components=[2], restarts=1, seed=seed))
                errors.append(np.abs(fitted.predict(pairs.take(test)).couplings - pairs.couplings[test]).mean())
            cells.append(f"{np.mean(errors):.2f} ± {np.std(errors) / np.sqrt(seeds):.2f}")
        print(f"| {len(rows)} |", " | ".join(cells), "|", flush=True)


def active(pairs: Pairs, seeds: int, components: int) -> None:
    strategies = ("random", "variance", "diversity")
    history: dict[str, dict[int, list[float]]] = {s: {} for s in strategies}
    for seed in range(seeds):
        learn, test = held_back(pairs, seed)
        pool, unseen = pairs.take(learn), pairs.take(test)
        for strategy in strategies:

            def progress(step, strategy=strategy, unseen=unseen) -> None:
                error = np.abs(step.model.predict(unseen)[0] - unseen.couplings).mean()
                history[strategy].setdefault(len(step.asked), []).append(float(error))

            budget = min(len(pool), 8 + 10 * ((len(pool) - 8) // 10))
            settings = ActiveSettings(strategy, first=8, batch=10, budget=min(budget, 128), components=components, seed=seed)
            learn_actively(pool, lambda k, pool=pool: float(pool.couplings[k]), settings, progress=progress)
    print(f"| labels | {' | '.join(strategies)} | variance less random, 95 % interval |\n|---|---|---|---|---|")
    for labels in sorted(history["random"]):
        both = np.array(history["variance"][labels]) - np.array(history["random"][labels])
        half = 1.96 * both.std(ddof=1) / np.sqrt(len(both))
        cells = [f"{np.mean(history[s][labels]):.2f} ± {np.std(history[s][labels], ddof=1) / np.sqrt(seeds):.2f}" for s in strategies]
        print(f"| {labels} |", " | ".join(cells), f"| {both.mean():+.2f} ± {half:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--map", type=Path)
    parser.add_argument("--dimers", type=Path, default=HERE / "data" / "dimers.csv")
    parser.add_argument(
        "--only", nargs="+", choices=["map", "dimers", "curves", "active", "map-active"], default=["map", "dimers", "curves", "active"]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    a = parser.parse_args()
    settings = read_settings(a.settings)
    if "map" in a.only and a.map is not None:
        printed_map(a.map, a.seeds)
    if "map-active" in a.only and a.map is not None:
        active(read_pairs(a.map), a.repeats, 0)
    if {"dimers", "curves", "active"} & set(a.only):
        sys.path.insert(0, str(HERE))
        from data.dimers import pairs_of

        pairs = pairs_of(a.dimers)
        if "dimers" in a.only:
            dimers(pairs, settings, a.seeds)
        if "curves" in a.only:
            curves(pairs, a.repeats)
        if "active" in a.only:
            active(pairs, a.repeats, 2)


if __name__ == "__main__":
    main()
