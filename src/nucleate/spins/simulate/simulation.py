"""Resumable spin simulations from couplings to a table of observables with error bars."""

from __future__ import annotations

import io
import json
import os
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from nucleate.errors import BadInput, RunFolderError
from nucleate.persist.files import write_whole
from nucleate.persist.locks import lock_file
from nucleate.persist.toml import same_settings, to_toml
from nucleate.progress import Note, Progress, Step, silent
from nucleate.spins.couplings import Couplings
from nucleate.spins.files.table import table_text
from nucleate.spins.order.curie import Order, leading_order, order_waves, waves_of
from nucleate.spins.simulate.dynamics import Dynamics
from nucleate.spins.simulate.fields import energy
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.monte_carlo import MonteCarlo, swap_replicas
from nucleate.spins.simulate.observables.order import order_squared, phases
from nucleate.spins.simulate.observables.statistics import BINS, jackknife
from nucleate.spins.simulate.settings import SimulationSettings
from nucleate.time_series import autocorrelation_time
from nucleate.units import K_B

CHECKPOINT = 30.0
"""Seconds between checkpoints."""
BLOCK = 16
"""Number of measurements between progress events."""
LONG = 5
"""Minimum length of a jackknife bin in autocorrelation times."""
COLUMNS = ("energy", "energy2", "order", "order2", "order4", "moment")


@dataclass(frozen=True)
class Row:
    """Means and standard errors at one temperature and size.

    Attributes:
        size: Number of cells along each vector.
        spins: Number of spins.
        temperature: Temperature in K.
        energy: Energy in meV per spin.
        specific_heat: Specific heat in k_B per spin.
        magnetisation: Mean length of the average spin, 0 to 1.
        order: Order parameter from 0 to 1: root of the summed squared amplitudes of the waves of `curie.waves_of`.
        susceptibility: N (<o^2> - <|o|>^2) / kT of the order parameter o in 1/meV.
        binder: Binder cumulant 1 - <o^4> / (3 <o^2>^2).
        autocorrelation: Autocorrelation time of the squared order parameter in measurements.
        taken: Acceptance ratio of Monte Carlo moves.
        exchanged: Acceptance ratio of exchanges with the next temperature.
    """

    size: int
    spins: int
    temperature: float
    energy: float
    energy_error: float
    specific_heat: float
    specific_heat_error: float
    magnetisation: float
    magnetisation_error: float
    order: float
    order_error: float
    susceptibility: float
    susceptibility_error: float
    binder: float
    binder_error: float
    autocorrelation: float
    taken: float | None
    exchanged: float | None


@dataclass(frozen=True)
class Simulated:
    """Result of a simulation.

    Attributes:
        rows: Results by increasing size and temperature.
        lattice: Spin lattice of the largest size.
        coldest: (N, 3) final spins of this lattice at the lowest temperature.
    """

    rows: list[Row]
    lattice: SpinLattice
    coldest: np.ndarray


def cells_of(couplings: Couplings, size: int) -> tuple[int, int, int]:
    """Return `size` cells along vectors with a net coupling and one along the others, so that chains and layers are preserved."""
    a, b, c = (size if r else 1 for r in np.abs(couplings.loops).max(axis=0, initial=0))
    return a, b, c


