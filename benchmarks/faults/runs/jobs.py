"""The jobs to which faults happen: a command, what it has paid for, what is finished in its folder, and its result."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from safetensors.numpy import load_file

from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.files.table import table_text

SMALL = """
[search]
pool = 12
first_batch = 4
batch = 3
max_rounds = 4

[generate]
workers = 1
prototype_share = 0.0

[model]
members = 2
radial = 6
channels = 4
hidden = 8

[training]
steps = 60
warm_steps = 30

[relax]
max_steps = 60
workers = 1
"""
"""Settings of a small search."""
SEARCH = """
[reference]
engine = "ase"
calculator = "paid:PaidEMT"
workers = WORKERS
"""
TRAIN = """
checkpoint_every = 20
evaluate_every = 20

[options]
members = 2
radial = 6
channels = 4
hidden = 8
"""
SAMPLE = """
[dynamics]
material = "Al"
atoms = 4
temperature = 933.0
volume = 17.0
snapshots = 3
equilibration = 20
interval = 10

[ground_state]
cutoff = 100.0
k_spacing = 1.5
electronic_temperature = 3000.0
sigma = 0.3
spacing = 0.15
"""
ELECTRONS = """
steps = 60
points = 300
hidden = [16, 16]

[descriptor]
radial = 3
degree = 2
cutoff = 4.0
"""
COUPLE = """
[reference]
engine = "ase"
calculator = "paid:PaidIsing"
"""


@dataclass(frozen=True)
class Job:
    """A command that can be repeated until it ends.

    Attributes:
        name: its name in the results.
        words: arguments of the command `nucleate` for a folder of inputs and the folder of a run; the first time, and again.
        result: what a user has in the end, from the run folder and what was printed.
        finished: what must not be lost or paid for again, by name, with its content.
        patch: called in the process before the command.
        needs: packages without which the job cannot run.
    """

    name: str
    words: Callable[[Path, Path], list[str]]
    result: Callable[[Path, str], Any]
    finished: Callable[[Path], dict[str, Any]] = lambda run: {}
    patch: Callable[[], None] = lambda: None
    needs: tuple[str, ...] = ()


def make_inputs(folder: Path) -> None:
    """Write the inputs of all jobs but those of the room electrons."""
    folder.mkdir(parents=True, exist_ok=True)
    for workers in (0, 2):
        (folder / f"search-{workers}.toml").write_text(SEARCH.replace("WORKERS", str(workers)) + SMALL)
    for name, text in (("train", TRAIN), ("sample", SAMPLE), ("electrons", ELECTRONS), ("couple", COUPLE)):
        (folder / f"{name}.toml").write_text(text)
    random, frames = np.random.default_rng(0), []
    for k in range(24):
        atoms = bulk("Cu", cubic=True).repeat((1, 1, 1 + k % 2))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + random.normal(0, 0.03, (3, 3))), scale_atoms=True)
        atoms.positions += random.normal(0, 0.08, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces(), stress=atoms.get_stress())
        frames.append(atoms)
    ase.io.write(folder / "copper.extxyz", frames)
    ase.io.write(folder / "manganese.extxyz", Atoms("Mn", cell=[3, 3, 3], pbc=True).repeat(2))
    crystal = bulk("Al", cubic=True, a=4.1)
    crystal.rattle(0.05, seed=1)
    ase.io.write(folder / "aluminium.extxyz", crystal)
    cubic = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1.0], [0] * 3, [0] * 3, np.eye(3), tensor(np.full(3, 10.0)))
    (folder / "cubic.csv").write_text(table_text(cubic))


def rows(run: Path) -> list[tuple[Any, ...]]:
    """Return the rows of a ledger as another program reads them."""
    path = next((run / name for name in ("run.db", "ledger.db") if (run / name).exists()), None)
    if path is None:
        return []
    with closing(sqlite3.connect(path)) as database:
        try:
            return database.execute("SELECT hash, status, purpose, round, energy, reason, attempts FROM ledger ORDER BY id").fetchall()
        except sqlite3.OperationalError:
            return []


def answered(run: Path) -> dict[str, Any]:
    """Return the finished rows of a ledger."""
    return {row[0]: row for row in rows(run) if row[1] not in ("running", "interrupted")}


def search_result(run: Path, printed: str) -> Any:
    """Return the ranking without times, and the ledger without attempts."""
    shown = json.loads(printed)
    for name in ("folder", "seconds", "core_seconds", "report", "cost"):
        shown.pop(name, None)
    return {"polymorphs": shown["polymorphs"], "calls": shown["calls"], "ledger": [row[:6] for row in rows(run)]}


def tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a file as lists."""
    return {name: array.tolist() for name, array in sorted(load_file(path).items())}


