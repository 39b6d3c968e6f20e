"""The free energy of electrons and ions from the density of states and the density.

F = E_b - E_H - int n v_xc + E_xc + E_ewald + E_core (+ E_overlap) + constants - T S: the band energy counts the electrons' repulsion
twice and holds v_xc in place of e_xc. J. A. Ellis et al., Phys. Rev. B 104, 035120 (2021), doi 10.1103/PhysRevB.104.035120.
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
    """Terms of the free energy, eV.

    Attributes:
        band: sum of the occupied levels.
        hartree: of the electrons, which the band energy counts twice.
        xc: exchange and correlation.
        xc_potential: int n v_xc, which the band energy counts in place of it.
        ewald: of point ions.
        core: of the pseudopotentials at G = 0.
        overlap: of GPAW's Gaussian ions; zero unless asked for.
        constant: zero points of the pseudopotentials.
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
        """The energy extrapolated to electrons at zero temperature, F + T S / 2."""
        return self.free + self.entropy / 2

    def as_dict(self) -> dict[str, float]:
        """Plain numbers, eV."""
        return {field.name: float(getattr(self, field.name)) for field in fields(self)} | {"free": float(self.free)}


@dataclass(frozen=True)
class DensityTerms:
    """The terms that need the density alone, eV."""

    hartree: Tensor
    xc: Tensor
    xc_potential: Tensor

    @property
    def total(self) -> Tensor:
        """What they give to the free energy."""
        return self.xc - self.hartree - self.xc_potential


def density_terms(density: Tensor, grid: Grid, functional: Functional = "LDA", fine: int = 2) -> DensityTerms:
    """Hartree and exchange-correlation of a density (1/Å³) on its grid."""
    xc, potential = xc_energy_potential(density, grid, functional, fine)
    return DensityTerms(hartree_energy(density, grid), xc, (density * potential).sum() * grid.voxel)


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
    """All terms.

    Args:
        band: E_b, eV.
        entropy: S in units of Boltzmann's constant.
        density: the terms of the density.
        positions: (n, 3), Å, float64.
        cell: (3, 3), Å.
        ions: charges and radii.
        temperature: of the electrons, K.
        overlap: count the overlap of GPAW's Gaussian ions.
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
