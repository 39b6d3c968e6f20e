"""The function of each verb that reads and validates an input whole, without the computation that follows.

| kind | verb | function |
|---|---|---|
| formula | search FORMULA | resolve_settings |
| cif, poscar, extxyz | relax FILE | read_structures |
| labelled | train FILE, evaluate | read_data, suspicions |
| toml | search --settings | resolve_settings, prepare, check_start, check_known |
| executor | cluster check | read_cluster, job_script |
| couplings | spins show | read_couplings, shells, estimate |
| pairs | spins import, spins predict | read_foreign, read_pairs |
| model | evaluate, electrons predict, electrons start | load_potential, ElectronModel.load, Emulator.load |
| pair-model | spins predict | load_pairs_model |
| run | show, export, resume, evaluate | read_run, show_data, export, RunFolder.open, prepare, load_potential |
| mala | electrons import | read_mala |
| curve | match --xrd, --pdf | read_pattern and powder_data, read_gr and pair_data |
| shifts | match --shifts, --shieldings | read_shifts, read_magres |
| campaign | campaign FILE | read_formulas, members_of |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from input_corpus import EMT_TABLE

from nucleate.campaign.members import members_of, read_formulas
from nucleate.crystals.io import read_structures
from nucleate.csp.plan import check_start, prepare
from nucleate.csp.resolve import resolve_settings
from nucleate.csp.run_data import read_run, show_data
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.csp.stages import check_known
from nucleate.electrons.data.mala_files import read_mala
from nucleate.electrons.emulator.emulator import Emulator
from nucleate.electrons.model.model import ElectronModel
from nucleate.export.formats import export
from nucleate.observables.magres import read_magres
from nucleate.observables.shifts import read_shifts
from nucleate.persist.toml import read_settings
from nucleate.polymorphs.match import MatchOptions, _measurements
from nucleate.potentials.files import load_potential
from nucleate.reference.cluster.script import job_script
from nucleate.reference.cluster.settings import read_cluster
from nucleate.report.spins import shells
from nucleate.spins import api as spins
from nucleate.spins.files.foreign import read_foreign
from nucleate.spins.files.reading import read_couplings
from nucleate.spins.models.data import read_pairs
from nucleate.spins.models.training import load_pairs_model
from nucleate.training.data import read_data
from nucleate.training.run import _model_file
from nucleate.training.suspicions import suspicions


def formula(folder: Path, name: str) -> Any:
    """Read a formula."""
    return resolve_settings((folder / name).read_bytes().decode("utf-8", "surrogateescape"))


def structures(folder: Path, name: str) -> Any:
    """Read structures."""
    return read_structures(folder / name, open_directions=True)


def labelled(folder: Path, name: str) -> Any:
    """Read training data."""
    data = read_data(folder / name)
    suspicions(data)
    return data


def settings(folder: Path, name: str) -> Any:
    """Read settings of a search and build what they describe."""
    found = resolve_settings(None, folder / name)
    plan = prepare(found)
    check_start(plan)
    check_known(plan)
    return found


def executor(folder: Path, name: str) -> Any:
    """Read an executor file."""
    found = read_cluster(folder / name)
    job_script(found, str(folder / name))
    return found


def couplings(folder: Path, name: str) -> Any:
    """Read couplings and estimate the order."""
    known = read_couplings(folder / name)
    shells(known)
    spins.estimate(known)
    return known


def pairs(folder: Path, name: str) -> Any:
    """Read pairs as training data and, of a table, as one of another program."""
    found = read_pairs(folder / name)
    if name.endswith(".csv"):
        columns = {"element_a": "element_a", "element_b": "element_b", "J": "J_meV", "distance": "distance"}
        read_foreign(folder / name, columns, "meV", "once", "minus")
    return found


def model(folder: Path, name: str) -> Any:
    """Read a model file with the reader of its kind."""
    if name.startswith("electrons"):
        return ElectronModel.load(folder / name)
    return Emulator.load(folder / name) if name.startswith("emulator") else load_potential(folder / name)


def pair_model(folder: Path, name: str) -> Any:
    """Read a model of couplings."""
    return load_pairs_model(folder / "model")


def run(folder: Path, name: str) -> Any:
    """Read a run folder as show, export, evaluate and resume do."""
    path = folder / "run"
    data = read_run(path)
    show_data(data)
    if data.state.polymorphs:
        export(path, "json", folder / "out.json")
    if data.rows:
        export(path, "ase-db", folder / "out.db")
    load_potential(_model_file(path))
    with RunFolder.open(path) as opened:
        found = settings_from_dict(read_settings(path / "run.toml"), str(path / "run.toml"))
        prepare(found)
        opened.reference()
        opened.loop_state()
    return data


def mala(folder: Path, name: str) -> Any:
    """Read a snapshot of MALA."""
    return read_mala(folder / "al.npy", folder / "al.extxyz", -6.0, 1.0, {"Al": 3.0})


def measured(folder: Path, name: str) -> Any:
    """Read a powder pattern or a pair distribution function."""
    given = {"pdf": folder / name} if name.endswith(".gr") else {"xrd": folder / name, "wavelength": "CuKa"}
    return _measurements(MatchOptions(**given))


def shifts(folder: Path, name: str) -> Any:
    """Read chemical shifts and shieldings."""
    return read_shifts(folder / "shifts.csv"), read_magres(folder / "shieldings.magres")


def campaign(folder: Path, name: str) -> Any:
    """Read the formulas of a campaign."""
    (folder / "emt.toml").write_text(EMT_TABLE)
    return members_of(read_formulas(folder / name), folder / "emt.toml")


READERS: dict[str, Callable[[Path, str], Any]] = {
    "formula": formula, "cif": structures, "poscar": structures, "extxyz": structures, "labelled": labelled, "toml": settings,
    "executor": executor, "couplings": couplings, "pairs": pairs, "model": model, "pair-model": pair_model, "run": run, "mala": mala,
    "curve": measured, "shifts": shifts, "campaign": campaign,
}  # fmt: skip
