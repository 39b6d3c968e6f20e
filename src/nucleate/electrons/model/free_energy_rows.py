"""Change of the free energy of a snapshot with the outputs of a network, to first order around the exact local density of states.

    dF = sum_i a_i sum_r v d_i(r) + sum_c sum_r B_c(r) sum_i w_i d_ci(r)

with the derivatives of `prediction.py`: a of the band energy and the entropy at a fixed number of electrons, and B_c = dF_n/dn_c of the
density and, with spin, the spin density. In self-consistent theory changes of both terms cancel; those of a network do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.fermi_level import fermi_level
from nucleate.electrons.levels.smearing import weigher
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.state_sums import by_states_of_insulator, by_states_of_metal, filled_occupation
from nucleate.electrons.terms.free_energy import density_terms
from nucleate.units import BOLTZMANN


@dataclass(frozen=True)
class FreeEnergyRow:
    """Derivatives of the free energy of one snapshot.

    Attributes:
        same: (outputs,) derivatives that are equal at all points, eV² Å³.
        local: (fields, outputs) weights of the outputs at a point in each density, eV.
        fields: (fields, points) derivatives in the densities at each point, eV Å³.
        exact: Value of the linear form for the snapshot itself, eV.
    """

    same: Tensor
    local: Tensor
    fields: Tensor
    exact: float


def free_energy_row(model: ElectronModel, snapshot: Snapshot, targets: Tensor) -> FreeEnergyRow | None:
    """Return the derivatives of the free energy of a snapshot; None if this is not known.

    It is not known for imported data, and in a metal without states at the Fermi level.

    Args:
        model: Model.
        snapshot: Snapshot at the energies of the model.
        targets: (points, outputs) its values of the outputs.
    """
    if snapshot.density is None or model.engine.get("functional") != "LDA":
        return None
    n1, n2, n3 = snapshot.ldos.shape[:3]
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (n1, n2, n3))
    densities = [torch.tensor(snapshot.density).requires_grad_()]
    if snapshot.spin_density is not None and model.spin:
        densities.append(torch.tensor(snapshot.spin_density).requires_grad_())
    total = density_terms(densities[0], grid, "LDA", 2, *densities[1:]).total
    fields = torch.stack([part.flatten() for part in torch.autograd.grad(total, densities)])
    count, voxel = len(model.energies), float(grid.voxel)
    energies = model.absolute_energies(snapshot.electrons, grid.volume)
    by_channel = {channel: targets[:, k * count : (k + 1) * count] for k, channel in enumerate(model.channels)}
    if model.insulator:
        weights = filled_occupation(energies)
        occupied = voxel * by_channel["occupied"].sum(0, dtype=torch.float64)
        through = float((fields[0] * torch.tensor(snapshot.density).flatten()).sum())
        by_dos: Tensor | None = by_states_of_insulator(weights, float(weights.energy @ occupied), through, snapshot.electrons)
    else:
        weigh, plain = (weigher(energies, model.sigma, snapshot.temperature, correct) for correct in (True, False))
        dos = voxel * by_channel["total"].sum(0, dtype=torch.float64)
        near = float(fermi_level(energies, dos, snapshot.electrons, plain))
        mu = fermi_level(energies, dos, snapshot.electrons, weigh, near)
        weights = weigh(mu)
        slopes = torch.stack([by_channel[channel].double() @ weights.slope for channel in model.density_channels])
        through = float((fields * slopes).sum())
        by_dos = by_states_of_metal(weigh, mu, dos, BOLTZMANN * snapshot.temperature, through, snapshot.electrons)
    if by_dos is None:
        return None
    first = model.density_channels[0]
    same = torch.zeros(targets.shape[1], dtype=torch.float64)
    local = torch.zeros(len(fields), targets.shape[1], dtype=torch.float64)
    for k, channel in enumerate(model.channels):
        part = slice(k * count, (k + 1) * count)
        if channel == first:
            same[part] = voxel * by_dos
        if channel in model.density_channels:
            local[model.density_channels.index(channel), part] = weights.number
    exact = float(targets.sum(0, dtype=torch.float64) @ same) + sum(
        float((field * (targets.double() @ weight)).sum()) for field, weight in zip(fields, local, strict=True)
    )
    return FreeEnergyRow(same, local, fields, exact)
