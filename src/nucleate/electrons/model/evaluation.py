"""Errors of a model on snapshots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.fermi_level import fermi_level
from nucleate.electrons.levels.smearing import weigher
from nucleate.electrons.model.alignment import aligned
from nucleate.electrons.model.blocks import block_indices
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import Electrons, predict
from nucleate.electrons.model.slabs import Field, batches
from nucleate.units import GPA


@dataclass(frozen=True)
class Errors:
    """Errors of a model on a snapshot.

    Attributes:
        name: Folder and number of the snapshot.
        ldos: Root-mean-square error over grid and energies, relative to the root mean square of the target. At other volumes, energies of
            the model outside the window of the snapshot are left out here and in `dos`.
        density: Integral of |n - n_DFT| divided by the number of electrons, in %.
        dos: Integral of |D - D_DFT| divided by that of |D_DFT|, in %.
        band: Error of the band energy in meV/atom.
        free: Error of the free energy in meV/atom; NaN if the reference value is unknown.
        predicted_free: Predicted free energy in eV/atom.
        true_free: Reference free energy in eV/atom.
        sigma_band: Spread of the band energy over the committee in meV/atom.
        spin_density: Integral of |m - m_DFT| divided by the number of electrons, in %; NaN without spin.
        moment: Error of the magnetic moment in Bohr magnetons an atom; NaN without spin.
        gap: Error of the band gap in eV; NaN for metals.
        forces: Root-mean-square error of the force components in meV/Å; NaN if they were not asked for or are not stored.
        pressure: Error of the pressure in GPa; NaN likewise, and if the stress of the snapshot is that at a fixed number of plane waves.
    """

    name: str
    ldos: float
    density: float
    dos: float
    band: float
    free: float
    predicted_free: float
    true_free: float
    sigma_band: float
    forces: float = math.nan
    pressure: float = math.nan
    spin_density: float = math.nan
    moment: float = math.nan
    gap: float = math.nan

    def as_dict(self) -> dict[str, Any]:
        """Return a dictionary for serialisation, without the errors of forces, pressure, spin and gap if they are unknown."""
        unknown = [name for name in ("forces", "pressure", "spin_density", "moment", "gap") if math.isnan(getattr(self, name))]
        return {name: value for name, value in vars(self).items() if name not in unknown}


def errors_on(model: ElectronModel, snapshot: Snapshot, overlap: bool = True, name: str = "", forces: bool = False) -> Errors:
    """Compute the errors of a model on a snapshot with the grid and temperature of the snapshot.

    Args:
        model: Model.
        snapshot: Snapshot with its local density of states.
        overlap: Whether the free energy includes the overlap of GPAW's Gaussian ions.
        name: Name of the snapshot.
        forces: Whether to compute the errors of forces and pressure as well, if the snapshot contains them.
    """
    snapshot = aligned(snapshot, model.zero, model.energies, name or "snapshot", partly=True)
    # At another volume, the window of the snapshot may end before that of the model.
    first = int(np.abs(model.energies - snapshot.energies[0]).argmin())
    part = slice(first, first + len(snapshot.energies))
    forces = forces and snapshot.forces is not None
    shape = snapshot.ldos.shape
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (shape[0], shape[1], shape[2]))
    found = predict(model, snapshot.atoms, snapshot.temperature, shape=grid.shape, forces=forces, overlap=overlap)
    atoms, voxel = len(snapshot.atoms), float(grid.voxel)
    points = Field.of(model, snapshot.atoms, grid.shape)
    flat = torch.tensor(snapshot.ldos.reshape(-1, shape[3]))
    squared = 0.0
    with torch.no_grad():
        for index in batches(block_indices(grid.shape)):
            own = model.network(points.features(index)).mean(0)[:, : len(model.energies)][:, part]
            squared += float((own - flat[index.flatten()]).square().sum(dtype=torch.float64))
    dos = flat.sum(0, dtype=torch.float64) * voxel
    exact, band = None if snapshot.density is None else torch.tensor(snapshot.density.reshape(-1)), snapshot.terms.get("band")
    if exact is None or band is None:
        # Imported data: the levels of the snapshot itself.
        energies = found.levels.energies[part]
        weigh = weigher(energies, model.sigma, snapshot.temperature)
        weights = weigh(fermi_level(energies, dos, snapshot.electrons, weigh, near=float(found.levels.mu)))
        exact = (flat @ weights.number.float()).double() if exact is None else exact
        band = float(weights.energy @ dos) if band is None else band
    true = snapshot.terms.get("free", float("nan"))
    return Errors(
        name=name,
        ldos=(squared / float(flat.square().sum(dtype=torch.float64))) ** 0.5,
        density=100 * float((found.density.flatten() - exact).abs().sum() / exact.sum()),
        dos=100 * float((found.levels.dos[part] - dos).abs().sum() / dos.abs().sum()),
        band=1e3 * (float(found.levels.band) - band) / atoms,
        free=1e3 * (float(found.terms.free) - true) / atoms,
        predicted_free=float(found.terms.free) / atoms,
        true_free=true / atoms,
        sigma_band=1e3 * found.sigma_band,
        **(_force_errors(found, snapshot) if forces else {}),
        gap=_gap_error(found, snapshot),
        **_spin_errors(found, snapshot, electrons=float(exact.sum())),
    )


def _gap_error(found: Electrons, snapshot: Snapshot) -> float:
    if found.levels.gap is None or snapshot.band_edges is None:
        return math.nan
    return found.levels.gap - (snapshot.band_edges[1] - snapshot.band_edges[0])


def _spin_errors(found: Electrons, snapshot: Snapshot, electrons: float) -> dict[str, float]:
    """Return the errors of the spin density (%) and of the moment (Bohr magnetons an atom), if there are any.

    `electrons` is the sum of the density over the grid.
    """
    if found.spin_density is None or snapshot.spin_density is None:
        return {}
    difference = found.spin_density.numpy() - snapshot.spin_density
    moment = difference.mean() * snapshot.atoms.get_volume() / len(snapshot.atoms)
    return {"spin_density": 100 * float(np.abs(difference).sum()) / electrons, "moment": float(moment)}


def _force_errors(found: Electrons, snapshot: Snapshot) -> dict[str, float]:
    """Return the errors of forces (meV/Å) and pressure (GPa)."""
    assert found.forces is not None
    assert found.stress is not None
    assert snapshot.forces is not None
    difference = found.forces.numpy() - snapshot.forces
    errors = {"forces": 1e3 * float(np.sqrt((difference**2).mean()))}
    if snapshot.stress is not None:
        errors["pressure"] = float((np.trace(snapshot.stress) - np.trace(found.stress.numpy())) / 3 / GPA)
    return errors
