"""Relaxation of the pool on the committee, with molecules in one piece first, and exact symmetry at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.csp.run_settings import RunSettings
from nucleate.fingerprints.matching import idealised
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.registry import Learned
from nucleate.progress import Progress, in_phase
from nucleate.relax.batched import CONVERGED, Relaxed
from nucleate.relax.parallel import RelaxPool
from nucleate.relax.rigid import RigidMolecules
from nucleate.units import GPA

CLOSELY = 0.5
"""Ratio of the thresholds of close relaxations to those of confirmed polymorphs."""
RISE = 0.002
"""Largest rise of the energy on the committee when the symmetry of a structure is made exact, eV/atom."""


class PoolRelaxer:
    """Relaxes candidates at the pressure and with the thresholds of a search.

    Args:
        settings: settings of the search.
    """

    def __init__(self, settings: RunSettings):
        self._molecules, self._pressure = settings.molecules, settings.pressure
        self._settings = settings.relax.model_copy(update={"pressure": settings.pressure, "sigma_stop": settings.search.sigma_stop})
        search, relax = settings.search, settings.relax
        closely = {"fmax": min(relax.fmax, CLOSELY * search.fmax), "smax": min(relax.smax, CLOSELY * search.smax)}
        self._closely = self._settings.model_copy(update=closely)
        self._pool = RelaxPool(settings.relax.workers)

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def relax(
        self,
        structures: list[Atoms],
        potential: Learned | CorrectedPotential,
        sigma_factor: float,
        progress: Progress,
        closely: bool = False,
    ) -> list[Relaxed]:
        """Relax structures.

        Args:
            structures: candidates; their molecules move as rigid bodies first, if the search has molecules.
            potential: committee.
            sigma_factor: calibration factor of its uncertainty, which stops a relaxation where the committee does not know the surface.
            progress: called with the steps.
            closely: whether the thresholds are `CLOSELY` times those of confirmed polymorphs, instead of those of the pool.
        """
        structures, rigid = self._as_molecules(structures)
        following = in_phase("relaxing the pool", progress)
        settings = self._closely if closely else self._settings
        return self._pool.relax(structures, potential, settings, sigma_factor, following, None if closely else rigid)

    def _as_molecules(self, structures: list[Atoms]) -> tuple[list[Atoms], RigidMolecules | None]:
        """Return structures with their molecules in one piece, and these molecules; in other searches the structures and None."""
        own = self._molecules
        parts = None if own.topology is None else own.topology.fragments(structures[0].numbers)
        if own.topology is None or parts is None or not own.rigid_steps:
            return structures, None
        return [own.topology.whole(atoms) for atoms in structures], RigidMolecules(parts, own.rigid_steps)

    def idealised(self, ends: Sequence[Relaxed], potential: Learned | CorrectedPotential) -> list[Relaxed]:
        """Make the symmetry of relaxed candidates exact where their energy on the committee does not rise.

        Relaxations end within their thresholds of a minimum. Exact symmetry removes most of the remaining forces and stresses, and
        calculations of symmetric cells are faster.
        """
        if not ends:
            return []
        exact = [idealised(end.atoms) for end in ends]
        batch = CrystalBatch.from_atoms(exact)
        energy = potential.energy_forces_stress(batch).energy.mean(0).numpy() + batch.volumes.numpy() * self._pressure * GPA
        return [
            replace(end, atoms=atoms) if end.stop == CONVERGED and value < end.energy + RISE * len(atoms) else end
            for end, atoms, value in zip(ends, exact, energy, strict=True)
        ]
