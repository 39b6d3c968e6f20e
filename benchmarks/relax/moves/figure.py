"""Draw the figure of docs/learned-moves.md: force against calls on the committee, and calls to convergence on both potentials.

    OMP_NUM_THREADS=1 python benchmarks/relax/moves/figure.py

The left panel relaxes 100 held-out Si8 cells on the committee; the others show result.json.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from run import CALLS, HERE, TUNED, cells, columns, optimiser_settings

from nucleate.benchmark.result_file import read_result
from nucleate.crystals.batch import CrystalBatch
from nucleate.potentials.files import load_potential
from nucleate.relax.batched import CommitteeSurface, make_optimiser
from nucleate.relax.learned.invariants import largest_force
from nucleate.relax.learned.rollout import trajectory

OUT = Path(__file__).resolve().parents[3] / "docs" / "_static" / "learned-moves.svg"
SHOWN = ("L-BFGS", TUNED, "FIRE", "evolution", "unrolling")
COLOURS = {"L-BFGS": "#222222", TUNED: "#2ca02c", "FIRE": "#999999", "evolution": "#1f77b4", "unrolling": "#d95f02"}


def main() -> None:
    plt.rcParams.update({"svg.hashsalt": "moves", "font.size": 9})
    figure, panels = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
    potential, _ = load_potential(HERE / "committee.safetensors")
    batch = CrystalBatch.from_atoms(cells("Si8", 100))
    for name in SHOWN:
        optimiser = make_optimiser(optimiser_settings(name))
        forces = np.array([largest_force(state).numpy() for state in trajectory(optimiser, batch, CommitteeSurface(potential), 60)])
        panels[0].semilogy(np.arange(2, 62), np.nanmedian(forces, axis=1), color=COLOURS[name], label=name)
    panels[0].axhline(0.05, color="0.8", lw=0.8, zorder=0)
    panels[0].set(xlabel="force calls", ylabel="largest force, median (eV/Å)", title="committee, Si8")
    panels[0].legend(frameon=False)
    data = read_result(HERE / "result.json")
    for panel, formula in zip(panels[1:], ("Si8", "Si16", "Al4O6"), strict=True):
        every = columns(data, "chgnet", formula)
        for name in SHOWN:
            if name in every:
                calls = np.sort(np.where(every[name]["converged"], every[name]["calls"], 10 * CALLS))
                panel.step(calls, np.arange(1, len(calls) + 1) / len(calls), where="post", color=COLOURS[name])
                panel.set_title(f"CHGNet, {formula}, {len(calls)} cells")
        panel.set(xscale="log", xlim=(4, CALLS), ylim=(0, 1), xlabel="force calls", ylabel="share converged")
    figure.savefig(OUT, metadata={"Date": None})


if __name__ == "__main__":
    main()
