"""Run a benchmark: searches and baselines in several processes, with every finished unit recorded in a file.

A stopped benchmark is continued from the recorded units; further seeds or cells are added to them.
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nucleate.benchmark.statistics import pretrained_summary, random_summary, search_summary
from nucleate.benchmark.targets import Target, relaxed_target
from nucleate.benchmark.trials import (
    confirm_trial,
    dispatching,
    pretrained_trial,
    random_trial,
    search_trial,
    trial_settings,
)
from nucleate.csp.atoms_data import atoms_from_dict
from nucleate.csp.run_settings import RunSettings
from nucleate.errors import BadInput
from nucleate.fingerprints.selection import distinct
from nucleate.persist.files import write_whole
from nucleate.potentials.prior import pretrained_potential
from nucleate.pretrained import check_elements
from nucleate.processes.pools import worker_pool
from nucleate.progress import Event, Progress, silent
from nucleate.reference import make_reference

SHARES = {"random_symmetric": 1.0, "random_p1": 0.0}
"""Fraction of symmetric candidates in each random-search baseline."""
CONFIRMED = 20
"""Largest number of distinct cells relaxed by a pretrained potential that are confirmed on the reference."""


class Results:
    """Finished units by name, stored as one JSON line each.

    Args:
        path: file of the units; None keeps them only in memory.
        head: data on which the units depend, written to the first line.

    Raises:
        BadInput: the file has another head, or is not a file of results.
    """

    def __init__(self, path: Path | None, head: dict[str, Any]):
        self.path = path
        self.units: dict[str, Any] = {}
        if path is None:
            return
        if not path.exists() or not path.read_text():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(head) + "\n")
            return
        lines = path.read_text().splitlines()
        try:
            stored = json.loads(lines[0]) if lines else None
            # A stopped benchmark may leave an incomplete last line; that unit is run again.
            whole = [line for line in lines[1:] if line.endswith("]")]
            self.units = dict(json.loads(line) for line in whole)
        except ValueError as error:
            raise BadInput(f"{path}: is not a file of benchmark results ({error}); choose another --out") from error
        if stored != json.loads(json.dumps(head)):
            raise BadInput(f"{path}: contains results of other settings or another version; choose another --out")
        write_whole(path, "\n".join([lines[0], *whole]) + "\n")

    def add(self, name: str, result: Any) -> None:
        """Record one unit."""
        self.units[name] = result
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps([name, result]) + "\n")


@dataclass(frozen=True)
class UnitDone(Event):
    """A unit of a benchmark is done: a search, a random cell, or a confirmation.

    Attributes:
        name: Kind and number of the unit, such as `nucleate/3`.
        result: Its result, as kept in the output folder.
    """

    name: str
    result: dict[str, Any]


class _Run:
    """Runs the units of one benchmark in a process pool."""

    def __init__(self, pool: ProcessPoolExecutor, results: Results, progress: Progress):
        self.pool = pool
        self.results = results
        self.progress = progress

    def all(self, units: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
        """Run units given as {name: (function, *arguments)} and return their results; recorded units are not run again."""
        futures: dict[Future[Any], str] = {self.pool.submit(*call): name for name, call in units.items() if name not in self.results.units}
        try:
            for future in as_completed(futures):
                result = asdict(future.result())
                self.results.add(futures[future], result)
                self.progress(UnitDone(futures[future], result))
        except BaseException:
            self.pool.shutdown(wait=False, cancel_futures=True)
            raise
        return {name: self.results.units[name] for name in units}


def benchmark(
    system: str,
    reference: str,
    seeds: list[int],
    budget: int,
    overrides: dict[str, Any] | None = None,
    baseline_cells: int = 0,
    ablation: bool = False,
    pretrained: str | None = None,
    workers: int = 2,
    out: Path | None = None,
    progress: Progress = silent,
    target_file: Path | None = None,
    lowest: float | None = None,
) -> dict[str, Any]:
    """Benchmark one system.

    Args:
        system: formula.
        reference: engine of the reference, or the name of a pretrained potential.
        seeds: random seeds; one search is run for each.
        budget: largest number of calls of a search.
        overrides: settings of the search, as in run.toml.
        baseline_cells: number of cells relaxed for each random-search baseline, and by the pretrained potential.
        ablation: whether to search also with P1 candidates only; together with the baselines this separates generation and learning.
        pretrained: pretrained potential that relaxes cells, which are then confirmed on the reference in order of their energies.
        workers: number of processes.
        out: folder of the finished units; None does not store them.
        progress: called with a `UnitDone` when a search or random cell finishes.
        target_file: file with the named crystal; None: the known ground state of the composition.
        lowest: lowest known energy of the system on the reference, eV/atom; None: that of the named crystal.

    Returns:
        The report described in docs/json.md.

    Raises:
        BadInput: a setting is wrong, the ground state of the system is not known, `out` contains results of other settings, or the
            pretrained potential is unknown, does not know an element or is the reference itself.
        MissingDependency: a package of the reference or of the pretrained potential is not installed.
    """
    if pretrained is not None and not baseline_cells:
        raise BadInput("--pretrained relaxes the cells of the baselines; give --baseline-cells as well")
    variants = {"nucleate": overrides or {}}
    if ablation:
        plain = json.loads(json.dumps(overrides or {}))
        plain["generate"] = {**plain.get("generate", {}), "symmetric_share": 0.0, "prototype_share": 0.0}
        variants["nucleate_p1"] = plain
    settings = {name: [trial_settings(system, reference, seed, budget, given) for seed in seeds] for name, given in variants.items()}
    base = trial_settings(system, reference, 0, budget, overrides or {})
    reference = base.reference.engine
    standard = make_reference(base.reference)
    check_elements(standard.name, base.species)
    if pretrained is not None:
        pretrained = pretrained_potential(pretrained, base.species, standard.name, "pretrained potential").name
    with dispatching(standard) as dispatcher:
        target = relaxed_target(system, dispatcher, base.pressure, target_file, lowest)
        reference_settings = dispatcher.reference.settings()
    resolved = base.model_dump(mode="json")
    aim = {"energy": round(target.energy, 6), "space_group": target.symbol, "lowest": round(target.lowest, 6)}
    head = {"nucleate": version("nucleate"), "system": system, "reference": reference_settings, "settings": resolved, "target": aim}
    results = Results(None if out is None else out / f"{system}-{reference.replace(':', '-')}.jsonl", head)
    report: dict[str, Any] = {
        "system": system,
        "reference": reference,
        "target": {"energy": target.energy, "space_group": target.symbol, "lowest": target.lowest},
        "settings": resolved,
    }
    with worker_pool(workers) as pool:
        run = _Run(pool, results, progress)
        units: dict[str, tuple[Any, ...]]
        for name, mine in settings.items():
            units = {f"{name}/{each.seed}": (search_trial, each, target) for each in mine}
            report[name] = search_summary(list(run.all(units).values()))
        if baseline_cells:
            for name, share in SHARES.items():
                units = {f"{name}/{k}": (random_trial, base, k, share, target) for k in range(baseline_cells)}
                report[name] = random_summary(list(run.all(units).values()))
        if baseline_cells and pretrained is not None:
            report["pretrained"] = {"potential": pretrained, **_pretrained(run, base, pretrained, baseline_cells, target)}
    for name in (*SHARES, "pretrained"):
        for mine, theirs in ((report["nucleate"], report.get(name)), (report["nucleate"]["low"], report.get(name, {}).get("low"))):
            if theirs is not None:
                theirs["ratio"] = theirs["ert_at_least"] / mine["ert"] if mine["ert"] else None
    return report


def _pretrained(run: _Run, base: RunSettings, potential: str, cells: int, target: Target) -> dict[str, Any]:
    """Relax random cells with a pretrained potential and confirm the lowest distinct ones on the reference."""
    units: dict[str, tuple[Any, ...]] = {f"pretrained/{potential}/{k}": (pretrained_trial, base, potential, k) for k in range(cells)}
    relaxed = list(run.all(units).values())
    usable = [k for k, cell in enumerate(relaxed) if cell["atoms"] is not None]
    usable.sort(key=lambda k: relaxed[k]["energy"])
    structures = [atoms_from_dict(relaxed[k]["atoms"]) for k in usable]
    order = [usable[place] for place in distinct(structures, base.species)][:CONFIRMED]
    units = {f"confirmed/{potential}/{k}": (confirm_trial, base, atoms_from_dict(relaxed[k]["atoms"]), target) for k in order}
    confirmed = dict(zip(order, run.all(units).values(), strict=True))
    return pretrained_summary(order, cells, confirmed)
