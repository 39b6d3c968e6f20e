"""Where couplings of Wannier functions go wrong: exchange fields on a site alone, against fields with half of what lies between sites.

    OMP_NUM_THREADS=1 python benchmarks/spins/wannier/run.py FOLDER [--mesh 14] [--width 0.1]

FOLDER is that of a finished `nucleate spins couple ... --method tb2j` of one atom a cell. Wannier functions of the two spins differ, so
V = H_up - H_down has elements between sites, which TB2J leaves out. With B_i = (P_i V + V P_i) / 2, P_i the projector on a site, none
is lost.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
from ase.io import read
from scipy.special import expit

from nucleate.spins.dft.liechtenstein import poles


def bloch(path: Path, points: np.ndarray) -> np.ndarray:
    """(k, M, M) eV, from a `_hr.dat` whose degeneracies are divided out."""
    lines = path.read_text().splitlines()
    size, count = int(lines[1]), int(lines[2])
    rows = -(-count // 15)
    values = np.array([line.split() for line in lines[3 + rows : 3 + rows + count * size * size]], dtype=float).reshape(
        count, size, size, 7
    )
    matrices = (values[..., 5] + 1j * values[..., 6]).transpose(0, 2, 1)
    found = np.einsum("kr,rab->kab", np.exp(2j * np.pi * points @ values[:, 0, 0, :3].T), matrices, optimize=True)
    return (found + found.conj().swapaxes(1, 2)) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mesh", type=int, default=14)
    parser.add_argument("--width", type=float, default=0.1)
    a = parser.parse_args()
    level = float(re.findall(r"the Fermi energy is\s*([-\d.]+) ev", (a.folder / "scf.out").read_text())[-1])
    cell = read(a.folder / "scf.pwi", format="espresso-in").cell.array
    points = np.stack(np.meshgrid(*([np.arange(a.mesh) / a.mesh] * 3), indexing="ij"), -1).reshape(-1, 3)
    h = np.array([bloch(a.folder / f"tb2j_{spin}_hr.dat", points) for spin in ("up", "down")])
    energies, vectors = np.linalg.eigh(h)
    filled = expit((level - energies) / a.width).sum(axis=(1, 2)) / len(points)
    split = h[0] - h[1]
    own = split.mean(axis=0)
    print(f"electrons {filled.sum():.3f}, moment {filled[0] - filled[1]:.3f}")
    cells = np.stack(np.meshgrid(*([np.arange(-2, 3)] * 3), indexing="ij"), -1).reshape(-1, 3)
    lengths = np.linalg.norm(cells @ cell, axis=1)
    cells, lengths = cells[(lengths > 0.1) & (lengths < 5.1)], lengths[(lengths > 0.1) & (lengths < 5.1)]
    there = np.exp(2j * np.pi * points @ cells.T) / len(points)

    def at(matrices: np.ndarray, phases: np.ndarray) -> np.ndarray:
        return np.einsum("kr,kab->rab", phases, matrices, optimize=True)

    alone, halves = np.zeros(len(cells)), np.zeros(len(cells))
    for x, residue in zip(*poles(60), strict=True):
        up, down = (
            (c / (1j * x * a.width + level - e)[:, None, :]) @ c.conj().swapaxes(1, 2) for e, c in zip(energies, vectors, strict=True)
        )
        g, f = at(up, there), at(down, there.conj())
        alone -= a.width * residue * np.einsum("ab,rbc,cd,rda->r", own, g, own, f).real
        # The product of two such fields: four terms, each of a matrix there and one back.
        for left, right in ((split @ up, split @ down), (split @ up @ split, down), (up, split @ down @ split), (up @ split, down @ split)):
            halves -= a.width * residue / 4 * np.einsum("rab,rba->r", at(left, there), at(right, there.conj())).real
    print("| Å | pairs | J, field of the site alone, meV | J, with halves of what lies between |\n|---|---|---|---|")
    for length in np.unique(lengths.round(3)):
        here = np.abs(lengths - length) < 2e-3
        texts = [f"{1e3 * j[here].mean():.2f} ± {1e3 * j[here].std():.2f}" for j in (alone, halves)]
        print(f"| {length:.3f} | {here.sum()} | {texts[0]} | {texts[1]} |")


if __name__ == "__main__":
    main()
