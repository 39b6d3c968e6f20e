"""GPAW's calculator for a crystal that moves: each calculation starts from the densities and wave functions of those before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from ase import Atoms
from gpaw.dft import Parameters
from gpaw.new.ase_interface import ASECalculator
from gpaw.new.logger import Logger
from gpaw.new.symmetry import SymmetryBrokenError

from nucleate.gpaw.history import FARTHEST, KEPT, Deformation, History

CALCULATORS = 3
"""Calculators that a process keeps, each with its wave functions."""
MOST_BYTES = 2**29
"""Largest memory of the wave functions that a process keeps in all."""
STEPS_MOVED, STEPS_CELL = 1, 2
"""Steps of the eigensolver in the extrapolated density before the density changes, with moved atoms and in a changed cell, where the wave
functions have new plane waves. With fewer, the density changes to a worse one."""


class ContinuedGPAW(ASECalculator):
    """ASE calculator of GPAW that extrapolates the density from the last structures; otherwise as `gpaw.GPAW`.

    GPAW itself, when a calculator is used for the next structure, moves the wave functions and takes their density. Here the density is
    that of `history.History`, where its expected error is small enough. The result depends on the start within the convergence criteria.

    Without plane waves, in parallel, with non-collinear spins or with functionals of the kinetic energy density, starts are those of GPAW's
    own calculator. In an unchanged cell, a structure that has lost symmetry starts from superposed atoms, and without
    spins also one that has gained some, since it needs fewer k-points.

    Args:
        txt: file of GPAW's log; None: no log.
        kept: structures that are kept.
        keywords: those of `gpaw.GPAW`.
    """

    def __init__(self, txt: Any = None, kept: int = KEPT, **keywords: Any):
        super().__init__(Parameters(**keywords), log=Logger(txt, None))
        self._keywords = keywords
        self._kept = kept
        self._history = History(kept)
        self._moments = np.empty(0)
        self._superposed = Atoms(), np.empty(0)
        self.hooks["converged"] = self._remember
        self.start: Literal["atoms", "wave functions", "density"] = "atoms"
        """From what the last calculation started: superposed atoms, moved wave functions and their density, or an extrapolated density."""

    def distance(self, atoms: Atoms) -> float:
        """Return the largest distance of an atom or a lattice vector from the last structure in Å.

        It is infinity for other atoms, other directions without periods and other starting moments, which choose among solutions.
        """
        if self._dft is None or not np.array_equal(self.atoms.numbers, atoms.numbers) or not np.array_equal(self.atoms.pbc, atoms.pbc):
            return np.inf
        if not np.array_equal(self._moments, atoms.get_initial_magnetic_moments()):
            return np.inf
        return self._history.distance(atoms.cell.array, atoms.get_scaled_positions(wrap=False))

    def bytes(self) -> int:
        """Return the memory of the wave functions and of the past densities."""
        return self._history.bytes() + sum(int(wfs.psit_nX.data.nbytes) for wfs in self.dft.ibzwfs)

    def keep(self) -> None:
        """Keep this calculator, which has converged, for the next structures of this process; the oldest ones are forgotten."""
        _kept.append(self)
        del _kept[:-CALCULATORS]
        while sum(other.bytes() for other in _kept) > MOST_BYTES:
            del _kept[0]

    def create_new_calculation(self, atoms: Atoms) -> None:
        """Start from superposed atoms."""
        self.start = "atoms"
        self._history = History(self._kept)
        self._moments = atoms.get_initial_magnetic_moments()
        super().create_new_calculation(atoms)

    def create_new_calculation_from_old(self, atoms: Atoms) -> None:
        """Start in a changed cell."""
        super().create_new_calculation_from_old(atoms)
        self._start(atoms, STEPS_CELL)

    def move_atoms(self, atoms: Atoms) -> None:
        """Start with moved atoms."""
        if self.dft.density.ncomponents == 1:
            symmetries = self.params.symmetry.build(atoms, setup_ids=self.dft.setups.id_a)
            if len(symmetries) > len(self.dft.ibzwfs.ibz.symmetries):
                # With its own operations, the calculation needs fewer k-points.
                self.create_new_calculation(atoms)
                return
        try:
            super().move_atoms(atoms)  # type: ignore[no-untyped-call]
        except SymmetryBrokenError:
            # The last structure had operations that this one does not have.
            self.create_new_calculation(atoms)
        else:
            self._start(atoms, STEPS_MOVED)

    def expected(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the density (spins, n_1, n_2, n_3) in 1/Bohr³ and the atomic density matrices from which a calculation starts.

        None stands for those of the moved wave functions.
        """
        density = self.dft.density
        cell, scaled = atoms.cell.array, atoms.get_scaled_positions(wrap=False)
        if self._history.distance(cell, scaled) > FARTHEST:
            self._history = History(self._kept)
        found = self._history.extrapolated(cell, scaled, density.nt_sR.data.shape)
        if found is None:
            return None
        difference, matrices = found
        return self._superposition(atoms) + difference / density.nt_sR.desc.volume, matrices

    def _start(self, atoms: Atoms, steps: int) -> None:
        found = self.expected(atoms) if self._able() else None
        self.start = "wave functions" if found is None else "density"
        if found is None:
            return
        dft, loop = self.dft, self.dft.scf_loop
        density = dft.density
        density.nt_sR.data[:], density.D_asii.data[:] = found
        density.normalize(dft.pot_calc.charge)
        dft.potential, dft.energies, _ = dft.pot_calc.calculate(density, dft.ibzwfs, dft.potential.vHt_x)
        for _ in range(steps):
            loop.eigensolver.iterate(dft.ibzwfs, density, dft.potential, loop.hamiltonian, dft.pot_calc, dft.energies)
            dft.ibzwfs.calculate_occs(loop.occ_calc, density.nvalence - density.charge + dft.pot_calc.charge)

    def _remember(self) -> None:
        if not self._able():
            return
        density, atoms = self.dft.density, self.atoms
        self._history.add(
            Deformation(
                cell=atoms.cell.array.copy(),
                scaled=atoms.get_scaled_positions(wrap=False),
                difference=(density.nt_sR.data - self._superposition(atoms)) * density.nt_sR.desc.volume,
                matrices=density.D_asii.data.copy(),
                electrons=float(density.nvalence - density.charge),
            )
        )

    def _able(self) -> bool:
        return bool(
            self.params.mode.name == "pw" and self.comm.size == 1 and self.dft.density.ncomponents < 4 and self.dft.density.taut_sR is None
        )

    def _superposition(self, atoms: Atoms) -> np.ndarray:
        """Return the density of superposed atoms (spins, n_1, n_2, n_3), the same for both spins."""
        density = self.dft.density
        plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        if plain != self._superposed[0]:
            spins = density.ndensities
            # The same structure is asked for before and after its calculation.
            self._superposed = plain, np.repeat(superposed(plain, self._keywords, density.nt_sR.desc.size_c), spins, axis=0) / spins
        return self._superposed[1]


