"""Batched FIRE and L-BFGS optimisers, `init(state) -> state` and `move(state) -> state`; structures are independent.

Defaults and formulas follow ASE's optimisers of the same names, so that a batch of one structure follows the same trajectory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Protocol

import torch

from nucleate.relax.state import State

HAS_KERNELS = find_spec("numba") is not None
"""Whether L-BFGS on the CPU uses the kernel of `lbfgs_kernel`, which needs numba."""


class Optimiser(Protocol):
    """Protocol of an optimiser, whose methods are pure functions from state to state."""

    def init(self, state: State) -> State:
        """Return an evaluated state with the optimiser's memory added."""
        ...

    def move(self, state: State) -> State:
        """Return a state with new coordinates, computed from the forces of an evaluated state."""
        ...


@dataclass(frozen=True)
class Fire:
    """FIRE: E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), doi 10.1103/PhysRevLett.97.170201.

    Attributes:
        maxstep: largest norm of the displacement of a structure in one step, Å.
        dt, dtmax, nmin, finc, fdec, astart, fa: parameters of the paper, named as in ASE.
    """

    maxstep: float = 0.2
    dt: float = 0.1
    dtmax: float = 1.0
    nmin: int = 5
    finc: float = 1.1
    fdec: float = 0.5
    astart: float = 0.1
    fa: float = 0.99

    def init(self, state: State) -> State:
        """Return the state with zero velocities."""
        one = torch.ones_like(state.enthalpy)
        memory = {
            "row_velocity": torch.zeros_like(state.coordinates),
            "dt": self.dt * one,
            "mix": self.astart * one,
            "downhill": 0 * one,
            "moved": 0 * one,
        }
        return replace(state, memory=memory)

    def move(self, state: State) -> State:
        """Take one FIRE step for every structure."""
        force, m = state.gradient_force, state.memory
        velocity, dt, mix, downhill = m["row_velocity"], m["dt"], m["mix"], m["downhill"]
        power = state.dot(force, velocity)
        good = power > 0
        first = m["moved"] == 0
        norm_f = state.dot(force, force).sqrt().clamp_min(1e-300)
        norm_v = state.dot(velocity, velocity).sqrt()
        mixed = (1 - mix)[state.owner, None] * velocity + (mix * norm_v / norm_f)[state.owner, None] * force
        velocity = torch.where(good[state.owner, None], mixed, torch.zeros_like(velocity))
        grow = good & (downhill > self.nmin)
        dt = torch.where(grow, (dt * self.finc).clamp_max(self.dtmax), dt)
        mix_good = torch.where(grow, mix * self.fa, mix)
        halved = torch.where(first, dt, dt * self.fdec)
        dt = torch.where(good, dt, halved)
        mix = torch.where(good, mix_good, torch.full_like(mix, self.astart))
        downhill = torch.where(good, downhill + 1, torch.zeros_like(downhill))
        velocity = velocity + dt[state.owner, None] * force
        step = dt[state.owner, None] * velocity
        length = state.dot(step, step).sqrt()
        scale = (self.maxstep / length.clamp_min(1e-300)).clamp_max(1.0)
        memory = {
            "row_velocity": velocity,
            "dt": dt,
            "mix": mix,
            "downhill": downhill,
            "moved": m["moved"] + 1,
        }
        return replace(state, coordinates=state.coordinates + scale[state.owner, None] * step, memory=memory, steps=state.steps + 1)


FIRST_CURVATURE = 15.0
"""Curvature of the first step of L-BFGS, eV/Å². It and the limits below were chosen on random cells of silicon."""
CURVATURES = (5.0, 300.0)
"""Limits of the curvature of the last pair, eV/Å²."""


