"""Free energy of electrons and ions from the density of states and the electron density.

F = E_b - E_H - int n v_xc + E_xc + E_ewald + E_core (+ E_overlap) + constants - T S. The band energy counts the electron repulsion twice
and contains v_xc instead of e_xc. J. A. Ellis et al., Phys. Rev. B 104, 035120 (2021), doi 10.1103/PhysRevB.104.035120.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nucleate.electrons.grid import Grid
from nucleate.electrons.species import Ions
from nucleate.electrons.terms.ewald import ewald_energy
from nucleate.electrons.terms.exchange_correlation import Functional, xc_energy_potential
from nucleate.electrons.terms.hartree import hartree_energy
from nucleate.electrons.terms.ion_core import core_energy
from nucleate.electrons.terms.ion_overlap import overlap_energy
from nucleate.units import BOLTZMANN


@dataclass(frozen=True)
class EnergyTerms:
    """Terms of the free energy in eV.

    Attributes:
        band: Sum of the occupied levels.
        hartree: Hartree energy, which the band energy counts twice.
        xc: Exchange-correlation energy.
        xc_potential: int n v_xc (plus int m dE_xc/dm with a spin density m), which the band energy contains instead of the
            exchange-correlation energy.
        ewald: Ewald energy of point ions.
        core: Pseudopotential energy at G = 0.
        overlap: Overlap energy of GPAW's Gaussian ions; zero unless requested.
        constant: Zero points of the pseudopotentials.
        entropy: T S of the electrons.
    """

    band: Tensor
    hartree: Tensor
    xc: Tensor
    xc_potential: Tensor
    ewald: Tensor
    core: Tensor
    overlap: Tensor
    constant: Tensor
    entropy: Tensor

    @property
    def free(self) -> Tensor:
        """F."""
        electrons = self.band - self.hartree - self.xc_potential + self.xc - self.entropy
        return electrons + self.ewald + self.core + self.overlap + self.constant

    @property
    def extrapolated(self) -> Tensor:
        """Energy extrapolated to zero electronic temperature, F + T S / 2."""
        return self.free + self.entropy / 2

    def as_dict(self) -> dict[str, float]:
        """Return the terms as floats in eV."""
        return {field.name: float(getattr(self, field.name)) for field in fields(self)} | {"free": float(self.free)}


@dataclass(frozen=True)
class DensityTerms:
    """Terms that depend only on the density, in eV."""

    hartree: Tensor
    xc: Tensor
    xc_potential: Tensor

    @property
    def total(self) -> Tensor:
        """Contribution to the free energy."""
        return self.xc - self.hartree - self.xc_potential


def density_terms(density: Tensor, grid: Grid, functional: Functional = "LDA", fine: int = 2, spin: Tensor | None = None) -> DensityTerms:
    """Return the Hartree and exchange-correlation terms of a density, and of a spin density if there is one (1/Å³), on their grid."""
    xc, *potentials = xc_energy_potential(density, grid, functional, fine, spin)
    fields = [density] if spin is None else [density, spin]
    product = torch.stack([(field * potential).sum() for field, potential in zip(fields, potentials, strict=True)]).sum()
    return DensityTerms(hartree_energy(density, grid), xc, product * grid.voxel)


def free_energy(
    band: Tensor,
    entropy: Tensor,
    density: DensityTerms,
    positions: Tensor,
    cell: Tensor,
    ions: Ions,
    temperature: float,
    overlap: bool = False,
) -> EnergyTerms:
    """Return all terms of the free energy.

    Args:
        band: Band energy E_b in eV.
        entropy: Entropy S in units of Boltzmann's constant.
        density: Terms of the density.
        positions: (n, 3) positions in Å, float64.
        cell: (3, 3) lattice vectors in Å.
        ions: Charges and radii of the ions.
        temperature: Electronic temperature in K.
        overlap: Whether to include the overlap of GPAW's Gaussian ions.
    """
    nothing = torch.zeros((), dtype=torch.float64)
    return EnergyTerms(
        band=band,
        hartree=density.hartree,
        xc=density.xc,
        xc_potential=density.xc_potential,
        ewald=ewald_energy(positions, cell, ions.charges),
        core=core_energy(torch.linalg.det(cell).abs(), ions.charges, ions.radii, ions.electrons),
        overlap=overlap_energy(positions, cell, ions.charges, ions.radii) if overlap else nothing,
        constant=ions.constants.sum(),
        entropy=BOLTZMANN * temperature * entropy,
    )
