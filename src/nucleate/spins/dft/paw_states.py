"""Projection of GPAW states on the PAW spheres of magnetic atoms.

Inside the sphere of an atom a state is sum_i phi_i <p_i|psi>, phi the all-electron partial waves and p the projectors (P. E. Bloechl,
Phys. Rev. B 50, 17953 (1994), doi 10.1103/PhysRevB.50.17953). The exchange field of a site is that of the sphere,
<phi_i|v_up - v_down|phi_j>, including Hubbard terms; the interstitial region belongs to no site.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.units import Ha

from nucleate.spins.dft.liechtenstein import SiteBands

DEGENERATE = 1e-4
"""Degeneracy tolerance in eV; GPAW's grids split symmetry-equivalent levels by about 1e-5 eV."""


def sphere_field(setup: Any, density: np.ndarray, potential: np.ndarray, xc: Any) -> np.ndarray:
    """Return <phi_i|v_up - v_down|phi_j> inside the smallest sphere of an atom, plus other spin-dependent PAW terms.

    Args:
        setup: GPAW's PAW data set.
        density: (2, i, i) atomic density matrices.
        potential: (2, i, i) Hamiltonian corrections in Ha.
        xc: GPAW functional, local or gradient-corrected.

    Returns:
        Exchange field (i, i) in eV.
    """
    from gpaw.sphere.lebedev import Y_nL, weight_n
    from gpaw.utilities import pack_density, unpack_hermitian
    from gpaw.xc.gga import GGARadialCalculator
    from gpaw.xc.lda import LDARadialCalculator
    from gpaw.xc.pawcorrection import rnablaY_nLv

    inner = setup.xc_correction
    radial = inner.rgd
    expansion = np.inner(np.array([pack_density(d) for d in density]), inner.B_pqL.T)

    def field(products: np.ndarray, core: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Return the up-minus-down matrix elements for the given partial-wave products on the radial grid points inside."""
        densities = expansion @ products
        densities[:, 0] += np.sqrt(4 * np.pi) / 2 * core
        angular = densities.shape[1]
        slopes = np.zeros_like(densities)
        if xc.type == "GGA":
            for spin in range(2):
                for component in range(angular):
                    radial.derivative(densities[spin, component], slopes[spin, component])
        total = np.zeros((2, len(products), angular))
        for n, harmonics in enumerate(Y_nL[:, :angular]):
            if xc.type == "LDA":
                _, potentials = LDARadialCalculator(xc.kernel)(radial, densities, harmonics)
            else:
                gradients = rnablaY_nLv[n, :angular]
                _, potentials, across, by_sigma = GGARadialCalculator(xc.kernel)(radial, densities, harmonics, slopes, gradients, n)
                by_sigma = by_sigma * radial.dr_g * inside
                moved = by_sigma[::2] * across + 0.5 * by_sigma[1] * across[:, ::-1]
                total += 8 * np.pi * weight_n[n] * np.inner(gradients, (moved @ products.T).T).T
            total += ((radial.dv_g * inside * potentials) @ products.T)[:, :, None] * (weight_n[n] * harmonics)
        packed = np.inner(total.reshape(2, -1), inner.B_pqL.reshape(len(inner.B_pqL), -1))
        return unpack_hermitian(packed[0]) - unpack_hermitian(packed[1])

    everywhere = np.ones(radial.N)
    sphere = (radial.r_g <= min(setup.rcut_j)).astype(float)
    correction = field(inner.n_qg, inner.nc_g, everywhere) - field(inner.nt_qg, inner.nct_g, everywhere)
    hubbard = potential[0] - potential[1] - correction
    return (field(inner.n_qg, inner.nc_g, sphere) + hubbard) * Ha


def whole_shells(levels: np.ndarray, bands: int) -> int:
    """Return the number of the lowest `bands` levels (eV, ascending) that contain only complete degenerate sets.

    Eigenvectors of a degenerate set are arbitrary; with an incomplete set the couplings would depend on the machine. If there is no level
    beyond the bands, all are kept.
    """
    if bands >= len(levels):
        return bands
    return int(np.searchsorted(levels[:bands], levels[bands] - DEGENERATE))


@dataclass(frozen=True)
class PAWStates:
    """States of a collinear spin-polarised calculation on a Gamma-centred k-point mesh.

    Attributes:
        calculator: Collinear GPAW calculator.
        bands: Number of lowest bands used for each spin.
        sites: (n,) indices of the magnetic atoms.
        mesh: Number of k-points along each reciprocal vector.
    """

    calculator: Any
    bands: int
    sites: np.ndarray
    mesh: tuple[int, int, int]

    @property
    def electrons(self) -> float:
        """Number of electrons in the cell."""
        density = self.calculator.dft.density
        return float(density.nvalence - density.charge)

    @property
    def _widest(self) -> int:
        return max(self.calculator.dft.setups[int(site)].ni for site in self.sites)

    @property
    def _zone(self) -> np.ndarray:
        """Indices (K,) of GPAW's k-points of the full Brillouin zone in the order of the mesh."""
        points = self.calculator.dft.ibzwfs.ibz.bz.kpt_Kc
        place = np.mod(np.rint(points * self.mesh).astype(int), self.mesh)
        return np.argsort(np.ravel_multi_index(tuple(place.T), self.mesh))

    def fields(self) -> np.ndarray:
        """Return the exchange field of each site, (n, p, p) in eV, see `sphere_field`."""
        dft = self.calculator.dft
        found = np.zeros((len(self.sites), self._widest, self._widest))
        for n, site in enumerate(map(int, self.sites)):
            setup = dft.setups[site]
            field = sphere_field(setup, dft.density.D_asii[site], dft.potential.dH_asii[site], self.calculator.hamiltonian.xc)
            found[n, : setup.ni, : setup.ni] = field
        return found

    def collinear(self, fields: np.ndarray) -> SiteBands:
        """Return the bands without spin-orbit coupling, with states mapped from the irreducible to all k-points."""
        from gpaw.ibz2bz import IBZ2BZMaps

        maps = IBZ2BZMaps.from_calculator(self.calculator)
        states = {(wave.spin, wave.k): wave for wave in self.calculator.dft.ibzwfs}
        small = self.calculator.dft.ibzwfs.ibz.bz2ibz_K
        energies = np.zeros((2, len(small), self.bands))
        projections = np.zeros((2, len(small), self.bands, len(self.sites), self._widest), dtype=complex)
        for row, number in enumerate(self._zone):
            map_here = maps[int(number)]
            turns = map_here.U_aii
            for spin in range(2):
                wave = states[spin, small[number]]
                energies[spin, row] = wave.eig_n[: self.bands] * Ha
                for n, site in enumerate(self.sites):
                    seen = wave.P_ani[int(map_here.b_a[site])][: self.bands] @ turns[site]
                    projections[spin, row, :, n, : seen.shape[1]] = seen.conj() if map_here.time_reversal else seen
                projections[spin, row, whole_shells(wave.eig_n * Ha, self.bands) :] = 0.0
        return SiteBands(self.mesh, energies, projections, fields, self.electrons)

    def spinors(self, fields: np.ndarray, direction: tuple[float, float]) -> SiteBands:
        """Return the bands with spin-orbit coupling for moments rotated from z to `direction` (polar and azimuthal angle in degrees)."""
        from gpaw.spinorbit import soc_eigenstates

        found = soc_eigenstates(self.calculator, n2=self.bands, theta=direction[0], phi=direction[1])
        energies = np.zeros((1, len(self._zone), 2 * self.bands))
        projections = np.zeros((*energies.shape, len(self.sites), 2, self._widest), dtype=complex)
        for row, number in enumerate(self._zone):
            wave = found[int(number)]
            energies[0, row] = wave.eig_m
            for n, site in enumerate(self.sites):
                seen = wave.projections[int(site)]
                projections[0, row, :, n, :, : seen.shape[2]] = seen
        return SiteBands(self.mesh, energies, projections, fields, self.electrons)
