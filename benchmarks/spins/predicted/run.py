"""Ordering temperatures from predicted couplings against those from computed ones.

    OMP_NUM_THREADS=1 python benchmarks/spins/predicted/run.py [--lattice 4.25]

For every two metals A, B of the MgO table: layers of A and B along [001] on the cations of rock salt (L1_0), nearest neighbours coupled as
the dimers are. Couplings A-A, B-B, A-B by a kernel that has seen none of these three against GPAW's own. Compared: which wave orders, its
temperature in mean field, and, for the three compounds with the highest temperatures, specific heat's peak in Monte Carlo.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.geometry import pairs_within
from nucleate.spins.models.data import Pairs
from nucleate.spins.models.training import PairTraining, fit_pairs
from nucleate.spins.order.curie import leading_order
from nucleate.spins.simulate.settings import SimulationSettings
from nucleate.spins.simulate.simulation import simulate

sys.path.insert(0, str(Path(__file__).parents[2]))
from data.dimers import pairs_of


def layered(lattice: float, elements: tuple[str, str], strength: dict[frozenset[str], float]) -> Couplings:
    """L1_0 cations with nearest neighbours coupled by their elements."""
    atoms = Atoms(elements, cell=np.diag([lattice / 2**0.5, lattice / 2**0.5, lattice]), pbc=True)
    atoms.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0.5]])
    sites = np.arange(2)
    first, second, shifts = pairs_within(atoms, sites, 1.05 * lattice / 2**0.5)
    j = np.array([strength[frozenset((elements[a], elements[b]))] for a, b in zip(first, second, strict=True)])
    return Couplings.from_atoms(atoms, sites, np.ones(2), first=first, second=second, shifts=shifts, tensors=tensor(j))


def transition(couplings: Couplings, seed: int) -> float:
    """Temperature of the specific heat's largest value, K."""
    scale = leading_order(couplings).mean_field
    temperatures = np.linspace(0.15, 0.95, 17) * scale
    rows = simulate(couplings, SimulationSettings(temperatures=temperatures.tolist(), sizes=[6], measurements=512, seed=seed)).rows
    return max(rows, key=lambda r: r.specific_heat).temperature


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimers", type=Path, default=Path(__file__).parents[2] / "data" / "dimers.csv")
    parser.add_argument("--lattice", type=float, default=4.25)
    a = parser.parse_args()
    pairs: Pairs = pairs_of(a.dimers, ("MgO",))
    near = np.abs(pairs.distances - a.lattice / 2**0.5) < 1e-3
    computed = {frozenset(e): float(j) for e, j, n in zip(pairs.elements, pairs.couplings, near, strict=True) if n}
    metals = sorted({m for pair in computed for m in pair})
    found = []
    for k, first in enumerate(metals):
        for second in metals[k + 1 :]:
            wanted = [frozenset((first,)), frozenset((second,)), frozenset((first, second))]
            if not all(w in computed for w in wanted):
                continue
            seen = [r for r, e in enumerate(pairs.elements) if frozenset(e) not in wanted]
            model = fit_pairs(pairs.take(seen), PairTraining(components=[2], restarts=1))
            rows = [next(r for r, e in enumerate(pairs.elements) if near[r] and frozenset(e) == w) for w in wanted]
            predicted = dict(zip(wanted, model.predict(pairs.take(rows)).couplings.tolist(), strict=True))
            both = [layered(a.lattice, (first, second), s) for s in (computed, predicted)]
            found.append(
                ((first, second), [computed[w] for w in wanted], [predicted[w] for w in wanted], both, [leading_order(c) for c in both])
            )
    print("| compound | J A-A, B-B, A-B from GPAW, meV | predicted | mean field from GPAW, K | predicted, K | same wave |")
    print("|---|---|---|---|---|---|")
    for (first, second), true, guess, _, (x, y) in found:
        same = np.abs((x.wave_vector - y.wave_vector + 0.5) % 1 - 0.5).max() < 1e-2
        texts = [", ".join(f"{j:+.1f}" for j in js) for js in (true, guess)]
        print(
            f"| {first}{second} | {texts[0]} | {texts[1]} | {x.mean_field:.0f} | {y.mean_field:.0f} | {'yes' if same else 'no'} |",
            flush=True,
        )
    t = np.array([[x.mean_field, y.mean_field] for *_, (x, y) in found])
    print(f"{len(found)} compounds: mean absolute error {np.abs(t[:, 0] - t[:, 1]).mean():.0f} K of {t[:, 0].mean():.0f} K")
    for (first, second), *_, both, _ in sorted(found, key=lambda f: -f[4][0].mean_field)[:3]:
        peaks = [np.mean([transition(c, seed) for seed in range(2)]) for c in both]
        text = f"{peaks[0]:.0f} K from GPAW's couplings, {peaks[1]:.0f} K from predicted ones"
        print(f"{first}{second}: specific heat peaks at {text}", flush=True)


if __name__ == "__main__":
    main()