def stored(run: Path) -> dict[str, Any]:
    """Return the finished snapshots of a sampling: when they were written, and their sizes."""
    return {
        str(path.relative_to(run)): [path.stat().st_mtime_ns, path.stat().st_size]
        for snapshot in run.glob("snapshots/*.zarr")
        for path in sorted(snapshot.rglob("*"))
        if path.is_file()
    }


def sampled(run: Path, printed: str) -> Any:
    """Return the numbers of all snapshots."""
    from nucleate.electrons.data.store import read_snapshot, snapshot_paths

    snapshots = [read_snapshot(path) for path in snapshot_paths(run)]
    return [[float(np.abs(each.ldos).sum()), np.asarray(each.ldos).shape, str(each.terms)] for each in snapshots]


def paid_ground_states() -> None:
    """Write an invoice before each ground state."""
    from paid import invoice

    from nucleate.electrons.data import sampling

    real = sampling.ground_state

    def paid(atoms: Atoms, *more: Any) -> Any:
        invoice(atoms.positions)
        return real(atoms, *more)

    sampling.ground_state = paid


def predicted(run: Path, printed: str) -> Any:
    """Return the printed numbers without times."""
    shown = json.loads(printed)
    return {name: value for name, value in shown.items() if name != "seconds"}


def _search(workers: int) -> Callable[[Path, Path], list[str]]:
    return lambda inputs, run: [
        "search", "Cu2", "--settings", str(inputs / f"search-{workers}.toml"), "--seed", "3", "--out", str(run), "--json"
    ]  # fmt: skip


JOBS = (
    Job("search", _search(0), search_result, answered),
    Job("search, two workers", _search(2), search_result, answered),
    Job(
        "train",
        lambda inputs, run: [
            "train", str(inputs / "copper.extxyz"), "--settings", str(inputs / "train.toml"), "--steps", "120", "--out", str(run)
        ],
        lambda run, printed: tensors(run / "model.safetensors"),
    ),
    Job(
        "electrons sample",
        lambda inputs, run: ["electrons", "sample", "--settings", str(inputs / "sample.toml"), "--out", str(run), "--json"],
        sampled,
        stored,
        paid_ground_states,
        ("gpaw", "zarr"),
    ),
    Job(
        "electrons train",
        lambda inputs, run: [
            "electrons", "train", str(inputs / "sampled"), "--settings", str(inputs / "electrons.toml"), "--out", str(run), "--json"
        ],
        lambda run, printed: tensors(run / "model.safetensors"),
        needs=("gpaw", "zarr"),
    ),
    Job(
        "electrons predict",
        lambda inputs, run: [
            "electrons", "predict", str(inputs / "model"), str(inputs / "aluminium.extxyz"), "--forces", "--scratch", str(run), "--json"
        ],
        predicted,
        needs=("gpaw", "zarr"),
    ),
    Job(
        "spins couple",
        lambda inputs, run: [
            "spins", "couple", str(inputs / "manganese.extxyz"), "--moment", "Mn=5", "--cutoff", "3.2", "--workers", "0",
            "--settings", str(inputs / "couple.toml"), "--out", str(run), "--json",
        ],
        lambda run, printed: json.loads(printed)["shells"],
        answered,
    ),
    Job(
        "spins simulate",
        lambda inputs, run: [
            "spins", "simulate", str(inputs / "cubic.csv"), "--temperatures", "50,83.3,116.7,150", "--size", "3", "--size", "4",
            "--measurements", "400", "--out", str(run), "--json",
        ],
        lambda run, printed: json.loads((run / "table.json").read_text()),
    ),
)  # fmt: skip