class _Replicas:
    """Spins, random generators and measurements at every temperature."""

    def __init__(self, couplings: Couplings, settings: SimulationSettings, size: int, order: Order):
        self.settings, self.size = settings, size
        self.lattice = SpinLattice.build(couplings, cells_of(couplings, size), settings.field)
        self.waves, sites = waves_of(couplings, self.lattice.size, order)
        self.phase = phases(self.lattice, self.waves, sites)
        self.betas = 1 / (K_B * np.array(settings.temperatures))
        count = len(self.betas)
        children = np.random.SeedSequence([settings.seed, size]).spawn(count + 1)
        self.rngs = [np.random.Generator(np.random.PCG64(child)) for child in children]
        self.spins = [self._start(order, rng) for rng in self.rngs[:count]]
        self.series = np.zeros((settings.measurements, count, len(COLUMNS)))
        self.measured = 0
        self.counts = np.zeros((3, count))
        self.swept = 0
        monte_carlo = settings.method == "monte-carlo"
        self.interval = settings.interval or (2 if monte_carlo else 100)
        given = settings.equilibration
        self.equilibration = (1000 if monte_carlo else 20000) if given is None else given
        self.movers = (
            [] if monte_carlo
            else [Dynamics(self.lattice, settings.timestep, settings.damping, t, settings.scheme) for t in settings.temperatures]
        )  # fmt: skip
        self.samplers = [MonteCarlo(self.lattice) for _ in settings.temperatures] if monte_carlo else []

    def _start(self, order: Order, rng: np.random.Generator) -> np.ndarray:
        if self.settings.start == "random":
            return self.lattice.random(rng)
        if self.phase.ndim == 3:
            # A phase of an eighth of a period avoids nodes on sites, unless the period is eight cells.
            wave = (self.phase[0].conj() * np.exp(0.25j * np.pi)).real
            lengths = np.linalg.norm(wave, axis=1, keepdims=True)
            return np.where(lengths > 1e-6, wave / np.maximum(lengths, 1e-6), [0.0, 0.0, 1.0])
        # Spiral in the plane; it is collinear for q0 = 0 or 1/2.
        angle = np.angle(self.phase[0].conj())
        return np.stack([np.zeros_like(angle), np.sin(angle), np.cos(angle)], axis=1)

    def _move(self, k: int) -> None:
        if self.movers:
            self.movers[k].run(self.spins[k], self.interval, self.rngs[k])
            return
        taken = self.samplers[k].run(self.spins[k], self.betas[k], self.rngs[k], self.interval, self.settings.over_relaxation)
        self.counts[0, k] += taken / len(self.lattice)

    def _measure(self, k: int) -> tuple[float, ...]:
        e = energy(self.lattice, self.spins[k]) / len(self.lattice)
        o2 = order_squared(self.spins[k], self.phase)
        m2 = float((self.spins[k].mean(axis=0) ** 2).sum())
        return e, e * e, o2**0.5, o2, o2 * o2, m2**0.5

    def advance(self, pool: ThreadPoolExecutor) -> None:
        """Run one interval at every temperature, measure, and attempt replica exchanges."""
        list(pool.map(self._move, range(len(self.betas))))
        self.swept += self.interval
        found = np.array(list(pool.map(self._measure, range(len(self.betas)))))
        if self.swept > self.equilibration:
            self.series[self.measured] = found
            self.measured += 1
        if not self.movers and len(self.betas) > 1:
            odd = (self.swept // self.interval) % 2 == 1
            place = swap_replicas(found[:, 0] * len(self.lattice), self.betas, odd, self.rngs[-1])
            lower = np.arange(int(odd), len(self.betas) - 1, 2)
            self.counts[1, lower] += place[lower] != lower
            self.counts[2, lower] += 1
            self.spins = [self.spins[i] for i in place]

    def save(self, path: Path) -> None:
        """Write a checkpoint for `load`."""
        states = json.dumps([rng.bit_generator.state for rng in self.rngs])
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            spins=np.array(self.spins),
            series=self.series[: self.measured],
            counts=self.counts,
            swept=self.swept,
            states=np.array(states),
        )
        write_whole(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Restore the state from a checkpoint."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
                spins = data["spins"]
                if spins.shape != (len(self.betas), len(self.lattice), 3):
                    raise ValueError("the number of spins differs")
                if not np.isfinite(spins).all():
                    raise ValueError("a spin is not a finite number")
                self.spins = [np.ascontiguousarray(s) for s in spins]
                self.measured = len(data["series"])
                self.series[: self.measured] = data["series"]
                self.counts, self.swept = data["counts"], int(data["swept"])
                for rng, state in zip(self.rngs, json.loads(str(data["states"])), strict=True):
                    rng.bit_generator.state = state
        except Exception as error:  # A damaged archive raises various exceptions of zlib, zipfile or NumPy.
            raise RunFolderError(f"{path}: the checkpoint cannot be used ({error}); delete it to restart this size") from None

    def rows(self) -> list[Row]:
        """Return the results of this size."""
        found = []
        n = len(self.lattice)
        for k, t in enumerate(self.settings.temperatures):
            beta = self.betas[k]

            def measure(m: np.ndarray, beta: float = beta) -> np.ndarray:
                e, e2, o, o2, o4, a = np.moveaxis(m, -1, 0)
                return np.stack([e, n * beta**2 * (e2 - e * e), a, o, n * beta * (o2 - o * o), 1 - o4 / (3 * o2 * o2)], axis=-1)

            values, errors = jackknife(self.series[:, k], measure)
            pairs = [float(x) for both in zip(values, errors, strict=True) for x in both]
            exchanged = float(self.counts[1, k] / self.counts[2, k]) if self.counts[2, k] else None
            taken = None if self.movers else float(self.counts[0, k] / self.swept)
            names = (f.name for f in fields(Row)[3:15])
            means = dict(zip(names, pairs, strict=True))
            tau = autocorrelation_time(self.series[:, k, 3])
            found.append(Row(self.size, n, t, **means, autocorrelation=tau, taken=taken, exchanged=exchanged))
        return found


def simulate(
    couplings: Couplings,
    settings: SimulationSettings,
    folder: Path | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Simulated:
    """Simulate every size at every temperature.

    Args:
        couplings: Couplings of one cell.
        settings: Simulation settings.
        folder: Folder for settings, couplings, checkpoints and `table.json`. An interrupted run resumes there, and a finished run is
            extended if more measurements are requested. None: nothing is stored.
        threads: Number of threads.
        progress: Called with a `Step` after each block of measurements, and with a `Note` about the quality of the results.

    Raises:
        BadInput: There are no couplings.
        NucleateError: The couplings do not determine an order.
        RunFolderError: The folder contains another simulation or a damaged checkpoint, or another process uses it.
    """
    order = leading_order(couplings)
    with nullcontext() if folder is None else _claimed(folder, couplings, settings):
        return _run(couplings, settings, order, folder, threads, progress)


def _run(
    couplings: Couplings, settings: SimulationSettings, order: Order, folder: Path | None, threads: int, progress: Progress
) -> Simulated:
    rows: list[Row] = []
    for size in settings.sizes:
        replicas = _Replicas(couplings, settings, size, order)
        held = np.linalg.eigvalsh(order_waves(couplings, replicas.waves[:1]))[0, -1]
        if held < order.eigenvalue - 1e-4 * abs(order.eigenvalue):
            q = np.round(order.wave_vector, 3).tolist()
            progress(Note(f"size {size} is not commensurate with the order at q = {q}; the best commensurate wave is measured instead"))
        checkpoint = None if folder is None else folder / f"size-{size}.npz"
        if checkpoint is not None and checkpoint.exists():
            replicas.load(checkpoint)
        with ThreadPoolExecutor(threads) as pool:
            saved = time.monotonic()
            while replicas.measured < settings.measurements:
                replicas.advance(pool)
                done = replicas.measured
                if done and done % BLOCK == 0:
                    progress(Step(f"{size} cells", done, settings.measurements))
                if checkpoint is not None and (done == settings.measurements or time.monotonic() - saved > CHECKPOINT):
                    replicas.save(checkpoint)
                    saved = time.monotonic()
        found = replicas.rows()
        slow = [row for row in found if row.autocorrelation * LONG * BINS > settings.measurements]
        if slow:
            worst = max(row.autocorrelation for row in slow)
            needed = int(LONG * BINS * worst)
            text = f"size {size}: autocorrelation time {worst:.0f} measurements; error bars are too small"
            progress(Note(f"{text}; use at least {needed} measurements"))
        rows += found
        if folder is not None:
            write_whole(folder / "table.json", json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return Simulated(rows, replicas.lattice, replicas.spins[0])


@contextmanager
def _claimed(folder: Path, couplings: Couplings, settings: SimulationSettings) -> Iterator[None]:
    """Lock the folder and store or verify its settings and couplings."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: the folder is not writable: {error.strerror}") from error
    lock = lock_file(folder / ".lock", f"{folder}: another simulation is running in this folder; wait for it or choose another folder")
    try:
        _write_down(folder / "couplings.csv", table_text(couplings), folder)
        path = folder / "simulation.toml"
        # Existing measurements are kept when a run is extended.
        kept = _measurements(path, settings.measurements)
        if kept > settings.measurements:
            raise RunFolderError(f"{folder}: contains {kept} measurements already; request at least as many or choose another folder")
        shorter = settings.model_copy(update={"measurements": kept})
        if not (path.is_file() and same_settings(SimulationSettings, path.read_text(encoding="utf-8", errors="replace"), to_toml(shorter))):
            _write_down(path, to_toml(shorter), folder)
        if shorter != settings:
            write_whole(path, to_toml(settings))
        yield
    finally:
        os.close(lock)


def _measurements(path: Path, asked: int) -> int:
    """Return the number of measurements stored in the folder."""
    try:
        there = tomllib.loads(path.read_text(encoding="utf-8"))["measurements"]
    except (OSError, ValueError, KeyError):
        return asked
    return there if isinstance(there, int) else asked


def _write_down(path: Path, text: str, folder: Path) -> None:
    if not path.exists():
        write_whole(path, text)
    elif not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        raise RunFolderError(f"{folder}: contains another simulation ({path.name} differs); choose another folder")
