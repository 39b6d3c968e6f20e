"""How the levels of a metal move with the volume, relative to several zeros of energy.

    OMP_NUM_THREADS=1 python benchmarks/electrons/volume/run.py

GPAW's levels are relative to the average electrostatic potential of electrons and Gaussian ions. A model of the local density of states has
to learn how they move with the volume, unless the zero is one that moves with them. fcc aluminium (LDA, HGH, one atom) is calculated at
several volumes; the slopes of the band energy, the Fermi level and the free energy are those of a parabola at the middle volume. Zeros that
are known exactly: the average of the short-ranged part of the local pseudopotential, which is inside the levels (proportional to 1/V); with
the average exchange-correlation potential of the density; the Fermi level of free electrons.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.build import bulk

from nucleate.benchmark.result_file import ResultFile
from nucleate.electrons.data.ground_state import ions_of_setups, self_consistent
from nucleate.electrons.grid import Grid
from nucleate.electrons.settings import GroundStateSettings
from nucleate.electrons.terms.exchange_correlation import xc_energy_potential
from nucleate.units import BOHR, HARTREE

VOLUMES = (16.5, 16.9, 17.35, 17.8, 18.5)
FREE = 0.5 * (3 * np.pi**2) ** (2 / 3) * HARTREE * BOHR**2
"""Fermi level of free electrons of density 1/Å³, eV."""
DOUBLE_FACTORIALS = (1, 3, 15, 105)
ZEROS = {
    "average electrostatic potential (GPAW's)": "none",
    "and short-ranged local pseudopotential": "short",
    "and exchange-correlation potential": "potential",
    "Fermi level of free electrons": "free",
}


def at(volume: float, settings: GroundStateSettings) -> dict[str, float]:
    """Return energies per atom and zeros of energy in eV at a volume in Å³/atom."""
    atoms = bulk("Al", "fcc", a=(4 * volume) ** (1 / 3))
    dft = self_consistent(atoms, settings).dft
    density = torch.tensor(dft.density.nt_sR.data[0] / BOHR**3)
    grid = Grid(torch.tensor(atoms.cell.array), tuple(density.shape))  # type: ignore[arg-type]
    potential = float(xc_energy_potential(density, grid)[1].detach().mean())
    (setup,) = dft.setups
    gth = setup.data.hghdata
    # exp(-x²/2) sum_k C_k x^(2k - 2) with x = r / rloc, integrated over space.
    integral = (2 * np.pi) ** 1.5 * gth.rloc**3 * sum(c * d for c, d in zip(gth.c_n, DOUBLE_FACTORIALS, strict=False))
    short = float(integral) * HARTREE * BOHR**3 / volume
    electrons = ions_of_setups(dft.setups)["Al"].charge
    return {
        "volume": volume, "band": float(dft.energies._energies["band"]) * HARTREE, "free": float(dft.energies.total_free) * HARTREE,
        "fermi": float(dft.ibzwfs.fermi_level) * HARTREE, "zero_short": short, "zero_potential": short + potential,
        "zero_free": FREE * (electrons / volume) ** (2 / 3), "zero_none": 0.0, "electrons": electrons,
    }  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    rows = sorted(data["rows"], key=lambda row: row["volume"])
    volume = np.array([row["volume"] for row in rows])

    def slope(values: np.ndarray) -> float:
        return float(np.polyfit(volume - np.median(volume), values, 2)[1])

    def of(name: str) -> np.ndarray:
        return np.array([row[name] for row in rows])

    lines = ["| zero of energy | band energy | Fermi level | free energy |", "|---|---|---|---|"]
    for name, key in ZEROS.items():
        zero = of(f"zero_{key}")
        free = f"{slope(of('free')):+.2f}" if key == "none" else ""
        lines.append(f"| {name} | {slope(of('band') - of('electrons') * zero):+.2f} | {slope(of('fermi') - zero):+.2f} | {free} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    settings = {"cutoff": 300.0, "k_spacing": 0.2, "electronic_temperature": 700.0}
    result = ResultFile(a.result, settings, ("gpaw",))
    for volume in VOLUMES:
        if result.find(volume=volume) is None:
            result.add(**{name: round(value, 6) for name, value in at(volume, GroundStateSettings(**settings)).items()})
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
