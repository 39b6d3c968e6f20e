"""Draw the figure of docs/learned-moves.md: force against calls on the committee, and calls to convergence on both potentials.

    OMP_NUM_THREADS=1 python benchmarks/relax/moves/figure.py

The left panel relaxes 100 held-out Si8 cells on the committee; the others show result.json. The mean calls of these cells
to tighter thresholds are printed.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from run import CALLS, HERE, SCALED, cells, columns, optimiser_settings

from nucleate.benchmark.result_file import read_result
from nucleate.crystals.batch import CrystalBatch
from nucleate.potentials.files import load_potential
from nucleate.relax.batched import CommitteeSurface, make_optimiser, relax
from nucleate.relax.learned.invariants import largest_force
from nucleate.relax.learned.rollout import trajectory

OUT = Path(__file__).resolve().parents[3] / "docs" / "_static" / "learned-moves.svg"
SHOWN = ("L-BFGS", SCALED, "FIRE", "evolution", "unrolling")
COLOURS = {"L-BFGS": "#222222", SCALED: "#2ca02c", "FIRE": "#999999", "evolution": "#1f77b4", "unrolling": "#d95f02"}


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
    data = read_result(HERE / "result.json")
    for panel, formula in zip(panels[1:], ("Si8", "Si16", "Al4O6"), strict=True):
        every = columns(data, "chgnet", formula)
        for name in SHOWN:
            if name in every:
                calls = np.sort(np.where(every[name]["converged"], every[name]["calls"], 10 * CALLS))
                panel.step(calls, np.arange(1, len(calls) + 1) / len(calls), where="post", color=COLOURS[name])
                panel.set_title(f"CHGNet, {formula}, {len(calls)} cells")
        panel.set(xscale="log", xlim=(4, CALLS), ylim=(0, 1), xlabel="force calls", ylabel="share converged")
    panels[3].legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="upper left", fontsize=8)
    figure.savefig(OUT, metadata={"Date": None})


def print_tighter() -> None:
    """Print calls to convergence and mean ends at four thresholds of force (eV/Å) and stress (GPa)."""
    potential, _ = load_potential(HERE / "committee.safetensors")
    atoms = cells("Si8", 100)
    for fmax, smax in ((0.05, 0.5), (0.02, 0.1), (0.005, 0.05), (1e-4, 0.001)):
        for name in ("L-BFGS", SCALED, "evolution"):
            ends = relax(atoms, potential, optimiser_settings(name, fmax=fmax, smax=smax, max_steps=CALLS - 1, patience=CALLS))
            converged = sum(end.stop == "converged" for end in ends)
            calls = [end.steps + 1 for end in ends]
            text = f"mean {np.mean(calls):.1f}, median {np.median(calls):.1f} calls, {converged} converged"
            print(f"{fmax} eV/Å, {smax} GPa, {name}: {text}, {np.mean([end.energy_per_atom for end in ends]):.3f} eV/atom")


if __name__ == "__main__":
    main()
    print_tighter()
