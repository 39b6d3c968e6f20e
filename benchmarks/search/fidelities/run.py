"""Errors of a committee that has learned a teacher and a few labels of the reference, by the way in which both are combined.

    OMP_NUM_THREADS=1 python benchmarks/search/fidelities/run.py --systems Si8 Al4O6

The teacher (7net-0) is searched twice, with seeds 0 and 1. Its labels of seed 0 train the committees. The labels of the reference
(CHGNet-r2SCAN) are those of the lowest structures of seed 0. The errors are those of structures of seed 1: end points of relaxations on the
teacher's committee, and half of them with 2 % strain and displacements of 0.07 Å a component.
"""

import argparse
import copy
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from nucleate.benchmark.result_file import ResultFile
from nucleate.csp.learner import MOST_FORCE
from nucleate.csp.loop import Search
from nucleate.csp.plan import Plan
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.csp.stages import teacher_settings
from nucleate.persist.toml import to_toml
from nucleate.potentials.base import Potential
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.registry import Learned, Trainable, make_model
from nucleate.potentials.settings import ModelSettings
from nucleate.reference.surrogates import SurrogateReference
from nucleate.training.baseline import fit_baseline
from nucleate.training.batches import LabelledSet
from nucleate.training.data import from_labels
from nucleate.training.fitting import Fitting, structure_weights
from nucleate.training.labelled import LabelledStructure
from nucleate.training.prior import minus_potential
from nucleate.training.settings import TrainingSettings

TEACHER, REFERENCE = "7net-0", "chgnet:r2scan"
COUNTS = (3, 6, 12, 24)
TESTED = 40


def taught(system: str, seed: int) -> tuple[Learned, list[LabelledStructure], list[Any]]:
    """Return the committee, the labels and the distinct structures of a search on the teacher, lowest first."""
    settings = teacher_settings(
        settings_from_dict({"formula": system, "seed": seed, "generate": {"prototype_share": 0.0}, "teacher": {"name": TEACHER}})
    )
    with tempfile.TemporaryDirectory() as folder, RunFolder.create(Path(folder) / "run", to_toml(settings)) as run:
        search = Search(run, Plan(settings, SurrogateReference(TEACHER)))
        state = search.run()
        rows = [row for row in run.ledger.rows() if row.label is not None and np.abs(row.label.forces).max() < MOST_FORCE]
    labels = from_labels([row.atoms for row in rows], [row.label for row in rows if row.label is not None])
    structures = [polymorph.atoms for polymorph in state.ranking()] + [item.atoms for item in state.carried]
    return search.learner.potential.learned, labels, structures


def trained(data: list[LabelledStructure], start: Learned | None = None, weights: list[float] | None = None) -> Learned:
    """Return a committee trained on labels, from random weights or from those of `start`."""
    species = tuple(sorted({int(z) for item in data for z in item.atoms.numbers}))
    model = make_model("manybody", species, ModelSettings(), 0, torch.float32) if start is None else copy.deepcopy(start)
    settings = TrainingSettings().of_round(0, warm=start is not None)
    weight = structure_weights(data, cast(Any, model).members, settings)
    if weights is not None:
        weight = weight * torch.as_tensor(weights)
    labelled = LabelledSet(data, model.cutoff, weight / weight.mean(), "cpu")
    if start is None:
        fit_baseline(cast(Trainable, model), labelled, 0)
    fitting = Fitting(cast(Trainable, model), labelled, settings)
    while fitting.step < settings.total:
        fitting.advance()
    fitting.keep_average()
    return model


def errors(potential: Potential, data: list[LabelledStructure], shift: float = 0.0) -> dict[str, float]:
    """Return root mean square errors: energy (meV/atom; also without its mean), force (eV/Å) and stress (GPa)."""
    left = minus_potential(data, potential)
    energy = 1e3 * (np.array([item.energy / len(item.atoms) for item in left]) - shift)
    forces = np.concatenate([item.forces for item in left if item.forces is not None])
    stress = np.array([item.stress for item in left])
    return {
        "energy": float(np.sqrt(np.mean(energy**2))),
        "spread": float(np.std(energy)),
        "force": float(np.sqrt(np.mean(forces**2))),
        "stress": float(160.2177 * np.sqrt(np.mean(stress**2))),
    }


def methods(
    base: Learned, labels: list[LabelledStructure], own: list[LabelledStructure]
) -> dict[str, Callable[[], tuple[Potential, float]]]:
    """Return the ways to combine a committee of the teacher, its labels and labels of the reference."""
    left = minus_potential(own, base)
    shift = float(np.mean([item.energy / len(item.atoms) for item in left]))
    moved = [replace(item, energy=item.energy + shift * len(item.atoms)) for item in labels]

    def both(weight: float) -> tuple[Potential, float]:
        return trained(moved + own, base, [weight] * len(moved) + [1.0] * len(own)), 0.0

    return {
        "teacher's committee, shifted": lambda: (base, shift),
        "teacher's committee + learned difference": lambda: (CorrectedPotential(base, trained(left)), 0.0),
        "one committee, teacher's labels with weight 1": lambda: both(1.0),
        "one committee, teacher's labels with weight 0.01": lambda: both(0.01),
        "reference alone": lambda: (trained(own), 0.0),
    }


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| system | labels | method | end points: energy, meV/atom | force, eV/Å | stress, GPa | strained: energy | force | stress |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in data["rows"]:
        ends, strained = row["ends"], row["strained"]
        cells = [f"{part['energy']:.0f} | {part['force']:.2f} | {part['stress']:.1f}" for part in (ends, strained)]
        lines.append(f"| {row['system']} | {row['labels']} | {row['method']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=["Si8", "Al4O6"])
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"teacher": TEACHER, "reference": REFERENCE}, ("chgnet", "sevenn"))
    reference = SurrogateReference(REFERENCE)
    rng = np.random.default_rng(5)
    for system in a.systems:
        if result.find(system=system) is not None:
            continue
        base, labels, structures = taught(system, 0)
        ends = taught(system, 1)[2][:TESTED]
        strained = []
        for atoms in ends[: TESTED // 2]:
            moved = atoms.copy()
            moved.set_cell(moved.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
            moved.positions += rng.normal(0, 0.07, moved.positions.shape)
            strained.append(moved)
        tests = [from_labels(some, [reference.label(atoms) for atoms in some]) for some in (ends, strained)]
        own = from_labels(structures[: max(COUNTS)], [reference.label(atoms) for atoms in structures[: max(COUNTS)]])
        for count in COUNTS:
            for name, make in methods(base, labels, own[:count]).items():
                potential, shift = make()
                found = [errors(potential, test, shift) for test in tests]
                result.add(system=system, labels=count, method=name, ends=found[0], strained=found[1])
                print(system, count, name, found, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
