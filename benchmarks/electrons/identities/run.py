"""Identities on exact Kohn-Sham electrons, no network: density, band energy, entropy and free energy from the local density of states.

    OMP_NUM_THREADS=1 python benchmarks/electrons/identities/run.py

Small cells of aluminium and beryllium at 1000 K with many k-points; every row compares with GPAW's own density, eigenvalue sum and free
energy, in meV/atom, with and without the correction of the Gaussian smearing.
"""

from __future__ import annotations

import argparse

import torch
from ase import Atoms
from ase.build import bulk

from nucleate.electrons.data.ground_state import Snapshot, ground_state
from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.fermi_level import fermi_level
from nucleate.electrons.levels.smearing import weigher
from nucleate.electrons.settings import GroundStateSettings
from nucleate.electrons.species import ions_of
from nucleate.electrons.terms.free_energy import density_terms, free_energy
from nucleate.units import BOLTZMANN


def compared(snapshot: Snapshot, correct: bool) -> list[float]:
    """Electrons, density (%), then band energy, T S and free energy less GPAW's, meV/atom."""
    energies, ldos = torch.tensor(snapshot.energies), torch.tensor(snapshot.ldos).double()
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (ldos.shape[0], ldos.shape[1], ldos.shape[2]))
    dos = ldos.sum((0, 1, 2)) * grid.voxel
    weigh = weigher(energies, snapshot.sigma, snapshot.temperature, correct)
    ions = ions_of(snapshot.atoms, snapshot.ions)
    weights = weigh(fermi_level(energies, dos, ions.electrons, weigh))
    density, exact = ldos @ weights.number, torch.tensor(snapshot.density)
    terms = free_energy(
        weights.energy @ dos, weights.entropy @ dos, density_terms(density, grid), torch.tensor(snapshot.atoms.positions),
        grid.cell, ions, snapshot.temperature, overlap=True,
    )  # fmt: skip
    scale = 1e3 / len(snapshot.atoms)
    return [
        float(weights.number @ dos) - ions.electrons,
        100 * float((density - exact).abs().sum() / exact.sum()),
        scale * (float(terms.band) - snapshot.terms["band"]),
        scale * (float(terms.entropy) + snapshot.terms["entropy"]),
        scale * (float(terms.free) - snapshot.terms["free"]),
    ]


def from_gpaw(snapshot: Snapshot) -> float:
    """Free energy from GPAW's own band energy, entropy and density less GPAW's, meV/atom."""
    density = torch.tensor(snapshot.density)
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (density.shape[0], density.shape[1], density.shape[2]))
    terms = free_energy(
        torch.tensor(snapshot.terms["band"]), torch.tensor(-snapshot.terms["entropy"] / BOLTZMANN / snapshot.temperature),
        density_terms(density, grid), torch.tensor(snapshot.atoms.positions), grid.cell, ions_of(snapshot.atoms, snapshot.ions),
        snapshot.temperature, overlap=True,
    )  # fmt: skip
    return 1e3 * (float(terms.free) - snapshot.terms["free"]) / len(snapshot.atoms)


def structures() -> dict[str, Atoms]:
    """The cells."""
    aluminium, beryllium = bulk("Al", cubic=True), bulk("Be")
    aluminium.rattle(0.1, seed=1)
    beryllium.rattle(0.05, seed=1)
    return {"Al4": aluminium, "Be2": beryllium}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k-spacing", type=float, default=0.2)
    a = parser.parse_args()
    print("| cell | sigma, eV | spacing, eV | corrected | electrons | density, % | band | T S | free energy | from GPAW's own density |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, atoms in structures().items():
        for sigma, spacing in ((0.05, 0.025), (0.1, 0.05), (0.2, 0.1), (0.5, 0.1), (0.2, 0.2)):
            settings = GroundStateSettings(
                cutoff=300, k_spacing=a.k_spacing, electronic_temperature=1000, sigma=sigma, spacing=spacing, density_tolerance=1e-6
            )
            snapshot = ground_state(atoms, settings)
            own = from_gpaw(snapshot)
            for correct in (False, True):
                charge, density, *energies = compared(snapshot, correct)
                cells = (name, sigma, spacing, "yes" if correct else "no", f"{charge:.0e}", f"{density:.3f}")
                print("|", " | ".join(map(str, cells)), "|", " | ".join(f"{e:+.2f}" for e in energies), "|", f"{own:+.3f} |", flush=True)


if __name__ == "__main__":
    main()
