"""Order and temperatures of couplings, by estimate and by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nucleate.errors import BadInput, NucleateError
from nucleate.persist.toml import resolved
from nucleate.progress import Progress, silent
from nucleate.spins.couplings import Couplings
from nucleate.spins.order.binder import Crossing, crossing
from nucleate.spins.order.curie import leading_order, rpa
from nucleate.spins.verbs.given import AnyPath, as_couplings

if TYPE_CHECKING:
    from nucleate.spins.simulate.dynamic_structure import DynamicStructure
    from nucleate.spins.simulate.lattice import SpinLattice
    from nucleate.spins.simulate.settings import SimulationSettings
    from nucleate.spins.simulate.simulation import Row
    from nucleate.spins.textures.films import FilmTexture

FIELDS = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
"""Default fields of textures in T."""


@dataclass(frozen=True)
class OrderEstimate:
    """Leading magnetic order and its transition temperature without a simulation.

    Attributes:
        wave_vector: (3,) wave vector in units of reciprocal vectors.
        sublattices: Sign of each site if the signs define the order, otherwise None.
        mean_field: Mean-field transition temperature in K.
        rpa: Transition temperature in the random-phase approximation in K; None: it failed.
        rpa_failure: Reason of the failure, or None.
    """

    wave_vector: list[float]
    sublattices: list[int] | None
    mean_field: float
    rpa: float | None
    rpa_failure: str | None


def estimate(couplings: Couplings | AnyPath) -> OrderEstimate:
    """Determine the magnetic order and estimate its transition temperature; see `nucleate.spins.order.curie`.

    Raises:
        BadInput: The couplings cannot be read.
        NucleateError: The couplings do not determine an order.
    """
    known = as_couplings(couplings)
    order = leading_order(known)
    weights, signs = order.weights, None
    if weights.ndim == 1 and np.abs(weights.imag).max() < 1e-6 and np.abs(weights.real).min() > 1e-6:
        signs = [int(sign) for sign in np.sign(weights.real)]
    temperature, failure = None, None
    try:
        temperature = rpa(known, order)
    except NucleateError as error:
        failure = str(error)
    return OrderEstimate(order.wave_vector.tolist(), signs, order.mean_field, temperature, failure)


@dataclass(frozen=True)
class Simulation:
    """Result of a spin simulation.

    Attributes:
        rows: Means and errors by increasing size and temperature.
        crossings: Crossings of the Binder cumulants of successive sizes, which locate the transition temperature.
        lost: Reasons for which other crossings could not be determined.
        lattice: Spin lattice of the largest size.
        coldest: (N, 3) final spins of this lattice at the lowest temperature.
    """

    rows: list[Row]
    crossings: list[Crossing]
    lost: list[str]
    lattice: SpinLattice
    coldest: np.ndarray


def simulate(
    couplings: Couplings | AnyPath,
    out: AnyPath | None = None,
    *,
    settings: SimulationSettings | AnyPath | dict[str, Any] | None = None,
    threads: int = 1,
    progress: Progress = silent,
    **options: Any,
) -> Simulation:
    """Simulate magnetisation, susceptibility, specific heat and Binder cumulant as functions of temperature.

    Args:
        couplings: Couplings, or their file.
        out: Folder for the table and checkpoints, where the same call resumes; None: nothing is stored.
        settings: TOML file, dictionary or settings.
        threads: Number of temperatures simulated in parallel.
        progress: Called with a `nucleate.progress.Step` after each block of measurements, and with `nucleate.progress.Note`.
        options: Single settings, such as `temperatures=[300, 400]` (K); None leaves a setting as it is.

    Raises:
        BadInput: A setting has an invalid value, or the couplings cannot be read.
        NucleateError: The couplings do not determine an order.
        RunFolderError: The folder contains another simulation, or another process uses it.
    """
    # Simulations require numba; the other functions of this module do not.
    from nucleate.spins.simulate.settings import SimulationSettings
    from nucleate.spins.simulate.simulation import simulate as run

    chosen = resolved(SimulationSettings, settings, **options)
    done = run(as_couplings(couplings), chosen, None if out is None else Path(out), threads, progress)
    crossings, lost = [], []
    for small, large in zip(chosen.sizes, chosen.sizes[1:], strict=False):
        try:
            crossings.append(crossing(done.rows, small, large))
        except NucleateError as failure:
            lost.append(str(failure))
    return Simulation(done.rows, crossings, lost, done.lattice, done.coldest)


def spectrum(
    couplings: Couplings | AnyPath,
    temperature: float,
    size: int = 12,
    path: str | None = None,
    *,
    resolution: float = 2.0,
    windows: int = 8,
    field: tuple[float, float, float] = (0.0, 0.0, 0.0),
    seed: int = 0,
    progress: Progress = silent,
) -> DynamicStructure:
    """Simulate the dynamical structure factor S(q, E) of classical spins; see `nucleate.spins.simulate.dynamic_structure`.

    Args:
        couplings: Couplings, or their file.
        temperature: Temperature in K.
        size: Cells along each coupled lattice vector; only wave vectors of this supercell are resolved.
        path: Special points of the path, such as GXMG; None: ASE's standard path of the lattice.
        resolution: Full width at half maximum of a sharp mode in meV.
        windows: Number of independent runs.
        field: Magnetic field in tesla.
        seed: Random seed.
        progress: Called with a `nucleate.progress.Step` after each run.

    Raises:
        BadInput: The couplings cannot be read, a number is out of range, or no wave vector of the supercell is on the path.
        NucleateError: The couplings have no ordered state, whose magnons determine the time step.
    """
    from nucleate.spins.simulate.dynamic_structure import dynamic_structure

    return dynamic_structure(
        as_couplings(couplings), temperature, size, path, resolution=resolution, windows=windows, field=field, seed=seed, progress=progress
    )  # fmt: skip


def textures(
    couplings: Couplings | AnyPath,
    size: tuple[int, int] = (36, 36),
    fields: Sequence[float] | None = None,
    *,
    dipoles: bool = True,
    barriers: bool = True,
    progress: Progress = silent,
) -> list[FilmTexture]:
    """Find the lowest state of a film and its skyrmions in fields along its normal.

    Args:
        couplings: Couplings of a film, or their file; the third lattice vector crosses the vacuum.
        size: Number of cells along the first two lattice vectors, with periodic boundaries.
        fields: Fields along the normal in tesla; None: 0, 2, ... 10.
        dipoles: Whether to include the dipole-dipole interaction.
        barriers: Whether to compute the energy barriers of the collapse of skyrmions.
        progress: Called with a `nucleate.progress.Stage` at the start of each stage.

    Raises:
        BadInput: The couplings cannot be read or are not those of a film, or the size or a field is not valid.
    """
    # numba takes a second to import.
    from nucleate.spins.textures.films import film_textures

    chosen = FIELDS if fields is None or len(fields) == 0 else tuple(fields)
    if not np.isfinite(chosen).all():
        raise BadInput("fields: give numbers in tesla")
    return film_textures(as_couplings(couplings), size, chosen, dipoles, barriers, progress)
