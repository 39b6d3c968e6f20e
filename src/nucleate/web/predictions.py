"""Predictions of each kind of model for one structure, as data for the page; called in the process of `child.py`."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.io.cube import write_cube
from ase.units import Bohr

from nucleate.errors import BadInput
from nucleate.web.models import Kind, refuse_model

MOST_POINTS = 600_000
"""Largest number of grid points on which electrons are predicted."""
MOST_DRAWN = 150_000
"""Largest number of grid points of the density that is returned: some 2 MB as text."""


def predicted(atoms: Atoms, model: str, kind: Kind, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model predicts for a structure.

    Args:
        atoms: the structure.
        model: path of the model.
        kind: kind of the model.
        options: options of the prediction.

    Raises:
        BadInput: the model is of another kind, or does not support the structure or the options.
    """
    torch.set_num_threads(1)
    refuse_model(Path(model), kind)
    if kind == "potential":
        return _potential(atoms, model)
    return _electrons(atoms, model, options) if kind == "electrons" else _couplings(atoms, model, options)


def _potential(atoms: Atoms, model: str) -> dict[str, Any]:
    """Return `energy` (eV), `energy_per_atom`, `sigma` (eV/atom), `forces` (eV/Å), `forces_sigma`, `stress` and `members`.

    The stress is in eV/Å³ in Voigt order. `extxyz` is the text of a file with the results.
    """
    from nucleate.potentials.calculator import NucleateCalculator

    atoms = atoms.copy()
    atoms.calc = NucleateCalculator(model)
    atoms.get_potential_energy()
    found = atoms.calc.results
    stream = io.StringIO()
    ase.io.write(stream, atoms, format="extxyz")
    return {
        "energy": found["energy"],
        "energy_per_atom": found["energy"] / len(atoms),
        "sigma": found["sigma"],
        "forces": found["forces"].tolist(),
        "forces_sigma": found["forces_sigma"].tolist(),
        "stress": found["stress"].tolist(),
        "members": len(found["energies_committee"]),
        "extxyz": stream.getvalue(),
    }


def _electrons(atoms: Atoms, model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of `nucleate electrons predict --json` and more.

    They are `members`, `sigma_dos` (1/eV, standard deviation over the members), `levels` (Fermi level of each member in eV), `cube` (the
    density as the text of a file), `cube_grid` (its numbers of points, fewer than those of `grid` for large cells) and `density_range`
    (smallest and largest value, 1/Å³).
    """
    from nucleate.electrons.model.model import ElectronModel
    from nucleate.electrons.model.prediction import predict
    from nucleate.report.electrons import electrons_data

    if not atoms.pbc.all():
        raise BadInput("electrons need a structure that is periodic in three directions")
    known = ElectronModel.load(Path(model))
    known.species(atoms)
    grid = known.grid(atoms)
    if grid.size > MOST_POINTS:
        raise BadInput(
            f"the structure needs a grid of {grid.size} points; at most {MOST_POINTS} are accepted here: use nucleate electrons predict"
        )
    temperature = options.get("temperature") or known.facts.get("temperature")
    if temperature is None:
        raise BadInput("the model does not state the temperature of its training data; give an electronic temperature")
    found = predict(known, atoms, temperature, forces=bool(options.get("forces")))
    density = found.density.numpy()
    drawn = reduced(density)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stream:
        # ASE writes numbers past the buffers of Python, so that it needs a real file.
        write_cube(stream, atoms, data=drawn * Bohr**3)
        stream.seek(0)
        cube = stream.read()
    return {
        **electrons_data(found, atoms),
        "members": known.network.members,
        "sigma_dos": found.levels.dos_members.std(0, correction=0).tolist(),
        "levels": found.levels.members[:, 0].tolist(),
        "cube": cube,
        "cube_grid": list(drawn.shape),
        "density_range": [float(drawn.min()), float(drawn.max())],
    }


def reduced(density: np.ndarray, most: int = MOST_DRAWN) -> np.ndarray:
    """Return a periodic density on at most `most` points, without the waves that the coarser grid cannot hold; the integral is the same."""
    factor = (density.size / most) ** (1 / 3)
    if factor <= 1:
        return density
    waves: np.ndarray = np.fft.fftn(density, norm="forward")
    for axis, points in enumerate(density.shape):
        # An odd number of points has as many waves of either sign, so that the density remains real.
        kept = (max(1, int(points / factor)) - 1) // 2
        chosen = np.r_[0 : kept + 1, points - kept : points]
        waves = np.take(waves, chosen, axis=axis)
    result: np.ndarray = np.fft.ifftn(waves, norm="forward").real
    return result


def _couplings(atoms: Atoms, model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `model` (its type), `cutoff` (Å), `longest` (largest distance in the training, Å, or null), `training` (pairs) and `pairs`.

    A pair has `elements`, `sites`, `distance` and `vector` (Å), `count` (pairs in the cell), `J` and `error` (meV), and `D` (meV, or null).
    """
    from nucleate.spins.models.crystal import predict_crystal
    from nucleate.spins.models.training import load_pairs_model

    known = load_pairs_model(Path(model))
    found = predict_crystal(known, atoms, options.get("cutoff"))
    pairs = [
        {
            "elements": list(found.elements[k]),
            "sites": found.sites[k].tolist(),
            "distance": float(found.distances[k]),
            "vector": found.vectors[k].tolist(),
            "count": int(found.pairs[k]),
            "J": float(found.couplings[k]),
            "error": float(found.errors[k]),
            "D": None if found.dm is None else float(found.dm[k]),
        }
        for k in range(len(found.elements))
    ]
    return {
        "model": known.settings.model,
        "cutoff": found.cutoff,
        "longest": found.longest,
        "training": len(known.pairs),
        "pairs": pairs,
    }
