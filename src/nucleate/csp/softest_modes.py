"""Check whether confirmed polymorphs are minima, by displacements along the softest modes of their cell on the reference.

A confirmed polymorph is a stationary point of the reference: forces and stress vanish. It is a minimum if the Hessian of the enthalpy, cell
included, has no negative eigenvalue. The committee predicts the Hessian, and the modes with its lowest eigenvalues are displaced on the
reference, whatever the sign of the predicted eigenvalues. With u the normalised mode, s the displacement and g the gradient of the
reference, the curvature along the mode is

    k = u . (g(s u) - g(0)) / s            from one displacement,
    k = u . (g(s u) - g(-s u)) / (2 s)     from both.

A mode is stable if k exceeds `FLAT` and the energy rises. It is unstable if the energy falls by more than `DEPTH`, or if k is below
-`FLAT`. Otherwise the opposite displacement, and then a larger one, decides; modes that remain flat count as stable. Displacements are
those of one cell, so that instabilities with other wave vectors are not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from nucleate.crystals.dimensions import is_cluster
from nucleate.csp.newton import Frame, longest_move
from nucleate.csp.records import Lead, Polymorph, enthalpy_per_atom, residuals
from nucleate.errors import BudgetExhausted
from nucleate.potentials.base import Potential
from nucleate.reference.asking import Answer
from nucleate.reference.base import Label
from nucleate.reference.dispatch import Dispatcher

MODES = 2
"""Number of modes that are displaced."""
AMPLITUDES = (0.15, 0.15, 0.3)
"""Largest displacement of an atom or cell vector in Å: first along the mode, then against it, then a larger one along it."""
SIGNS = (1.0, -1.0, 1.0)
FLAT = 0.15
"""Curvature in eV/Å² below which one displacement does not decide; forces converged to 0.02 eV/Å give an error of this size."""
DEPTH = 0.0005
"""Decrease of the enthalpy in eV/atom that shows an instability."""


@dataclass
class Mode:
    """A mode of a polymorph and its displacements.

    Attributes:
        vector: (3 n + 6,) normalised mode in the coordinates of `Frame`.
        curvature: curvature on the reference, eV/Å²; None before the first displacement.
        stable: whether the reference confirms a minimum along the mode; None while it is undecided.
        lowest: displaced structure with the lowest enthalpy, its label and its enthalpy in eV/atom.
    """

    vector: np.ndarray
    curvature: float | None = None
    stable: bool | None = None
    lowest: tuple[Atoms, Label, float] | None = None
    slopes: dict[float, float] = field(default_factory=dict)


def softest_modes(hessian: np.ndarray, atoms: Atoms, count: int = MODES) -> list[np.ndarray]:
    """Return the modes with the lowest eigenvalues, translations excluded, and rotations and strains of clusters.

    Args:
        hessian: (3 n + 6, 3 n + 6) Hessian in the coordinates of `Frame`.
        atoms: the structure.
        count: number of modes.
    """
    n = len(atoms)
    rigid = np.zeros((3 * n + 6, 12))
    arms = atoms.positions - atoms.positions.mean(0)
    for axis, vector in enumerate(np.eye(3)):
        rigid[axis : 3 * n : 3, axis] = 1.0
        if is_cluster(atoms):
            rigid[: 3 * n, 3 + axis] = np.cross(vector, arms).flatten()
    if is_cluster(atoms):
        rigid[3 * n :, 6:] = np.eye(6)
    # An orthonormal basis of the complement of these motions; linear clusters have one rotation less.
    left, sizes, _ = np.linalg.svd(rigid, full_matrices=True)
    basis = left[:, int((sizes > 1e-6 * sizes[0]).sum()) :]
    _, modes = np.linalg.eigh(basis.T @ hessian @ basis)
    return [basis @ mode for mode in modes.T[:count]]


@dataclass
class Check:
    """Check of one polymorph.

    Attributes:
        polymorph: the polymorph.
        modes: its softest modes.
        slope: (3 n + 6,) gradient of the reference at the polymorph, eV/Å.
    """

    polymorph: Polymorph
    frame: Frame
    origin: np.ndarray
    slope: np.ndarray
    modes: list[Mode]
    failed: bool = False

    def displaced(self, mode: Mode, stage: int) -> tuple[Atoms, float]:
        """Return the displaced structure of a stage, and the signed displacement in Å along the normalised mode."""
        s = SIGNS[stage] * AMPLITUDES[stage] / max(longest_move(mode.vector), 1e-12)
        return self.frame.atoms(self.origin + s * mode.vector), s

    def add(self, mode: Mode, atoms: Atoms, s: float, answer: Answer, pressure: float) -> None:
        """Enter the result of a displacement."""
        if not isinstance(answer, Label):
            self.failed = True
            return
        there = self.origin + s * mode.vector
        mode.slopes[s] = float(mode.vector @ self.frame.gradient(there, answer.forces, answer.stress))
        energy = enthalpy_per_atom(atoms, answer, pressure)
        if mode.lowest is None or energy < mode.lowest[2]:
            mode.lowest = (atoms, answer, energy)
        if -s in mode.slopes:
            mode.curvature = (mode.slopes[s] - mode.slopes[-s]) / (2 * s)
        else:
            mode.curvature = (mode.slopes[s] - float(mode.vector @ self.slope)) / s
        fall = self.polymorph.energy - mode.lowest[2]
        if fall > DEPTH or mode.curvature < -FLAT:
            mode.stable = False
        elif mode.curvature > FLAT and fall <= 0:
            mode.stable = True

    @property
    def verdict(self) -> str:
        """`minimum`, `saddle`, or `unchecked` if a calculation failed before an instability was found."""
        if any(mode.stable is False for mode in self.modes):
            return "saddle"
        return "unchecked" if self.failed else "minimum"

    def lead(self, pressure: float) -> Lead | None:
        """Return a lead downhill from a saddle: the displaced structure with the lowest enthalpy."""
        found = [mode.lowest for mode in self.modes if mode.stable is False and mode.lowest is not None]
        if not found:
            return None
        atoms, label, energy = min(found, key=lambda item: item[2])
        fmax, smax = residuals(atoms, label, pressure)
        # Symmetrisation would lead back to the saddle.
        return Lead(
            atoms, atoms, energy, fmax, smax, self.polymorph.origin, np.array(label.forces), np.array(label.stress),
            tried=[self.polymorph.number], birth=self.polymorph.birth,
        )  # fmt: skip


class SoftestModeCheck:
    """Displaces polymorphs along their softest modes on the reference.

    Args:
        dispatcher: runs the reference calculations.
        pressure: external pressure, GPa.
    """

    def __init__(self, dispatcher: Dispatcher, pressure: float):
        self.dispatcher, self.pressure = dispatcher, pressure

    def run(self, polymorphs: list[Polymorph], model: Potential, round: int) -> list[Check]:
        """Check polymorphs side by side, as many as the budget permits; each takes 2 to 6 calls.

        Args:
            polymorphs: confirmed polymorphs.
            model: the committee, whose Hessian gives the modes.
            round: round of the search, for the ledger.

        Returns:
            The check of each polymorph that was examined; its `check` is set.
        """
        checks = [check for polymorph in polymorphs if (check := self._begin(polymorph, model, round)) is not None]
        for stage in range(len(SIGNS)):
            asked: list[tuple[Check, Mode, Atoms, float]] = []
            for check in checks:
                for mode in check.modes:
                    # The third displacement is for modes that two displacements left undecided.
                    if mode.stable is None and not check.failed:
                        asked.append((check, mode, *check.displaced(mode, stage)))
            left = self.dispatcher.remaining()
            if left is not None and len(asked) > left:
                for check, *_ in asked[left:]:
                    check.failed = True
                asked = [item for item in asked[:left] if not item[0].failed]
            if not asked:
                break
            like = [check.polymorph.frame or check.polymorph.atoms for check, *_ in asked]
            answers = self.dispatcher.label_many([atoms for _, _, atoms, _ in asked], "check", round, like=like)
            for (check, mode, atoms, s), answer in zip(asked, answers, strict=True):
                check.add(mode, atoms, s, answer, self.pressure)
        for check in checks:
            check.polymorph.check = check.verdict
        return checks

    def _begin(self, polymorph: Polymorph, model: Potential, round: int) -> Check | None:
        frame = Frame(polymorph.atoms, self.pressure)
        origin = frame.beginning()
        # The polymorph has been labelled, so that the ledger answers without a calculation.
        like = [polymorph.frame]
        try:
            (label,) = self.dispatcher.label_many([polymorph.atoms], "check", round, like=like)
        except BudgetExhausted:
            # A folder of layout 1 does not say with which k-points the label was made, which may take another call.
            return None
        if not isinstance(label, Label):
            return None
        modes = [Mode(vector) for vector in softest_modes(frame.curvature(model, origin), polymorph.atoms)]
        return Check(polymorph, frame, origin, frame.gradient(origin, label.forces, label.stress), modes)
