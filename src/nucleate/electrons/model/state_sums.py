"""Density of states, Fermi level and band energy from the sum of h over a grid, and contractions of h that give densities.

Metals: occupations follow from the Fermi level at which the density of states contains all electrons, see `electrons/levels`.

Insulators: an error of the density of states would put the Fermi level into one of the bands. The part o(E, r) of the occupied levels is
learned as well, from which n(r) = int o dE and E_b = int E o dE dr, both scaled to the exact number of electrons. Neither depends on the
width of the Gaussians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nucleate.electrons.data.ground_state import INSULATING, Snapshot
from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.occupation import Occupation
from nucleate.electrons.levels.smearing import unsmeared_level
from nucleate.electrons.model.header import Channel
from nucleate.electrons.model.model import ElectronModel
from nucleate.errors import BadInput
from nucleate.units import BOLTZMANN

GAP = 1e-6
"""Number of states within kT of the Fermi level, relative to the electrons, below which a gap is assumed."""
MISSING = 1e-4
"""Largest fraction of electrons outside the energy window."""
TAIL = 0.001
"""Number of states between a band edge and the energy by which it is found, relative to the electrons."""


@dataclass(frozen=True)
class Levels:
    """Density of states and derived quantities.

    Attributes:
        energies: (n_energies,) energies in eV.
        dos: (n_energies,) committee mean of the density of states in 1/eV.
        dos_members: (members, n_energies) density of states of each member.
        mu: Fermi level in eV; the middle of the band gap of an insulator.
        weights: Occupation weights of the energies.
        band: Band energy E_b in eV.
        entropy: Entropy S in units of Boltzmann's constant.
        members: (members, 2) Fermi level and band energy of each member.
        spin_dos: (n_energies,) density of states of spin up minus that of spin down in 1/eV, committee mean; None without spin.
        edges: Band edges of an insulator in eV; None for metals.
        occupied: (n_energies,) density of the occupied states of an insulator in 1/eV, committee mean; empty for metals.
    """

    energies: Tensor
    dos: Tensor
    dos_members: Tensor
    mu: Tensor
    weights: Occupation
    band: Tensor
    entropy: Tensor
    members: Tensor
    spin_dos: Tensor | None = None
    edges: tuple[float, float] | None = None
    occupied: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))

    @property
    def gap(self) -> float | None:
        """Band gap of an insulator in eV; None for metals."""
        return None if self.edges is None else self.edges[1] - self.edges[0]


def levels_of(model: ElectronModel, hidden_sums: Tensor, grid: Grid, electrons: float, temperature: float) -> Levels:
    """Compute the density of states and derived quantities from the sum of h over a grid.

    Args:
        model: Trained model.
        hidden_sums: (members, width) sums of h, float64.
        grid: Grid.
        electrons: Number of valence electrons.
        temperature: Electronic temperature in K.

    Raises:
        BadInput: There is no Fermi level inside the energy window, or no state is occupied.
    """
    voxel = float(grid.voxel)
    energies = model.absolute_energies(electrons, grid.volume.detach())
    states: dict[Channel, Tensor] = {}
    for channel in model.channels:
        last, bias = model.last_layer(channel)
        states[channel] = voxel * (torch.einsum("mh,mhe->me", hidden_sums, last.double()) + grid.size * bias.double())
    if model.insulator:
        return _filled(model, energies, states, electrons)
    each, dos = states["total"], states["total"].mean(0)
    mu, weights = unsmeared_level(energies, dos, electrons, model.sigma, temperature)
    _check_window(energies, dos, mu, temperature, electrons)
    rows = []
    for own in each:
        level, at = unsmeared_level(energies, own, electrons, model.sigma, temperature)
        rows.append(torch.stack([level, at.energy @ own]))
    spin_dos = states["spin"].mean(0) if model.spin else None
    return Levels(energies, dos, each, mu, weights, weights.energy @ dos, weights.entropy @ dos, torch.stack(rows), spin_dos)


def _check_window(energies: Tensor, dos: Tensor, mu: Tensor, temperature: float, electrons: float) -> None:
    """Raise `BadInput` if electrons would occupy states above the energy window."""
    kt = BOLTZMANN * temperature
    above = kt * float(dos[-1].clamp(min=0)) * float(torch.nn.functional.softplus((mu - energies[-1]) / kt))
    if above > MISSING * electrons:
        raise BadInput(
            f"electrons at {temperature:g} K would occupy states above the window of energies, which ends at {float(energies[-1]):g} eV, "
            f"{float(energies[-1] - mu):.2f} eV above the Fermi level: {above:.2g} are missing; sample with a higher --high"
        )


def filled_occupation(energies: Tensor) -> Occupation:
    """Return the weights of the part of the occupied levels; sums over Gaussians at most one width apart are exact."""
    spacing = energies[1] - energies[0]
    nothing = torch.zeros_like(energies)
    return Occupation(number=nothing + spacing, energy=spacing * energies, entropy=nothing, slope=nothing)


def _filled(model: ElectronModel, energies: Tensor, states: dict[Channel, Tensor], electrons: float) -> Levels:
    """Return the levels of an insulator; see the module docstring."""
    weights = filled_occupation(energies)
    dos, occupied = states["total"].mean(0), states["occupied"].mean(0)
    if not bool(torch.isfinite(occupied).all()) or float(weights.number @ occupied) <= 0:
        raise BadInput("the density of states of the occupied levels is not positive; check whether the training diverged")
    found = raw_edges(energies.numpy(), occupied.numpy(), (dos - occupied).numpy(), electrons)
    corrections = model.facts["edges"]
    edges = found[0] + corrections[0], found[1] + corrections[1]
    mu = torch.tensor(sum(edges) / 2, dtype=torch.float64)

    def band(own: Tensor) -> Tensor:
        return electrons * (weights.energy @ own) / (weights.number @ own)

    members = torch.stack([torch.stack([mu, band(own)]) for own in states["occupied"]])
    return Levels(energies, dos, states["total"], mu, weights, band(occupied), torch.zeros_like(mu), members, None, edges, occupied)


def raw_edges(energies: np.ndarray, occupied: np.ndarray, empty: np.ndarray, electrons: float) -> tuple[float, float]:
    """Return the energies (eV) between which and the gap 0.001 states per electron are occupied or empty.

    They differ from the band edges by amounts that depend on the Gaussians and the shape of the bands, which `edge_corrections` measures.

    Args:
        energies: (n_energies,) energies in eV.
        occupied: (n_energies,) density of occupied states in 1/eV.
        empty: (n_energies,) density of empty states in 1/eV.
        electrons: Number of electrons.
    """
    spacing = energies[1] - energies[0]
    above = np.cumsum(np.clip(occupied, 0, None)[::-1])[::-1]
    below = np.cumsum(np.clip(empty, 0, None))
    middle = int(np.argmin(above + below))
    wanted = TAIL * electrons / spacing
    # Outwards from the middle of the gap, so that errors elsewhere do not add up.
    valence = np.cumsum(occupied[: middle + 1][::-1])
    conduction = np.cumsum(empty[middle:])
    return float(_crossing(energies[: middle + 1][::-1], valence, wanted)), float(_crossing(energies[middle:], conduction, wanted))


def _crossing(energies: np.ndarray, sums: np.ndarray, wanted: float) -> float:
    """Return the energy at which sums reach a value for the first time, interpolated; the last one if they do not."""
    first = int(np.argmax(sums >= wanted)) if (sums >= wanted).any() else len(sums) - 1
    if first == 0:
        return float(energies[0])
    share = np.clip((wanted - sums[first - 1]) / max(sums[first] - sums[first - 1], 1e-12), 0, 1)
    return float(energies[first - 1] + share * (energies[first] - energies[first - 1]))


def edge_corrections(snapshot: Snapshot, shift: float) -> tuple[float, float]:
    """Return the true band edges of a snapshot minus those of `raw_edges`, eV.

    Args:
        snapshot: Snapshot of an insulator whose energies are relative to a zero.
        shift: The zero in eV.
    """
    assert snapshot.occupied_ldos is not None
    assert snapshot.band_edges is not None
    occupied, total = (
        part.mean((0, 1, 2), dtype=np.float64) * snapshot.atoms.get_volume() for part in (snapshot.occupied_ldos, snapshot.ldos)
    )
    found = raw_edges(snapshot.energies + shift, occupied, total - occupied, snapshot.electrons)
    return snapshot.band_edges[0] - found[0], snapshot.band_edges[1] - found[1]


def by_states_of_metal(
    weigh: Callable[[Tensor], Occupation], mu: Tensor, dos: Tensor, kt: float, through_density: float, electrons: float
) -> Tensor | None:
    """Return the derivatives of the free energy in the density of states at a fixed number of electrons (eV², for each energy).

    None if there are no states at the Fermi level; see `prediction.py`.

    Args:
        weigh: Occupation weights as a function of the Fermi level.
        mu: Fermi level in eV.
        dos: (n_energies,) density of states in 1/eV.
        kt: Electronic temperature in eV.
        through_density: Derivative of the free energy in the Fermi level through the densities.
        electrons: Number of electrons.
    """
    level = mu.detach().requires_grad_()
    at = weigh(level)
    (by_mu,) = torch.autograd.grad((at.energy - kt * at.entropy) @ dos, level)
    weights = weigh(mu.detach())
    states = weights.slope @ dos
    if float(states) * kt < GAP * electrons:
        return None
    return weights.energy - kt * weights.entropy - (float(by_mu) + through_density) / states * weights.number


def by_states_of_insulator(weights: Occupation, band: float, through_density: float, electrons: float) -> Tensor:
    """Return what `by_states_of_metal` does for the part of the occupied levels.

    Args:
        weights: Weights of `filled_occupation`.
        band: Band energy in eV.
        through_density: Sum of the density and the derivative of the free energy in it, over all points.
        electrons: Number of electrons.
    """
    return weights.energy - weights.number * (band + through_density) / electrons


def check_gap(model: ElectronModel, temperature: float) -> None:
    """Raise `BadInput` if electrons would reach across the band gap of the training data, whose occupations the model has."""
    gap = model.facts.get("gap")
    if model.insulator and gap is not None and INSULATING * BOLTZMANN * temperature > gap:
        raise BadInput(
            f"electrons at {temperature:g} K would reach across the band gap, {gap:.2f} eV in the training data, whose occupations the "
            f"model has; choose a temperature below {gap / INSULATING / BOLTZMANN:.0f} K, or train with occupied = false"
        )


def contraction(model: ElectronModel, weights: Tensor, channel: Channel = "total") -> tuple[np.ndarray, float]:
    """Return the coefficients (members, width) and constant that map h to the committee mean of sum_E w_E d(E, r) of a channel."""
    last, bias = model.last_layer(channel)
    turn = (last.double() @ weights) / len(last)
    return turn.numpy(), float((bias.double() @ weights).mean())


def contractions(model: ElectronModel, weights: list[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients (n, members, width) and constants (n,) of all weights for the density, then of all for the spin density."""
    found = [contraction(model, each, channel) for channel in model.density_channels for each in weights]
    turns = np.array([turn for turn, _ in found]).reshape(len(found), *model.network.last.shape[:2])
    return turns, np.array([constant for _, constant in found])
