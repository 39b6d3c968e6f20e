"""Fourier neural operator n -> v_xc of two electrons: its errors, forward Kohn-Sham calculations, a finer grid, refinement, and costs.

    OMP_NUM_THREADS=1 python benchmarks/onedim/operator/run.py

Training wells: atoms, dimers, molecules of three charges and Gaussian wells, solved exactly. Test wells have another seed, and test
dimers have distances that training leaves out. Every row is one training seed. Finished rows are kept, and the same command goes on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nucleate.benchmark.result_file import ResultFile
from nucleate.onedim.inversion import invert
from nucleate.onedim.operator.data import HALF_LENGTH, KINDS, POINTS, Wells, exact_wells
from nucleate.onedim.operator.fourier import FourierOperator
from nucleate.onedim.operator.refinement import refine
from nucleate.onedim.operator.training import OperatorTraining, potential_error, predict, solve_with, train_operator
from nucleate.onedim.wells import Well

TRAIN_SEED, TEST_SEED = 1, 1001
FINER = 321
ITERATIONS = (1, 2, 3, 5, 10)
"""Iterations after which the error of the density is given."""


def forward(model: FourierOperator, wells: Wells) -> tuple[np.ndarray, np.ndarray, list[bool], float]:
    """Solve the Kohn-Sham equations; return errors of the density (m,) and by iteration (m, k), convergence and CPU time."""
    errors, paths, done = [], [], []
    start = time.process_time()
    for external, density in zip(wells.external, wells.density, strict=True):
        solved = solve_with(model, Well(wells.grid, external))
        path = [float(wells.grid.integral(np.abs(n - density))) / 2 for n in solved.history]
        errors.append(path[-1])
        paths.append([path[min(k, len(path)) - 1] for k in ITERATIONS])
        done.append(solved.converged)
    return np.array(errors), np.array(paths), done, time.process_time() - start


def one_seed(result: ResultFile, seed: int, train: Wells, test: Wells, finer: Wells, settings: OperatorTraining, data_cpu: float) -> None:
    before = time.process_time()
    model = train_operator(train, np.random.default_rng(seed), settings)
    train_cpu = time.process_time() - before
    train_errors = potential_error(train.grid, predict(model, train.density), train.xc, train.density)
    predicted = predict(model, test.density)
    errors = potential_error(test.grid, predicted, test.xc, test.density)
    densities, paths, done, forward_cpu = forward(model, test)
    fine_errors = potential_error(finer.grid, predict(model, finer.density), finer.xc, finer.density)
    fine_densities, _, fine_done, _ = forward(model, finer)
    kinds = np.array(test.kinds)
    by_kind = {
        kind: {
            "wells": int((kinds == kind).sum()), "potential": float(np.median(errors[kinds == kind])),
            "density": float(np.median(densities[kinds == kind])), "within": float((densities[kinds == kind] <= 0.01).mean()),
        }
        for kind in KINDS
    }  # fmt: skip
    baseline = potential_error(test.grid, -0.5 * test.grid.hartree(test.density), test.xc, test.density)
    result.add(
        task="operator", seed=seed, potential_train=float(np.median(train_errors)),
        potential=float(np.median(errors)), potential_mean=float(errors.mean()), exchange=float(np.median(baseline)),
        density=float(np.median(densities)),
        density_mean=float(densities.mean()), within=float((densities <= 0.01).mean()),
        converged=float(np.mean(done)), path=np.median(paths, axis=0).tolist(), kinds=by_kind,
        fine_potential=float(np.median(fine_errors)), fine_density=float(np.median(fine_densities)),
        fine_within=float((fine_densities <= 0.01).mean()),
        fine_converged=float(np.mean(fine_done)), train_cpu=round(train_cpu, 1), data_cpu=round(data_cpu, 1),
        forward_cpu=forward_cpu / len(test), parameters=sum(p.numel() for p in model.parameters()),
    )  # fmt: skip
    refinement(result, seed, model, test)


def refinement(result: ResultFile, seed: int, model: FourierOperator, test: Wells, count: int = 20) -> None:
    rows = np.arange(min(count, len(test)))
    before = time.process_time()
    predicted = predict(model, test.density[rows])
    predict_cpu = (time.process_time() - before) / len(rows)
    before = time.process_time()
    refined = np.array([refine(test.grid, test.external[k], test.density[k], predicted[k], seed) for k in rows])
    refine_cpu = (time.process_time() - before) / len(rows)
    before = time.process_time()
    blank = np.array([refine(test.grid, test.external[k], test.density[k], np.zeros(len(test.grid)), seed) for k in rows])
    blank_cpu = (time.process_time() - before) / len(rows)
    before = time.process_time()
    exact = np.array([invert(Well(test.grid, test.external[k]), test.density[k], 2, 1.0).xc for k in rows])
    exact_cpu = (time.process_time() - before) / len(rows)
    columns = {"operator": predicted, "refined": refined, "network alone": blank, "Newton": exact}
    errors = {name: potential_error(test.grid, v, test.xc[rows], test.density[rows]) for name, v in columns.items()}
    result.add(
        task="refinement", seed=seed, wells=len(rows), median={name: float(np.median(e)) for name, e in errors.items()},
        mean={name: float(np.mean(e)) for name, e in errors.items()}, halved=float((errors["refined"] <= errors["operator"] / 2).mean()),
        cpu={"operator": predict_cpu, "refined": predict_cpu + refine_cpu, "network alone": blank_cpu, "Newton": exact_cpu},
    )  # fmt: skip


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page."""
    rows = sorted((row for row in data["rows"] if row["task"] == "operator"), key=lambda row: row["seed"])
    s = data["settings"]
    lines = [
        f"{s['train']} training and {s['test']} test wells; errors of v_xc, weighted with the density, are in mHa (median over wells); "
        "errors of the density are the integral of |n - n_exact| divided by two electrons.",
        "",
        "| seed | v_xc, training | v_xc, test | exact exchange alone | density, median | mean | wells within 1 % | converged "
        "| training, CPU-s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        potentials = f"{1e3 * r['potential_train']:.2f} | {1e3 * r['potential']:.2f} | {1e3 * r['exchange']:.1f}"
        densities = f"{100 * r['density']:.2f} % | {100 * r['density_mean']:.2f} % | {percent(r['within'])}"
        lines.append(f"| {r['seed']} | {potentials} | {densities} | {percent(r['converged'])} | {r['train_cpu']:.0f} |")
    lines += ["", "| kind of test well | wells | v_xc, mHa | density | wells within 1 % |", "|---|---|---|---|---|"]
    for kind in KINDS:
        parts = [r["kinds"][kind] for r in rows]
        v, n = ([scale * p[name] for p in parts] for scale, name in ((1e3, "potential"), (100, "density")))
        within = [100 * p["within"] for p in parts]
        shown = f"{min(v):.2f} to {max(v):.2f} | {min(n):.2f} to {max(n):.2f} % | {min(within):.0f} to {max(within):.0f} %"
        lines.append(f"| {kind} | {parts[0]['wells']} | {shown} |")
    lines += ["", "| seed | " + " | ".join(f"after {k}" for k in ITERATIONS) + " |", "|---|" + "---|" * len(ITERATIONS)]
    lines += [f"| {r['seed']} | " + " | ".join(f"{100 * e:.2f} %" for e in r["path"]) + " |" for r in rows]
    lines += [
        "",
        f"The same wells on {s['finer']} instead of {s['points']} points, without retraining (training used {s['trained_points']} points):",
        "",
        "| seed | v_xc, mHa | density, median | wells within 1 % | converged |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['seed']} | {1e3 * r['fine_potential']:.2f} | {100 * r['fine_density']:.2f} % | {percent(r['fine_within'])} | "
            f"{percent(r['fine_converged'])} |"
        )
    refined = sorted((row for row in data["rows"] if row["task"] == "refinement"), key=lambda row: row["seed"])
    if refined:
        names = ("operator", "refined", "network alone", "Newton")
        lines += ["", "| seed | " + " | ".join(f"{name}, mHa (CPU-ms)" for name in names) + " | wells with half the error |"]
        lines.append("|---|" + "---|" * (len(names) + 1))
        for r in refined:
            cells = " | ".join(f"{1e3 * r['median'][name]:.2g} ({1e3 * r['cpu'][name]:.0f})" for name in names)
            lines.append(f"| {r['seed']} | {cells} | {percent(r['halved'])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=800)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    settings = OperatorTraining(epochs=a.epochs)
    trained_points = (POINTS - 1) // settings.stride + 1
    result = ResultFile(
        a.result,
        {
            "train": a.train, "test": a.test, "finer_test": a.test // 4, "epochs": a.epochs, "points": POINTS, "finer": FINER,
            "trained_points": trained_points, "half_length": HALF_LENGTH,
        },
        ("scipy",),
    )  # fmt: skip
    missing = [seed for seed in range(a.seeds) if result.find(task="operator", seed=seed) is None]
    if missing:
        before = time.process_time()
        train = exact_wells(a.train, np.random.default_rng(TRAIN_SEED))
        data_cpu = time.process_time() - before
        test = exact_wells(a.test, np.random.default_rng(TEST_SEED), held_out=True)
        finer = exact_wells(a.test // 4, np.random.default_rng(TEST_SEED), held_out=True, points=FINER)
        for seed in missing:
            one_seed(result, seed, train, test, finer, settings, data_cpu)
    print(table({"rows": result.rows, "settings": result.settings}))


if __name__ == "__main__":
    main()
