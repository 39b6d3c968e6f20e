"""Energy terms and figures of predicted electrons, for the command line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.cube import write_cube
from ase.units import Bohr

from nucleate.electrons.model.prediction import Electrons
from nucleate.errors import BadInput
from nucleate.report.figure_file import save_figure
from nucleate.units import GPA

NAMES = {
    "band": "band energy",
    "hartree": "- Hartree",
    "xc_potential": "- int n v_xc",
    "xc": "exchange-correlation",
    "ewald": "Ewald",
    "core": "ion core",
    "overlap": "overlap of GPAW's ions",
    "constant": "constants",
    "entropy": "- T S",
    "free": "free energy",
}


def electrons_data(found: Electrons, atoms: Atoms) -> dict[str, Any]:
    """Return the JSON-serialisable data that --json prints."""
    spin = found.levels.spin_dos
    return {
        "formula": atoms.get_chemical_formula(),
        "atoms": len(atoms),
        "temperature": found.temperature,
        "grid": list(found.grid.shape),
        "fermi_level": float(found.levels.mu),
        "electrons": float(found.density.sum()) * float(found.grid.voxel),
        "charge_error": found.charge - float(found.density.sum()) * float(found.grid.voxel),
        "terms": found.terms.as_dict(),
        "sigma_band": found.sigma_band,
        "heat_capacity": found.heat_capacity,
        "forces": None if found.forces is None else found.forces.tolist(),
        "stress": None if found.stress is None else found.stress.tolist(),
        "dos": {"energies": found.levels.energies.tolist(), "values": found.levels.dos.tolist()},
        "band_edges": None if found.levels.edges is None else list(found.levels.edges),
        "spin": None if spin is None else {"moment": found.moment, "dos": spin.tolist()},
    }


def electrons_lines(found: Electrons, atoms: Atoms) -> list[str]:
    """Return the lines printed on the terminal."""
    terms = found.terms.as_dict()
    lines = [
        f"{atoms.get_chemical_formula()}, electrons at {found.temperature:g} K, grid {' x '.join(map(str, found.grid.shape))}",
        f"{'Fermi level' if found.levels.gap is None else 'middle of the gap':26s}{float(found.levels.mu):16.4f} eV",
    ]
    if found.levels.gap is not None:
        lines.append(f"{'band gap':26s}{found.levels.gap:16.4f} eV")
    if found.spin_density is not None:
        moments = f"{found.moment:16.4f} Bohr magnetons, {found.moment / len(atoms):.4f} an atom"
        lines.append(f"{'magnetic moment':26s}{moments}")
    for name, label in NAMES.items():
        if name == "overlap" and not terms[name]:
            continue
        if not math.isfinite(terms[name]):
            lines.append(f"{label:26s}{'unknown':>16s}, because the functional and pseudopotential of the training data are unknown")
            continue
        value = -terms[name] if label.startswith("-") else terms[name]
        lines.append(f"{label:26s}{value:16.4f} eV")
    spread = f", committee spread of the band energy {1e3 * found.sigma_band:.1f} meV/atom" if found.sigma_band == found.sigma_band else ""
    lines.append(f"{terms['free'] / len(atoms):.4f} eV/atom{spread}" if math.isfinite(terms["free"]) else spread.lstrip(", "))
    if found.levels.gap is None:
        lines.append(f"heat capacity of the electrons {found.heat_capacity / len(atoms):.4f} k_B/atom")
    if found.forces is not None and found.stress is not None:
        pressure = -float(found.stress.trace()) / 3 / GPA
        lines.append(f"largest force {float(found.forces.norm(dim=1).max()):.3f} eV/Å, pressure {pressure:.2f} GPa")
    return lines


def write_cube_file(path: Path, atoms: Atoms, density: np.ndarray) -> None:
    """Write a density (n_1, n_2, n_3) in 1/Å³ as a Gaussian cube file in 1/bohr³.

    Raises:
        BadInput: The file cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8") as stream:
            write_cube(stream, atoms, data=density * Bohr**3)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error


def plot_dos(path: Path, found: Electrons, atoms: Atoms) -> None:
    """Plot the density of states with the committee's spread, or that of both spins without it, as PNG, SVG or PDF.

    Raises:
        BadInput: the file cannot be written or matplotlib does not support the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    energies = found.levels.energies.numpy() - float(found.levels.mu)
    zero = "Fermi level" if found.levels.gap is None else "middle of the gap"
    axes.axvline(0, color="0.5", lw=0.8)
    axes.set(xlabel=f"energy above the {zero} (eV)", ylabel="states/(eV atom)")
    if found.levels.spin_dos is None:
        members = found.levels.dos_members.numpy() / len(atoms)
        mean, spread = members.mean(0), members.std(0)
        axes.fill_between(energies, mean - spread, mean + spread, alpha=0.25, lw=0)
        axes.plot(energies, mean)
        axes.set_ylim(0, 1.05 * float(np.max(mean + spread)))
    else:
        both, difference = (part.numpy() / (2 * len(atoms)) for part in (found.levels.dos, found.levels.spin_dos))
        up, down = both + difference, both - difference
        axes.plot(energies, up, label="spin up")
        axes.plot(energies, -down, label="spin down")
        axes.axhline(0, color="0.5", lw=0.8)
        axes.legend()
    save_figure(figure, path)
