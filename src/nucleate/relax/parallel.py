"""Relaxation of many structures on a learned potential in several processes, which are kept from call to call.

Structures are divided into chunks that depend on the structures alone, so the results do not depend on the number of processes. A process
takes the next chunk when it has finished one.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from ase import Atoms

from nucleate.errors import NucleateError
from nucleate.potentials.base import Potential
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.files import load_potential, save_committee
from nucleate.potentials.prior import PriorPotential
from nucleate.potentials.registry import Learned
from nucleate.processes.interrupts import check, interrupts_delayed, listening
from nucleate.processes.limits import available_cores
from nucleate.processes.pools import worker_pool
from nucleate.progress import Event, Progress, Step, silent
from nucleate.relax.batched import Relaxed, relax
from nucleate.relax.rigid import RigidMolecules, relax_rigid
from nucleate.relax.settings import RelaxSettings

log = logging.getLogger(__name__)

CHUNK_ATOMS = 1000
"""Number of atoms in a chunk: several chunks for a usual pool. Each step of a batch has a constant cost as well, and the last structures
of a chunk are relaxed in small batches, so that chunks of half this size take a third more time."""
WORTH_A_POOL = 300_000
"""Number of atoms times largest number of steps (some seconds of calculation) above which worker processes are started."""


class RelaxPool:
    """Worker processes that relax structures, each with one thread; they are started by the first large call.

    Args:
        workers: Number of processes; None for all available cores, or none inside a worker process. With 0 or 1 structures are relaxed in
            this process.

    Raises:
        NucleateError: A worker that has just started runs a script that lacks `if __name__ == '__main__'`.
    """

    def __init__(self, workers: int | None = None):
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            # A new worker imports the script that started it. Without this error it would run the whole script again.
            raise NucleateError("this script starts processes; put its calculation into a function called under if __name__ == '__main__'")
        if workers is None:
            workers = 1 if multiprocessing.parent_process() is not None else available_cores()
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def relax(
        self,
        structures: Sequence[Atoms],
        potential: Learned | CorrectedPotential,
        settings: RelaxSettings | None = None,
        sigma_factor: float = 1.0,
        progress: Progress = silent,
        rigid: RigidMolecules | None = None,
    ) -> list[Relaxed]:
        """Relax structures; see `nucleate.relax.batched.relax`.

        Args:
            structures: Starting points, any mixture of sizes.
            potential: A learned potential, alone or as the correction of a prior.
            settings: See `RelaxSettings`.
            sigma_factor: Calibration factor of the committee's standard deviation.
            progress: Called with a `Step` when structures finish.
            rigid: Molecules that are relaxed as rigid bodies before all atoms; None: there are none.

        Returns:
            One `Relaxed` per structure, in order.

        Raises:
            KeyboardInterrupt: There was an interrupt; all workers are ended.
        """
        settings = settings or RelaxSettings()
        chunks = make_chunks(structures, min(CHUNK_ATOMS, settings.capacity))
        parts: dict[int, list[Relaxed]] = {}
        with listening():
            large = settings.max_steps * sum(len(atoms) for atoms in structures) > WORTH_A_POOL
            if self.workers > 1 and len(chunks) > 1 and large:
                try:
                    for k, ends in self._in_processes(chunks, structures, potential, settings, sigma_factor, rigid):
                        parts[k] = ends
                        progress(Step("relaxing", sum(len(part) for part in parts.values()), len(structures)))
                except BrokenProcessPool:
                    # The cause is a script without `if __name__ == '__main__'`, or a worker killed for lack of memory.
                    log.warning("the worker processes ended early; relaxing in this process")
                    self.workers = 1
                except BaseException:
                    self._end()
                    raise
            for k, chunk in enumerate(chunks):
                if k not in parts:
                    done = sum(len(part) for part in parts.values())
                    following = _following(progress, done, len(structures))
                    parts[k] = _relaxed([structures[i] for i in chunk], potential, settings, sigma_factor, rigid, following)
                    check()
        results = {i: end for k, chunk in enumerate(chunks) for i, end in zip(chunk, parts[k], strict=True)}
        return [results[i] for i in range(len(structures))]

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool, self._processes = None, []

    def _in_processes(
        self,
        chunks: list[list[int]],
        structures: Sequence[Atoms],
        potential: Learned | CorrectedPotential,
        settings: RelaxSettings,
        sigma_factor: float,
        rigid: RigidMolecules | None,
    ) -> Iterator[tuple[int, list[Relaxed]]]:
        """Relax chunks in the workers; yield the number and the results of each as it finishes."""
        futures: dict[Future[list[Relaxed]], int] = {}
        if self._pool is None:
            self._pool = worker_pool(self.workers)
        others = set(multiprocessing.active_children())
        with TemporaryDirectory(prefix="nucleate-") as folder:
            model = Path(folder) / "model.safetensors"
            # A prior is loaded by name in each worker, because the packages' models are large; a committee is part of the file.
            base, molecules = (potential.base, potential.molecules) if isinstance(potential, CorrectedPotential) else (None, None)
            save_committee(model, potential.learned, base=None if isinstance(base, PriorPotential) else base, molecules=molecules)
            # The pool starts a process with a task for which none is idle.
            with interrupts_delayed():
                for k, chunk in enumerate(chunks):
                    task = (str(model), potential.prior_name, [structures[i] for i in chunk], settings, sigma_factor, rigid)
                    futures[self._pool.submit(_work, *task)] = k
                self._processes += [process for process in multiprocessing.active_children() if process not in others]
            for future in as_completed(futures):
                check()
                yield futures[future], future.result()

    def _end(self) -> None:
        """End the workers without waiting for their current chunks."""
        for process in self._processes:
            process.terminate()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool, self._processes = None, []


def make_chunks(structures: Sequence[Atoms], atoms: int) -> list[list[int]]:
    """Divide structures into chunks of similar sizes, the largest structures first.

    Args:
        structures: The structures.
        atoms: Largest number of atoms in a chunk of more than one structure.

    Returns:
        Indices of the structures of each chunk.
    """
    chunks: list[list[int]] = []
    room = 0
    for k in sorted(range(len(structures)), key=lambda k: -len(structures[k])):
        if not chunks or len(structures[k]) > room:
            chunks.append([])
            room = atoms
        chunks[-1].append(k)
        room -= len(structures[k])
    return chunks


def _following(progress: Progress, done: int, total: int) -> Progress:
    """Return a progress callable that counts structures after the first `done`."""

    def counted(event: Event, /) -> None:
        progress(Step(event.phase, done + event.done, total) if isinstance(event, Step) else event)

    return counted


def _with_prior(prior: PriorPotential, loaded: Learned | CorrectedPotential) -> CorrectedPotential:
    """Return a loaded potential as the correction of a prior."""
    return CorrectedPotential(prior, loaded.learned, loaded.molecules if isinstance(loaded, CorrectedPotential) else None)


_model = ""
_potential: Potential | None = None
_priors: dict[str, PriorPotential] = {}


def _relaxed(
    structures: list[Atoms],
    potential: Potential,
    settings: RelaxSettings,
    sigma_factor: float,
    rigid: RigidMolecules | None,
    progress: Progress = silent,
) -> list[Relaxed]:
    """Relax a chunk: as rigid bodies first, where there are molecules, then all atoms."""
    starts = structures if rigid is None else relax_rigid(structures, rigid, potential, settings)
    return relax(starts, potential, settings, sigma_factor, progress)


def _work(
    model: str, prior: str | None, structures: list[Atoms], settings: RelaxSettings, sigma_factor: float, rigid: RigidMolecules | None
) -> list[Relaxed]:
    """Relax a chunk in a worker, which keeps the potential while the model file is the same."""
    global _model, _potential
    if _potential is None or model != _model:
        loaded, _ = load_potential(model)
        # The prior is loaded by name once for all models, because that takes seconds.
        if prior is not None and prior not in _priors:
            _priors[prior] = PriorPotential(prior)
        _model, _potential = model, loaded if prior is None else _with_prior(_priors[prior], loaded)
    return _relaxed(structures, _potential, settings, sigma_factor, rigid)