@dataclass(frozen=True)
class Lbfgs:
    """Limited-memory BFGS without line search: J. Nocedal, Math. Comp. 35, 773 (1980), doi 10.1090/S0025-5718-1980-0572855-7.

    Pairs of step s and gradient change y without positive curvature are not used, so that the search direction is downhill. The curvature
    of directions that the pairs do not contain is y.y / s.y of the last pair: D. C. Liu and J. Nocedal, Math. Program. 45, 503 (1989),
    doi 10.1007/BF01589116.

    Attributes:
        maxstep: largest displacement of an atom in one step, Å.
        history: number of stored pairs of step and gradient change.
        curvature: constant curvature of directions that the pairs do not contain, eV/Å², as in ASE (70); None: that of the last pair.
    """

    maxstep: float = 0.2
    history: int = 20
    curvature: float | None = None

    @property
    def first_curvature(self) -> float:
        """Curvature without a usable last pair, eV/Å²."""
        return FIRST_CURVATURE if self.curvature is None else self.curvature

    def init(self, state: State) -> State:
        """Return the state with an empty history."""
        rows = state.coordinates.new_zeros(self.history, *state.coordinates.shape)
        memory = {
            "row_s": rows,
            "row_y": rows.clone(),
            "rho": state.enthalpy.new_zeros(self.history, len(state.batch)),
            "row_last_x": state.coordinates,
            "row_last_f": state.gradient_force,
            "moved": torch.zeros_like(state.enthalpy),
        }
        return replace(state, memory=memory)

    def move(self, state: State) -> State:
        """Take one quasi-Newton step for every structure."""
        # The kernel cannot be differentiated, as the training of learned moves needs.
        if HAS_KERNELS and state.coordinates.device.type == "cpu" and not state.coordinates.requires_grad:
            return self._move_by_kernel(state)
        m = state.memory
        owner = state.owner
        s_new = state.coordinates - m["row_last_x"]
        y_new = m["row_last_f"] - state.gradient_force
        along = state.dot(s_new, y_new)
        usable = (m["moved"] > 0) & (along > 1e-12)
        rho_new = torch.where(usable, 1 / along.clamp_min(1e-12), torch.zeros_like(along))
        scale = torch.full_like(along, self.first_curvature)
        if self.curvature is None:
            scale = torch.where(usable, (state.dot(y_new, y_new) * rho_new).clamp(*CURVATURES), scale)
        # A pair without positive curvature is stored with rho = 0 and zero rows, so that it has no effect.
        keep = usable[owner, None]
        s = torch.cat([m["row_s"][1:], torch.where(keep, s_new, torch.zeros_like(s_new)).unsqueeze(0)])
        y = torch.cat([m["row_y"][1:], torch.where(keep, y_new, torch.zeros_like(y_new)).unsqueeze(0)])
        rho = torch.cat([m["rho"][1:], rho_new.unsqueeze(0)])
        filled = min(self.history, int(m["moved"].max()) if len(m["moved"]) else 0)
        q = -state.gradient_force
        coefficients = []
        for k in range(self.history - 1, self.history - 1 - filled, -1):
            a = rho[k] * state.dot(s[k], q)
            q = q - a[owner, None] * y[k]
            coefficients.append(a)
        z = q / scale[owner, None]
        for k in range(self.history - filled, self.history):
            b = rho[k] * state.dot(y[k], z)
            z = z + (coefficients.pop() - b)[owner, None] * s[k]
        step = -z
        # Far from a quadratic region the direction may point uphill; steepest descent is used then.
        uphill = state.dot(step, state.gradient_force) <= 0
        step = torch.where(uphill[owner, None], state.gradient_force / self.first_curvature, step)
        longest = state.largest_row(step)
        shorter = (self.maxstep / longest.clamp_min(1e-300)).clamp_max(1.0)
        memory = {
            "row_s": s,
            "row_y": y,
            "rho": rho,
            "row_last_x": state.coordinates,
            "row_last_f": state.gradient_force,
            "moved": m["moved"] + 1,
        }
        return replace(state, coordinates=state.coordinates + shorter[owner, None] * step, memory=memory, steps=state.steps + 1)

    def _move_by_kernel(self, state: State) -> State:
        """Take the same step by the kernel."""
        # numba is imported only here, because that takes a quarter of a second.
        from nucleate.relax.lbfgs_kernel import lbfgs_step

        m = state.memory
        s, y, rho, x = (torch.empty_like(tensor) for tensor in (m["row_s"], m["row_y"], m["rho"], state.coordinates))
        old = (state.coordinates, state.gradient_force, m["row_last_x"], m["row_last_f"], m["row_s"], m["row_y"], m["rho"], m["moved"])
        arrays = [tensor.contiguous().numpy() for tensor in (*old, state.batch.counts)]
        bounds = CURVATURES if self.curvature is None else (0.0, 0.0)
        lbfgs_step(*arrays, self.first_curvature, bounds, self.maxstep, s.numpy(), y.numpy(), rho.numpy(), x.numpy())
        memory = {
            "row_s": s,
            "row_y": y,
            "rho": rho,
            "row_last_x": state.coordinates,
            "row_last_f": state.gradient_force,
            "moved": m["moved"] + 1,
        }
        return replace(state, coordinates=x, memory=memory, steps=state.steps + 1)
