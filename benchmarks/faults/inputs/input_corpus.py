"""Valid inputs of each kind, made with ASE and nucleate's own writers: the starting points of the mutations."""

from __future__ import annotations

import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from nucleate.csp.records import LoopState, Polymorph, RoundRecord
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import OF_THE_SEARCH, RunSettings, settings_from_dict
from nucleate.electrons.descriptors.power_spectrum import PowerSpectrum
from nucleate.electrons.emulator.emulator import Emulator
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.network import LdosNetwork
from nucleate.electrons.species import Ion
from nucleate.persist.toml import commented_toml, to_toml
from nucleate.potentials.families import family_settings
from nucleate.potentials.files import save_committee
from nucleate.potentials.registry import make_model
from nucleate.reference.base import Label
from nucleate.reference.build import make_reference
from nucleate.spins.couplings import Couplings
from nucleate.spins.files.spirit import spirit_text
from nucleate.spins.files.table import table_text
from nucleate.spins.files.tb2j import tb2j_text
from nucleate.spins.models.data import Pairs
from nucleate.spins.models.training import PairTraining, train_pairs

Item = dict[str, bytes]
"""Files of one input by name; the first is the one that a verb is given, or its folder is."""
EMT_TABLE = '[reference]\nengine = "ase"\ncalculator = "ase.calculators.emt:EMT"\nworkers = 1\n'
ENGINE = {"engine": "gpaw", "functional": "LDA", "pseudopotential": "hgh", "cutoff": 200.0}
LONGEST = 300_000
"""Largest size of a file of the folder of shared cases that is used, bytes."""
SHARED = {
    "cif": "*.cif", "poscar": "POSCAR*", "extxyz": "xyz*.extxyz", "labelled": "train*.extxyz", "couplings": "[ts][bp][0-9]*.[oc][uf][tg]",
    "toml": "*_ref.toml",
}  # fmt: skip


def written(atoms: Atoms | list[Atoms], kind: str) -> bytes:
    """Return the file that ASE writes."""
    if kind == "cif":
        stream = io.BytesIO()
        ase.io.write(stream, atoms, format="cif")
        return stream.getvalue()
    text = io.StringIO()
    ase.io.write(text, atoms, format=kind)
    return text.getvalue().encode()


def crystals() -> list[Atoms]:
    """Return a few small crystals."""
    tilted = bulk("MgO", "rocksalt", a=4.2) * (1, 1, 2)
    tilted.rattle(0.05, seed=1)
    magnetic = bulk("Fe", "bcc", a=2.87, cubic=True)
    magnetic.set_initial_magnetic_moments([2.0, -2.0])
    return [bulk("Al", "fcc", a=4.05), bulk("ZnO", "wurtzite", a=3.25, c=5.2), tilted, magnetic]


def labelled(count: int = 4) -> list[Atoms]:
    """Return strained aluminium with energies, forces and stresses of EMT."""
    frames = []
    for k in range(count):
        atoms = bulk("Al", "fcc", a=3.95 + 0.05 * k, cubic=True)
        atoms.rattle(0.05, seed=k)
        atoms.calc = EMT()
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
        frames.append(atoms)
    return frames


def made_couplings() -> Couplings:
    """Return couplings of two sites, with both directions of no pair."""
    shifts = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    tensors = np.array([np.eye(3) * j for j in (-5.0, 1.5, 1.5, 1.2)])
    cell, positions = np.diag([3.0, 3.0, 4.0]), np.array([[0, 0, 0], [1.5, 1.5, 2.0]])
    return Couplings(cell, positions, ("Mn", "Fe"), np.array([4.0, 2.5]), np.array([0, 0, 0, 1]), np.array([1, 0, 0, 1]), shifts, tensors)


def models(folder: Path) -> list[Item]:
    """Return files of potentials, of a model of electrons and of an emulator."""
    items = []
    for family, options in (("manybody", {"members": 2, "channels": 4, "hidden": 4}), ("a2a", {"members": 2})):
        save_committee(folder / "m.safetensors", make_model(family, (13,), family_settings(family, options), 0, torch.float32))
        items.append({"potential.safetensors": (folder / "m.safetensors").read_bytes()})
    torch.manual_seed(0)
    descriptor = PowerSpectrum(1, 4.0, 3, 2)
    network, energies = LdosNetwork(descriptor.features, 5, (6,), 2), torch.linspace(-5, 5, 5, dtype=torch.float64).numpy()
    ElectronModel(descriptor, network, energies, 0.5, {"Al": Ion("Al", 3.0, 0.2)}, 0.3, ENGINE, {"temperature": 300.0}).save(folder / "e")
    items.append({"electrons.safetensors": (folder / "e").read_bytes()})
    small = PowerSpectrum(1, 4.0, 2, 1, cubic=False)
    ones = [torch.ones(small.features, dtype=torch.float64) for _ in range(3)]
    facts = {"residual": 0.1, "atoms_error": [0.2], "left_out_error": [0.1]}
    Emulator(small, ["Al"], *ones, torch.eye(small.features, dtype=torch.float64), ENGINE, facts, 0.2).save(folder / "s")
    items.append({"emulator.safetensors": (folder / "s").read_bytes()})
    return items


