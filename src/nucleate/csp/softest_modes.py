"""Check whether confirmed polymorphs are minima, by displacements along the softest modes of their cell on the reference.

A confirmed polymorph is a stationary point of the reference: forces and stress vanish. It is a minimum if the Hessian of the enthalpy, cell
included, has no negative eigenvalue. The committee predicts the Hessian, and the modes with its lowest eigenvalues are displaced on the
reference, whatever the sign of the predicted eigenvalues. With u the normalised mode, s the displacement and g the gradient of the
reference, the curvature along the mode is

    k = u . (g(s u) - g(0)) / s            from one displacement,
    k = u . (g(s u) - g(-s u)) / (2 s)     from both.

A mode is stable if k exceeds `FLAT` and the energy rises. It is unstable if the energy falls by more than `DEPTH`, or if k is below
-`FLAT`. Otherwise the opposite displacement, and then a larger one, decides. A mode that remains flat while the energy falls a little may
lead downhill once the cell and the other atoms follow, as the tilts of the tetrahedra in cubic cristobalite do: the lowest of the displaced
structures is relaxed by up to `STEPS` quasi-Newton steps, and a decrease by more than `DEPTH` shows an instability. Other modes that remain
flat count as stable. Displacements are those of one cell, so that instabilities with other wave vectors are not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from ase import Atoms

from nucleate.crystals.dimensions import is_cluster
from nucleate.csp.newton import Frame, bfgs, longest_move, newton_step
from nucleate.csp.records import Lead, Polymorph, enthalpy_per_atom, residuals
from nucleate.errors import BudgetExhausted
from nucleate.potentials.base import Potential
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
STEPS = 3
"""Number of steps from the lowest structure along a flat mode."""
TRUST = 0.3
"""Largest displacement of an atom or cell vector in one of these steps, Å."""


class Point(NamedTuple):
    """A labelled structure near a polymorph.

    Attributes:
        there: (3 n + 6,) coordinates in the frame of the polymorph.
        slope: (3 n + 6,) gradient of the reference, eV/Å.
        atoms: the structure.
        label: result of the reference.
        energy: enthalpy, eV/atom.
    """

    there: np.ndarray
    slope: np.ndarray
    atoms: Atoms
    label: Label
    energy: float


@dataclass
class Mode:
    """A mode of a polymorph and its displacements.

    Attributes:
        vector: (3 n + 6,) normalised mode in the coordinates of `Frame`.
        curvature: curvature on the reference, eV/Å²; None before the first displacement.
        stable: whether the reference confirms a minimum along the mode; None while it is undecided.
        points: the displaced structure for each signed displacement (Å), and the structures to which `STEPS` have led from the lowest.
    """

    vector: np.ndarray
    curvature: float | None = None
    stable: bool | None = None
    points: dict[float, Point] = field(default_factory=dict)
    steps: list[Point] = field(default_factory=list)

    @property
    def lowest(self) -> Point:
        """The labelled structure with the lowest enthalpy."""
        return min([*self.points.values(), *self.steps], key=lambda point: point.energy)


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
        frame, origin: frame of the coordinates, and the (3 n + 6,) coordinates of the polymorph in it.
        slope: (3 n + 6,) gradient of the reference at the polymorph, eV/Å.
        modes: its softest modes.
        failed: whether a calculation failed, or the budget did not permit it.
    """

    polymorph: Polymorph
    frame: Frame
    origin: np.ndarray
    slope: np.ndarray
    modes: list[Mode]
    failed: bool = False

    def displacement(self, mode: Mode, stage: int) -> float:
        """Return the signed displacement of a stage in Å along the normalised mode."""
        return SIGNS[stage] * AMPLITUDES[stage] / max(longest_move(mode.vector), 1e-12)

    def add(self, mode: Mode, s: float, point: Point) -> None:
        """Enter the result of a displacement."""
        mode.points[s] = point
        slope = float(mode.vector @ point.slope)
        if -s in mode.points:
            mode.curvature = (slope - float(mode.vector @ mode.points[-s].slope)) / (2 * s)
        else:
            mode.curvature = (slope - float(mode.vector @ self.slope)) / s
        fall = self.polymorph.energy - mode.lowest.energy
        if fall > DEPTH or mode.curvature < -FLAT:
            mode.stable = False
        elif mode.curvature > FLAT and fall <= 0:
            mode.stable = True

    def flat_mode(self) -> Mode | None:
        """Return the flat mode along which the energy falls most; None if there is none, or if another mode is unstable."""
        if self.failed or self.verdict == "saddle":
            return None
        falling = [mode for mode in self.modes if mode.stable is None and mode.lowest.energy < self.polymorph.energy]
        return min(falling, key=lambda mode: mode.lowest.energy, default=None)

    def step(self, mode: Mode, model: Potential) -> np.ndarray:
        """Return the coordinates after the next step downhill from the lowest structure along a flat mode."""
        here = mode.lowest
        path = [point for point in mode.steps if point is not here] + [here]
        hessian = bfgs(self.frame.hessian(model, here.there), [point.there for point in path], [point.slope for point in path])
        return here.there + newton_step(hessian, here.slope, TRUST)

    def add_step(self, mode: Mode, point: Point) -> None:
        """Enter the result of a step downhill."""
        mode.steps.append(point)
        if self.polymorph.energy - mode.lowest.energy > DEPTH:
            mode.stable = False

    @property
    def verdict(self) -> str:
        """`minimum`, `saddle`, or `unchecked` if a calculation failed before an instability was found."""
        if any(mode.stable is False for mode in self.modes):
            return "saddle"
        return "unchecked" if self.failed else "minimum"

    def lead(self, pressure: float) -> Lead | None:
        """Return a lead downhill from a saddle: the displaced structure with the lowest enthalpy."""
        found = [mode.lowest for mode in self.modes if mode.stable is False]
        if not found:
            return None
        lowest = min(found, key=lambda point: point.energy)
        fmax, smax = residuals(lowest.atoms, lowest.label, pressure)
        # Symmetrisation would lead back to the saddle.
        return Lead(
            lowest.atoms, lowest.atoms, lowest.energy, fmax, smax, self.polymorph.origin, np.array(lowest.label.forces),
            np.array(lowest.label.stress), tried=[self.polymorph.number], birth=self.polymorph.birth,
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
        """Check polymorphs side by side, as many as the budget permits; each takes 2 to 6 calls, and up to 3 more along a flat mode.

        Args:
            polymorphs: confirmed polymorphs.
            model: the committee, whose Hessian gives the modes.
            round: round of the search, for the ledger.

        Returns:
            The check of each polymorph that was examined; its `check` is set.
        """
        checks = [check for polymorph in polymorphs if (check := self._begin(polymorph, model, round)) is not None]
        for stage in range(len(SIGNS)):
            # The second and third displacements are for modes that are still undecided.
            open_modes = [(check, mode) for check in checks for mode in check.modes if mode.stable is None and not check.failed]
            moves = [(check, mode, check.displacement(mode, stage)) for check, mode in open_modes]
            points = self._label([(check, check.origin + s * mode.vector) for check, mode, s in moves], round)
            for (check, mode, s), point in zip(moves, points, strict=True):
                if point is not None:
                    check.add(mode, s, point)
        for _ in range(STEPS):
            flat = [(check, flat_mode) for check in checks if (flat_mode := check.flat_mode()) is not None]
            points = self._label([(check, check.step(mode, model)) for check, mode in flat], round)
            for (check, mode), point in zip(flat, points, strict=True):
                if point is not None:
                    check.add_step(mode, point)
        for check in checks:
            check.polymorph.check = check.verdict
        return checks

    def _label(self, asked: list[tuple[Check, np.ndarray]], round: int) -> list[Point | None]:
        """Label structures near their polymorphs; the check fails where the result is None."""
        left = self.dispatcher.remaining()
        for check, _ in asked[len(asked) if left is None else left :]:
            check.failed = True
        structures = [check.frame.atoms(there) for check, there in asked]
        kept = [k for k, (check, _) in enumerate(asked) if not check.failed]
        points: list[Point | None] = [None] * len(asked)
        if not kept:
            return points
        like = [asked[k][0].polymorph.frame or asked[k][0].polymorph.atoms for k in kept]
        answers = self.dispatcher.label_many([structures[k] for k in kept], "check", round, like=like)
        for k, answer in zip(kept, answers, strict=True):
            check, there = asked[k]
            if isinstance(answer, Label):
                slope = check.frame.gradient(there, answer.forces, answer.stress)
                points[k] = Point(there, slope, structures[k], answer, enthalpy_per_atom(structures[k], answer, self.pressure))
            else:
                check.failed = True
        return points

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
