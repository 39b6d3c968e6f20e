"""Random search: each candidate of nucleate's generator is relaxed on the reference, without any learning.

Candidates are symmetric (`random symmetric`: space group, cell and Wyckoff positions drawn at random) or have no symmetry (`random P1`).
They are the baselines of `nucleate benchmark` and of benchmarks/search/calls_to_hit, with the default settings of the generator.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms
from counting import Trial

from nucleate.benchmark.trials import trial_settings
from nucleate.generate import make_generator


def candidates(system: str, seed: int, share: float) -> Iterator[Atoms]:
    """Generate random candidates; `share` is the fraction of symmetric ones."""
    settings = trial_settings(system, "chgnet", seed, 1, {})
    generation = settings.generate.model_copy(update={"symmetric_share": share, "prototype_share": 0.0, "workers": 1})
    generator = make_generator(settings.counts, generation)
    rng = np.random.default_rng([seed, 4711])
    while True:
        yield from (candidate.atoms for candidate in generator.propose(10, rng))


def symmetric(trial: Trial, system: str, seed: int) -> None:
    """Relax symmetric candidates until the run ends."""
    for atoms in candidates(system, seed, 1.0):
        trial.relax_and_confirm(atoms)


def without_symmetry(trial: Trial, system: str, seed: int) -> None:
    """Relax candidates without symmetry until the run ends."""
    for atoms in candidates(system, seed, 0.0):
        trial.relax_and_confirm(atoms)