def pair_models(folder: Path) -> list[Item]:
    """Return folders of models of couplings."""
    names = [(a, b) for a in ("Fe", "Mn", "Co") for b in ("Ni", "Cr")]
    pairs = Pairs.of_elements(names, np.linspace(-3, 5, len(names)), np.linspace(2.4, 3.2, len(names)))
    train_pairs(pairs, folder / "pairs", PairTraining(model="kernel", restarts=1))
    return [in_folder(folder / "pairs", "model")]


def in_folder(path: Path, name: str) -> Item:
    """Return the files of a folder under another name of the folder."""
    return {f"{name}/{file.relative_to(path)}": file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def run_folder(folder: Path) -> Item:
    """Return the folder of a finished search with three polymorphs."""
    settings = settings_from_dict(
        {"formula": "Al2", "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 1}, "search": {"budget": 20}}
    )
    state = LoopState(round=1, finished="the budget of reference calls is spent", proof=None)
    for rank, (shape, number) in enumerate((("bct", 141), ("fcc", 225), ("bcc", 229))):
        atoms = bulk("Al", shape, a=4.05 - 0.7 * (shape == "bcc"), **({"c": 2.9} if shape == "bct" else {})) * (1, 1, 2)
        state.polymorphs.append(Polymorph(atoms, atoms, -3.4 + 0.1 * rank, 0.01, 0.05, "Fm-3m", number, 0.02, "p1", 5 + rank, 3, 1))
    state.records = [RoundRecord(n, 4 + n, -3.4, {"converged": 5}, 6, {}, {"labels": 4}, {"label": 3.0}) for n in range(2)]
    with patch("time.time", lambda: 1.7e9), RunFolder.create(folder / "run", to_toml(settings)) as opened:
        for k, atoms in enumerate(labelled()):
            opened.ledger.begin(str(k), atoms, "EMT", {}, "train", 0)
            forces, stress = atoms.get_forces(), atoms.get_stress()
            opened.ledger.finish(str(k), Label(atoms.get_potential_energy(), forces, stress, core_seconds=2.0), 2.0)
        opened.save_state(state.round, state.as_dict())
        reference = make_reference(settings.reference)
        opened.set_fact("reference", {"name": reference.name, "surrogate": False, "settings": reference.settings()})
        opened.event("polymorph", energy=-3.2, space_group="Cmcm", calls=6, round=state.round + 1)
    save_committee(
        folder / "run" / "models" / "round_001.safetensors",
        make_model("manybody", (13,), family_settings("manybody", {"channels": 4}), 0, torch.float32),
    )
    return {name: data for name, data in in_folder(folder / "run", "run").items() if not name.endswith("lock")}


def mala() -> Item:
    """Return a density of states of three electrons in a cell of aluminium."""
    atoms, energies = bulk("Al", "fcc", a=4.05), np.arange(12) - 6.0
    share = np.where(energies < 0, 3.0 / 6, 0.2) / atoms.get_volume()
    array = np.ones((4, 4, 4, 1)) * share
    stream = io.BytesIO()
    np.save(stream, array)
    info = {"grid_dimensions": [4, 4, 4], "temperature": 298.0, "fermi_energy_dft": -0.4, "number_of_electrons_exact": 3.0}
    return {"al.npy": stream.getvalue(), "al.extxyz": written(atoms, "extxyz"), "al.info.json": json.dumps(info).encode()}


def curve(low: float, high: float, peak: float) -> bytes:
    """Return two columns with a few peaks."""
    x = np.linspace(low, high, 400)
    y = sum(100 * np.exp(-(((x - k * peak) / 0.4) ** 2)) for k in range(1, 6)) + 1.0
    return "".join(f"{a:.4f} {b:.4f}\n" for a, b in zip(x, y, strict=True)).encode()


MAGRES = b"""#$magres-abinitio-v1.0
<atoms>
units lattice Angstrom
lattice 0.0 2.1 2.1 2.1 0.0 2.1 2.1 2.1 0.0
units atom Angstrom
atom Mg Mg 1 0.0 0.0 0.0
atom O O 1 2.1 2.1 2.1
</atoms>
<magres>
units ms ppm
ms Mg 1 550.0 0 0 0 550.0 0 0 0 550.0
ms O 1 200.0 0 0 0 200.0 0 0 0 200.0
</magres>
"""
CLUSTER = b"""provider = "slurm"

[connection]
interface = "lo"

[block]
nodes = 1
cores_per_node = 64
memory_per_node = 200
walltime = "04:00:00"
partition = "main"
setup = ["module load python"]

[label]
cores = 4
memory = 25.0
"""
FORMULAS = (
    "Si8", "Al4O6", "Ca(OH)2", "CuSO4.5H2O", "Fe2O3·H2O", "Mg-Si", "MgO-Al2O3", "K4[Fe(CN)6]", "SiO₂", "CaTiO3", "Ba2Cu3O7", "Mg-Si-O",
)  # fmt: skip


def corpus(kind: str, cases: Path | None = None) -> list[Item]:
    """Return valid inputs of a kind; with a folder of shared cases, its files of this kind as well."""
    with TemporaryDirectory() as place:
        items = _made(kind, Path(place))
    if cases is not None and kind in SHARED:
        found = sorted(path for path in cases.glob(SHARED[kind]) if path.is_file() and path.stat().st_size < LONGEST)
        items += [{path.name: path.read_bytes()} for path in found]
    return items


def _made(kind: str, folder: Path) -> list[Item]:
    rng = np.random.default_rng(0)
    match kind:
        case "formula":
            return [{"formula.txt": text.encode()} for text in FORMULAS]
        case "cif":
            return [{"a.cif": written(atoms, "cif")} for atoms in crystals()]
        case "poscar":
            return [{"POSCAR": written(atoms, "vasp")} for atoms in crystals()]
        case "extxyz":
            return [{"a.extxyz": written(atoms, "extxyz")} for atoms in (*crystals(), crystals()[:2])]
        case "labelled":
            return [{"data.extxyz": written(labelled(), "extxyz")}]
        case "toml":
            plain = f'formula = "Al4"\nseed = 3\n\n{EMT_TABLE}\n[search]\nbudget = 20\npool = 8\n'.encode()
            tables = f'formula = "Cu-Au"\n{EMT_TABLE}[hull]\nmax_atoms = 6\n[evolution]\nstrategy = "random"\n'.encode()
            full = commented_toml(RunSettings.model_validate({"formula": "Al4"}), "Settings.", OF_THE_SEARCH)
            layer = f'formula = "Al2"\ndimensions = 2\n{EMT_TABLE}'.encode()
            full = full.replace('engine = "gpaw"', 'engine = "ase"\ncalculator = "ase.calculators.emt:EMT"')
            return [{"settings.toml": data} for data in (plain, tables, layer, full.encode())]
        case "executor":
            local = CLUSTER.replace(b'"slurm"', b'"local"').replace(b'partition = "main"\n', b"")
            return [{"slurm.toml": CLUSTER}, {"local.toml": local}]
        case "couplings":
            known = made_couplings()
            texts = (("a.csv", table_text(known)), ("exchange.out", tb2j_text(known)), ("a.cfg", spirit_text(known, (4, 4, 4))))
            return [{name: text.encode()} for name, text in texts]
        case "pairs":
            table = "element_a,element_b,J_meV,distance\nFe,Mn,2.5,2.9\nCo,Ni,-1.5,2.4\nCr,V,0.25,3.1\n"
            frames = []
            for j in rng.normal(size=4):
                atoms = bulk("Fe", "bcc", a=2.87, cubic=True)
                atoms.info = {"sites": np.array([0, 1]), "vector": atoms.positions[1] - atoms.positions[0], "J_meV": float(j)}
                frames.append(atoms)
            return [{"pairs.csv": table.encode()}, {"pairs.extxyz": written(frames, "extxyz")}]
        case "model":
            return models(folder)
        case "pair-model":
            return pair_models(folder)
        case "run":
            return [run_folder(folder)]
        case "mala":
            return [mala()]
        case "curve":
            return [{"a.xy": curve(5, 90, 17.0)}, {"a.gr": b"qmax = 20.0\n#### start data\n" + curve(0.05, 20, 2.9)}]
        case "shifts":
            return [{"shifts.csv": b"nucleus,shift,multiplicity,label\n25Mg,26.0,1,a\n17O,47.0,1,b\n", "shieldings.magres": MAGRES}]
        case "campaign":
            return [{"formulas.txt": b"# rocks\nMgO\nMg2Si2O6  # pyroxene\n\nMg-Si\nAl4O6\n"}]
    raise ValueError(kind)