_kept: list[ContinuedGPAW] = []


def calculator(atoms: Atoms, keywords: dict[str, Any], kind: type = ASECalculator) -> ContinuedGPAW | None:
    """Return a calculator that this process has kept from a structure close to this one with the same keywords, or a new one.

    Args:
        atoms: structure.
        keywords: those of `gpaw.GPAW`.
        kind: class of GPAW's own calculator with these keywords. For some functionals it is that of an older implementation, which has no
            continuation: the result is None.
    """
    if kind is not ASECalculator:
        return None
    new = ContinuedGPAW(**keywords)
    near = [(one.distance(atoms), k) for k, one in enumerate(_kept) if repr(one.params) == repr(new.params)]
    distance, k = min(near, default=(np.inf, -1))
    return _kept.pop(k) if distance <= FARTHEST else new


def superposed(atoms: Atoms, keywords: dict[str, Any], size: Sequence[int]) -> np.ndarray:
    """Return GPAW's smooth density of superposed free atoms (1, n_1, n_2, n_3) in 1/Bohr³ on a grid of this size, scaled to neutrality.

    Args:
        atoms: structure without magnetic moments.
        keywords: those of `gpaw.GPAW`.
        size: points of the grid along the three lattice vectors.
    """
    # The density does not depend on k-points, and their tables are not needed.
    changed = {"kpts": (1, 1, 1), "symmetry": "off", "spinpol": False, "gpts": tuple(int(n) for n in size)}
    log = Logger(None, None)
    kept = {key: value for key, value in keywords.items() if key not in ("txt", "magmoms", "h")}
    builder = Parameters(**{**kept, **changed}).dft_component_builder(atoms, log=log, comm=log.comm)
    density = builder.density_from_superposition(builder.create_basis_set())
    density.normalize(0.0)
    values: np.ndarray = density.nt_sR.data
    return values
