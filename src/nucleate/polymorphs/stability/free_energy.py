"""Free energies of lattice vibrations, their dependence on the volume, and transitions between polymorphs.

In the harmonic approximation a mode of frequency nu contributes

    F = h nu / 2 + k T ln(1 - exp(-h nu / k T))

(A. Togo and I. Tanaka, Scr. Mater. 108, 1 (2015), doi 10.1016/j.scriptamat.2015.07.021). In the quasi-harmonic approximation F is
calculated at several volumes, and G(T) is the minimum of F + pV over the volume, by the equation of F. Birch, Phys. Rev. 71, 809 (1947),
doi 10.1103/PhysRev.71.809, which is a polynomial of third order in V^(-2/3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleate.units import BOLTZMANN, GPA, THZ

REAL = -0.1
"""Frequency in THz below which a mode is imaginary; smaller negative ones are errors of the interpolation near the zone centre."""
STILL = 0.01
"""Frequency in THz below which a mode is left out, as are the three translations."""
VOLUMES = np.array([0.96, 0.98, 1.0, 1.02, 1.04, 1.06, 1.08])
"""Volumes of the quasi-harmonic approximation, relative to that without vibrations."""
FEWEST = 5
"""Smallest number of volumes without imaginary modes for which an equation of state is fitted."""


def vibrational_energy(frequencies: np.ndarray, weights: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Return the (..., n_temperatures) harmonic free energy in eV per cell; NaN where a mode is imaginary.

    Args:
        frequencies: (..., n_q, n_bands) frequencies, THz.
        weights: (n_q,) weights of the q points with the sum 1.
        temperatures: (n_temperatures,) temperatures, K; zero gives the zero-point energy.
    """
    energies = THZ * np.where(frequencies > STILL, frequencies, np.inf)
    kept = np.isfinite(energies)
    result = np.empty((*frequencies.shape[:-2], len(temperatures)))
    zero_point = np.einsum("q,...qb->...", weights, np.where(kept, 0.5 * energies, 0.0))
    for k, temperature in enumerate(temperatures):
        if temperature <= 0:
            result[..., k] = zero_point
            continue
        heat = BOLTZMANN * temperature
        # Modes that are left out have infinite energies, for which the logarithm vanishes.
        thermal = heat * np.log1p(-np.exp(-energies / heat))
        result[..., k] = zero_point + np.einsum("q,...qb->...", weights, thermal)
    result[(frequencies < REAL).any(axis=(-2, -1))] = np.nan
    return result


@dataclass(frozen=True)
class FreeEnergy:
    """Free energy of a polymorph against temperature.

    Attributes:
        temperatures: (n,) temperatures, K.
        mean: (n,) enthalpy without vibrations plus vibrational free energy of the committee's mean, eV/atom; NaN: no value.
        members: (m, n) the same for each member.
        zero_point: zero-point energy of the mean, eV/atom.
        volumes: (n,) volumes of the mean, Å³/atom; constant in the harmonic approximation.
        quasi_harmonic: whether the volume follows the temperature.
        missing: why the values, or some of them, are missing; empty: none is.
    """

    temperatures: np.ndarray
    mean: np.ndarray
    members: np.ndarray
    zero_point: float
    volumes: np.ndarray
    quasi_harmonic: bool
    missing: str = ""

    @property
    def spread(self) -> np.ndarray | None:
        """(n,) standard deviation over the members with a value; None for a single one."""
        if len(self.members) < 2:
            return None
        good = self.members[np.isfinite(self.members).any(axis=1)]
        return good.std(axis=0, ddof=1) if len(good) > 1 else None


def volume_minimum(volumes: np.ndarray, energies: np.ndarray, pressure: float) -> tuple[np.ndarray, np.ndarray]:
    """Return minimum of F + pV over the volume, and the volume there; NaN if the minimum is outside the volumes.

    Args:
        volumes: (n,) volumes, Å³.
        energies: (n, k) free energies of k cases, eV; NaN at volumes without a value.
        pressure: pressure, GPa.
    """
    best, at = np.full(energies.shape[1], np.nan), np.full(energies.shape[1], np.nan)
    for case in range(energies.shape[1]):
        known = np.isfinite(energies[:, case])
        if known.sum() < FEWEST:
            continue
        x = volumes[known] ** (-2 / 3)
        middle, width = x.mean(), np.ptp(x)
        total = energies[known, case] + pressure * GPA * volumes[known]
        fit = np.polynomial.Polynomial.fit(x, total, 3, domain=[middle - width, middle + width])
        slope, curvature = fit.deriv(), fit.deriv(2)
        for root in np.atleast_1d(slope.roots()):
            place = root.real
            # The roots of numpy lose digits if the term of third order is small.
            for _ in range(3):
                place -= slope(place) / curvature(place) if curvature(place) else 0.0
            if x.min() <= place <= x.max() and curvature(place) > 0:
                best[case], at[case] = float(fit(place)), place**-1.5
    return best, at


@dataclass(frozen=True)
class Transition:
    """Temperature at which two polymorphs have the same free energy.

    Attributes:
        low, high: index of the polymorph that is stable below and above the temperature.
        temperature: temperature of the committee's mean, K.
        spread: standard deviation over the members that have such a transition, K; None: fewer than two.
        members: number of members that have one.
        of: number of members.
    """

    low: int
    high: int
    temperature: float
    spread: float | None
    members: int
    of: int


def crossings(difference: np.ndarray, temperatures: np.ndarray) -> list[tuple[float, bool]]:
    """Return where a (n,) difference changes its sign: temperature, and whether it becomes positive there."""
    result = []
    for k in range(len(temperatures) - 1):
        a, b = difference[k], difference[k + 1]
        if np.isfinite(a) and np.isfinite(b) and (a < 0) != (b < 0):
            result.append((float(temperatures[k] + (temperatures[k + 1] - temperatures[k]) * a / (a - b)), bool(b >= 0)))
    return result


RESOLVED = 1e-4
"""Smallest difference of free energies with a meaning, eV/atom."""


def _at(curve: FreeEnergy, temperature: float) -> float:
    """Return the free energy at a temperature, by linear interpolation; infinity where there is none."""
    value = float(np.interp(temperature, curve.temperatures, curve.mean))
    return value if np.isfinite(value) else np.inf


def transitions(curves: dict[int, FreeEnergy]) -> list[Transition]:
    """Return the transitions between polymorphs of one composition, by temperature.

    Args:
        curves: free energy of each polymorph, by its index.
    """
    result = []
    for a in curves:
        for b in curves:
            if b <= a:
                continue
            one, other = curves[a], curves[b]
            if not np.nanmax(np.abs(one.mean - other.mean), initial=0.0) > RESOLVED:
                # The structures are the same within the accuracy of the calculation.
                continue
            spread = [crossings(mine - theirs, one.temperatures) for mine, theirs in zip(one.members, other.members, strict=True)]
            for temperature, rises in crossings(one.mean - other.mean, one.temperatures):
                low, high = (a, b) if rises else (b, a)
                if any(_at(curves[c], temperature) < _at(one, temperature) - RESOLVED for c in curves if c not in (a, b)):
                    # Another polymorph is stable at this temperature.
                    continue
                own = [[t for t, up in member if up == rises] for member in spread]
                near = [min(each, key=lambda t: abs(t - temperature)) for each in own if each]
                error = float(np.std(near, ddof=1)) if len(near) > 1 else None
                result.append(Transition(low, high, temperature, error, len(near), len(spread)))
    return sorted(result, key=lambda transition: transition.temperature)
