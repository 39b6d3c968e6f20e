"""Analytic potentials and small helpers that the tests of several rooms share."""

# ruff: noqa: E402

import fcntl
import os
import shutil
import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell, which has its jobs ignore interrupts: the tests of interrupts, and what they start, want them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    # Before numpy and GPAW are imported: with threads that wait for each other a ground state takes ten times longer.
    os.environ.setdefault(name, "1")
# Without compiled modules each process that a test starts compiles the whole package, which takes longer than what many of them do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols

from nucleate.crystals import CrystalBatch, neighbour_edges
from nucleate.crystals.strain import voigt_from_full
from nucleate.errors import BadInput
from nucleate.potentials.base import Prediction
from nucleate.reference.base import Label

torch.set_num_threads(1)


class PairPotential:
    """Lennard-Jones with a smooth end, minimum at `bond` (Å) and `depth` (eV); a committee if given several depths."""

    def __init__(self, species=(18,), bond=3.0, depth=(0.3,), cutoff=6.0, mixed=0.8):
        self.species = tuple(species)
        self.bond = bond
        self.depth = torch.tensor(depth, dtype=torch.float64)
        self.cutoff = cutoff
        self.mixed = mixed

    def pair(self, r, unlike):
        """Energy and slope of each pair; unlike atoms sit closer and bind more strongly."""
        bond = torch.where(unlike, self.mixed * self.bond, self.bond)
        depth = torch.where(unlike, 1.5, 1.0)
        q = (bond / r) ** 6
        x = (r / self.cutoff).clamp_max(1.0)
        end, end_slope = (1 - x * x) ** 3, -6 * x / self.cutoff * (1 - x * x) ** 2
        bare, bare_slope = depth * (q * q - 2 * q), depth * (-12 * q * q + 12 * q) / r
        return bare * end, bare_slope * end + bare * end_slope

    def layout(self, batch, edges):
        return None

    def energy_forces_stress(self, batch, edges=None, layout=None, mean_forces=False):
        unknown = sorted(set(batch.numbers.tolist()) - set(self.species))
        if unknown:
            raise BadInput(f"no parameters for {chemical_symbols[unknown[0]]}")
        edges = edges or neighbour_edges(batch, self.cutoff)
        vectors = edges.vectors(batch)
        r = vectors.norm(dim=1)
        energy, slope = self.pair(r, batch.numbers[edges.centre] != batch.numbers[edges.neighbour])
        pull = 0.5 * slope.unsqueeze(1) * vectors / r.unsqueeze(1)
        owner = batch.structure[edges.centre]
        total = energy.new_zeros(len(batch)).index_add_(0, owner, 0.5 * energy)
        forces = torch.zeros_like(batch.positions).index_add_(0, edges.centre, pull)
        forces.index_add_(0, edges.neighbour, -pull)
        virial = energy.new_zeros(len(batch), 3, 3).index_add_(0, owner, pull.unsqueeze(2) * vectors.unsqueeze(1))
        stress = virial / batch.volumes.view(-1, 1, 1)
        m = self.depth
        return Prediction(m.view(-1, 1) * total, m.view(-1, 1, 1) * forces, m.view(-1, 1, 1, 1) * stress)


class PotentialCalculator(Calculator):
    """Any potential's committee mean as an ASE calculator."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, potential):
        super().__init__()
        self.potential = potential
        self.calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        mean = self.potential.energy_forces_stress(CrystalBatch.from_atoms([atoms])).mean()
        self.results = {
            "energy": float(mean.energy[0, 0]),
            "forces": mean.forces[0].double().numpy(),
            "stress": voigt_from_full(mean.stress[0, 0].double()).numpy(),
        }


def label(potential, atoms):
    mean = potential.energy_forces_stress(CrystalBatch.from_atoms([atoms])).mean()
    return Label(float(mean.energy[0, 0]), mean.forces[0].double().numpy(), voigt_from_full(mean.stress[0, 0].double()).numpy())


NEAREST_IMAGES = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3), -1).reshape(-1, 3)


def random_crystal(rng, symbols, volume=12.0, closest=1.0, spread=0.2):
    """A skewed cell with atoms nowhere closer than `closest` (Å), periodic images included."""
    n = len(symbols)
    own = np.eye(n, dtype=bool)[:, :, None] & (NEAREST_IMAGES == 0).all(1)
    while True:
        cell = (np.eye(3) + spread * rng.normal(size=(3, 3))) * (volume * n) ** (1 / 3)
        if np.linalg.det(cell) < 0.4 * volume * n:
            continue
        cell *= (volume * n / np.linalg.det(cell)) ** (1 / 3)
        for _ in range(200):
            scaled = rng.random((n, 3))
            # Most draws fail between nearest images, which takes a hundredth of the time of the neighbour list.
            apart = (scaled[:, None, None] - scaled[None, :, None] + NEAREST_IMAGES) @ cell
            if (apart**2).sum(-1).min(where=~own, initial=np.inf) <= closest**2:
                continue
            atoms = Atoms(symbols, scaled_positions=scaled, cell=cell, pbc=True)
            batch = CrystalBatch.from_atoms([atoms])
            if bool((neighbour_edges(batch, 6.0).vectors(batch).norm(dim=1) > closest).all()):
                return atoms


@pytest.fixture(scope="module")
def undrawn():
    """Reports and pages of trainings without figures, whose drawing takes longer than a small search."""
    with pytest.MonkeyPatch.context() as patch:
        for page in ("figures", "training_page"):
            patch.setattr(f"nucleate.report.{page}.draw_svg", lambda draw, title, *size, **sizes: f"<svg aria-label='{title}'></svg>")
        yield


@pytest.fixture(scope="session")
def pair_potential():
    return PairPotential


@pytest.fixture(scope="session")
def as_calculator():
    return PotentialCalculator


@pytest.fixture(scope="session")
def make_label():
    return label


@pytest.fixture(scope="session")
def make_crystal():
    return random_crystal


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Makes a folder once for all processes of a test run; tests must not change it.

    A fixture of a module is made again by every process that takes one of its tests.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def made(name, make):
        place, done = root / f"once_{name}", root / f"once_{name}.done"
        with (root / f"once_{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                make(place)
                done.touch()
        return place

    return made
