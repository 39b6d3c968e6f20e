"""Invariants that a policy of moves reads: scalars of forces, steps and energies that no rotation, translation or order of atoms changes.

An agent is an atom, or the cell of a structure with its three rows of coordinates as one symmetric matrix. Norms and inner products of a
cell are those of Frobenius.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nucleate.relax.state import State

NAMES = (
    "log force",
    "log largest force",
    "log own step",
    "log quasi-Newton step",
    "log change of force",
    "cosine of force and last step",
    "cosine of force and last force",
    "cosine of force and quasi-Newton step",
    "cosine of quasi-Newton step and last step",
    "structure: cosine of force and last step",
    "structure: cosine of force and last force",
    "structure: cosine of force and quasi-Newton step",
    "structure: longest quasi-Newton step",
    "structure: log change of largest force",
    "structure: change of energy",
    "structure: log steps",
    "cell",
    "first step",
)
"""Names of the invariants, in order; a policy file lists those that it was trained with."""
SOFT = 1e-6
"""Norm below which a cosine goes to zero, in eV/Å or Å: the direction of a force that vanishes by symmetry is noise."""
LEAST = 1e-4
"""Smallest force (eV/Å) and step (Å) whose logarithm is resolved."""
TINY = 1e-30
"""Added below a square root, whose derivative at zero is infinite."""
ENERGY = 0.01
"""Change of the energy of one step, eV/atom, around which its invariant changes from linear to logarithmic."""


@dataclass(frozen=True)
class Agents:
    """The agents of a batch: the atoms of all structures, followed by one cell for each structure.

    Attributes:
        n_atoms: number of atoms.
        owner: (n_atoms + n,) structure of each agent.
        n: number of structures.
    """

    n_atoms: int
    owner: Tensor
    n: int

    @staticmethod
    def of(state: State) -> Agents:
        """Return the agents of a state."""
        n = len(state.batch)
        cells = torch.arange(n, device=state.owner.device)
        return Agents(len(state.batch.numbers), torch.cat([state.batch.structure, cells]), n)

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the (n_atoms + n,) inner products of two row tensors, per agent."""
        rows = (a * b).sum(-1)
        return torch.cat([rows[: self.n_atoms], rows[self.n_atoms :].view(self.n, 3).sum(1)])

    def total(self, values: Tensor) -> Tensor:
        """Return the (n,) sums of a value per agent."""
        return values.new_zeros(self.n).index_add_(0, self.owner, values)

    def largest(self, values: Tensor) -> Tensor:
        """Return the (n,) largest of a value per agent, which is not negative."""
        # Rounding must not differ between batches, so this is a maximum and not a soft one.
        return values.new_zeros(self.n).scatter_reduce(0, self.owner, values, "amax")

    def to_rows(self, values: Tensor) -> Tensor:
        """Return values per agent (n_atoms + n, ...) as values per row of coordinates (n_atoms + 3 n, ...)."""
        return torch.cat([values[: self.n_atoms], values[self.n_atoms :].repeat_interleave(3, dim=0)])

    def from_rows(self, values: Tensor) -> Tensor:
        """Return values per row that are equal for the rows of a cell as values per agent."""
        return torch.cat([values[: self.n_atoms], values[self.n_atoms :: 3]])


def largest_force(state: State) -> Tensor:
    """Return the (n,) largest norm of the gradient of an agent, eV/Å."""
    agents = Agents.of(state)
    return agents.largest(_root(agents.dot(state.gradient_force, state.gradient_force)))


def _root(squares: Tensor) -> Tensor:
    return (squares + TINY).sqrt()


def invariants(state: State, agents: Agents, quasi: Tensor, maxstep: float) -> Tensor:
    """Return the (n_atoms + n, len(NAMES)) invariants of all agents.

    Args:
        state: an evaluated state; its memory contains `row_step` and `row_previous_f` (last step and the forces before it), `previous_e`
            (enthalpy before it) and `moved` (number of steps).
        agents: the agents of the state.
        quasi: (rows, 3) step of L-BFGS.
        maxstep: largest displacement, Å, the unit of lengths.
    """
    force, step, before = state.gradient_force, state.memory["row_step"], state.memory["row_previous_f"]
    owner, moved = agents.owner, state.memory["moved"] > 0
    pairs = {
        "ff": (force, force), "ss": (step, step), "bb": (before, before), "qq": (quasi, quasi), "fs": (force, step), "fb": (force, before),
        "fq": (force, quasi), "qs": (quasi, step),
    }  # fmt: skip
    own = {name: agents.dot(*pair) for name, pair in pairs.items()}
    whole = {name: agents.total(value) for name, value in own.items()}

    def cosine(values: dict[str, Tensor], one: str, other: str) -> Tensor:
        norm = _root(values[one * 2]) * _root(values[other * 2])
        return values[one + other] / (norm + SOFT**2)

    norm_f, norm_b = _root(own["ff"]), _root(own["bb"])
    largest, largest_before = agents.largest(norm_f), agents.largest(norm_b)

    def log(value: Tensor) -> Tensor:
        return (value + LEAST).log() / 3

    def change(now: Tensor, then: Tensor, known: Tensor) -> Tensor:
        ratio = ((now + LEAST) / (then + LEAST)).log().clamp(-3, 3)
        return torch.where(known, ratio, torch.zeros_like(ratio))

    slope = (state.enthalpy - state.memory["previous_e"]) / state.batch.counts
    energy = torch.where(moved, torch.asinh(slope / ENERGY) / 3, torch.zeros_like(slope))
    is_cell = torch.zeros_like(norm_f)
    is_cell[agents.n_atoms :] = 1.0
    per_structure = torch.stack(
        [
            cosine(whole, "f", "s"),
            cosine(whole, "f", "b"),
            cosine(whole, "f", "q"),
            agents.largest(_root(own["qq"])) / maxstep,
            change(largest, largest_before, moved),
            energy,
            torch.log1p(state.steps.to(force.dtype)) / math.log(100.0),
        ],
        dim=1,
    )
    return torch.cat(
        [
            torch.stack(
                [
                    log(norm_f),
                    log(largest)[owner],
                    log(_root(own["ss"])) - math.log(maxstep) / 3,
                    log(_root(own["qq"])) - math.log(maxstep) / 3,
                    change(norm_f, norm_b, moved[owner]),
                    cosine(own, "f", "s"),
                    cosine(own, "f", "b"),
                    cosine(own, "f", "q"),
                    cosine(own, "q", "s"),
                ],
                dim=1,
            ),
            per_structure[owner],
            is_cell.unsqueeze(1),
            (~moved).to(force.dtype)[owner].unsqueeze(1),
        ],
        dim=1,
    )
