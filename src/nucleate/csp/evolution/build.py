"""The evolution of a search from its settings."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from nucleate.csp.evolution.breeding import Breeding, Modes
from nucleate.csp.evolution.settings import EvolutionSettings
from nucleate.csp.newton import Frame
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.softest_modes import softest_modes
from nucleate.errors import BadInput
from nucleate.generate.clusters import diameter_of
from nucleate.generate.evolution.base import Operator
from nucleate.generate.evolution.molecular.bodies import Contents
from nucleate.generate.evolution.registry import make_cluster_operators, make_molecular_operators, make_operators
from nucleate.generate.evolution.soft_modes import SoftModes
from nucleate.generate.packing import make_packing
from nucleate.potentials.base import Potential

MOST_ATOMS = 60
"""Number of atoms above which soft modes are used only if they are asked for; their Hessian takes seconds for each parent."""
MODES = 4
"""Number of modes of a parent from which the operator `soft-mode` draws."""


def check_evolution(settings: RunSettings) -> None:
    """Refuse settings of the evolution that have no effect.

    Raises:
        BadInput: such a setting is given; the message names it.
    """
    own, plain = settings.evolution, EvolutionSettings()
    if own.strategy == "random":
        for name in EvolutionSettings.model_fields:
            if getattr(own, name) != getattr(plain, name):
                raise BadInput(f"evolution.{name} has no effect on the strategy random; give --strategy mixed, or remove it")
        return
    if settings.system is not None or settings.dimensions == 2:
        kind = "a chemical system" if settings.system is not None else "layers"
        raise BadInput(f"the strategy {own.strategy} works on crystals and clusters of one formula, not on {kind}; use --strategy random")
    can = _operators(settings, no_modes)
    if not can:
        raise BadInput(f"the strategy {own.strategy} has no operators for {_what(settings)}; use --strategy random")
    missing = [name for name in own.operators if name not in can]
    if missing:
        raise BadInput(f"evolution.operators: {missing[0]} cannot be applied to {_what(settings)}; choose from {', '.join(sorted(can))}")


def _what(settings: RunSettings) -> str:
    """Return what is searched for, for messages."""
    if settings.molecules.molecule:
        return f"molecular crystals of {settings.name}"
    return f"clusters of {settings.name}" if settings.dimensions == 0 else settings.name


def make_breeding(settings: RunSettings, modes: Modes) -> Breeding:
    """Return the evolution of a search.

    Args:
        settings: settings of the search.
        modes: returns the softest modes of a structure.
    """
    own = settings.evolution
    operators = {} if own.strategy == "random" else _operators(settings, modes)
    if operators and not own.operators and sum(settings.counts.values()) > MOST_ATOMS:
        operators.pop(SoftModes.name, None)
    chosen = [operator for name, operator in operators.items() if not own.operators or name in own.operators]
    return Breeding(own, chosen, settings.search.cluster_tolerance)


def _operators(settings: RunSettings, modes: Modes) -> dict[str, Operator]:
    """Return all operators that can be applied to the cluster, the molecules or the formula, by name."""
    if settings.dimensions == 0:
        diameter = diameter_of(settings.counts, settings.clusters.diameter, settings.generate)
        return make_cluster_operators(make_packing(settings.counts, settings.generate), diameter)
    topology = settings.molecules.topology
    if topology is not None:
        contents = Contents(topology.molecules, settings.molecules.counts)
        return make_molecular_operators(contents, settings.generate.conformers == "flexible")
    return make_operators(make_packing(settings.counts, settings.generate), modes)


def no_modes(atoms: Atoms) -> np.ndarray:
    """Return no modes."""
    return np.zeros((0, len(atoms), 3))


def modes_of(atoms: Atoms, potential: Potential, pressure: float) -> np.ndarray:
    """Return the (k, n, 3) displacements of the atoms in the softest modes of a structure, unit vectors, softest first.

    Args:
        atoms: the structure.
        potential: a potential or committee.
        pressure: external pressure, GPa.
    """
    frame = Frame(atoms, pressure)
    hessian = frame.curvature(potential, frame.beginning())
    modes = np.array([vector[: 3 * len(atoms)] for vector in softest_modes(hessian, atoms, MODES)])
    sizes = np.linalg.norm(modes, axis=1)
    # A mode that is mostly a strain does not say where the atoms go.
    moved = sizes > 0.3
    result: np.ndarray = (modes[moved] / sizes[moved, None]).reshape(-1, len(atoms), 3)
    return result
