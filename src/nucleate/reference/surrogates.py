"""Evaluation of pretrained potentials, which are surrogates of a reference in tests and benchmarks.

`nucleate.pretrained` lists their names and sources. MACE: I. Batatia et al., NeurIPS 2022, arXiv:2206.07697.
"""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from nucleate.errors import BadInput, MissingDependency, ReferenceFailed, quoted
from nucleate.molecules.topology import Topology, crystal_bonds, gathered, part_numbers, unwrapped
from nucleate.pretrained import PRETRAINED, check_elements, check_installed, check_name
from nucleate.processes.precision import default_precision
from nucleate.reference.base import Label, Reference
from nucleate.reference.settings import ReferenceSettings

Evaluate = Callable[[Atoms], tuple[float, np.ndarray, np.ndarray]]
"""Energy (eV), forces (n_atoms, 3) in eV/Å and stress (3, 3) or (6,) in eV/Å³ of a structure."""


def _load_chgnet(**loader: Any) -> Evaluate:
    """Return a CHGNet with one backward pass, where its own calculator takes two that both keep the graph for second derivatives.

    The results are those of `CHGNetCalculator` to single precision, in half the time.
    """
    import torch
    from chgnet.model import CHGNet
    from pymatgen.core import Lattice, Structure

    model = CHGNet.load(**loader, verbose=False, use_device="cpu").eval().requires_grad_(False)
    # An atom without neighbours has the energy of a free atom and no force, so the warning is not needed.
    model.graph_converter.set_isolated_atom_response("ignore")

    def evaluate(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        structure = Structure(Lattice(atoms.cell.array), atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=False))
        graph = model.graph_converter(structure)
        energy = model.forward([graph], task="e")["e"]
        if model.is_intensive:
            energy = energy * len(atoms)
        slopes = torch.autograd.grad(energy.sum(), (graph.atom_frac_coord, graph.lattice))
        fractional, lattice = (slope.double().numpy() for slope in slopes)
        cell = atoms.cell.array
        # r = s h: dE/dr = dE/ds h^-T, and dE/d(strain) at fixed s = h^T dE/dh.
        forces = -fractional @ np.linalg.inv(cell).T
        stress = cell.T @ lattice / atoms.get_volume()
        return float(energy.sum()), forces, 0.5 * (stress + stress.T)

    return evaluate


def _load_sevennet(**loader: Any) -> Evaluate:
    """Return a SevenNet model with its own calculator."""
    from sevenn.calculator import SevenNetCalculator

    return _evaluator(SevenNetCalculator(**loader, device="cpu"))


def _evaluator(calculator: Any) -> Evaluate:
    """Return the evaluation of a structure by the calculator of a package."""

    def evaluate(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        calculator.calculate(atoms, ["energy", "forces", "stress"], ["positions"])
        results = calculator.results
        return float(results["energy"]), np.array(results["forces"], dtype=float), np.array(results["stress"], dtype=float)

    return evaluate


def _load_so3lr(**loader: Any) -> Evaluate:
    """Return SO3LR with its own calculator; its weights are a file of the package."""
    from so3krates_torch.calculator.so3 import SO3LRCalculator

    with default_precision(double=True):
        own = _evaluator(SO3LRCalculator(**loader, compute_stress=True, default_dtype="float64", device="cpu"))

    def evaluate(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        with default_precision(double=True):
            return own(atoms)

    return evaluate


def _load_gfnff(**loader: Any) -> Evaluate:
    """Return the force field GFN-FF with fixed molecules.

    The molecules are those of `atoms.info["topology"]` where the order of the atoms fits, or else those that bonds connect. Without numbers
    of the molecules the force field would connect those of crowded crystals. The molecules are given in one piece and near one another: the
    energies of the package depend on the images (by up to 0.2 eV for a molecule of glycine one cell away), and it may end the process for
    molecules that the cell cuts.
    """
    from gfnff import GFNFF

    def evaluate(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        topology: Topology = atoms.info.get("topology", Topology(()))
        fragments, bonds = topology.fragments(atoms.numbers), topology.bonds(atoms.numbers)
        if fragments is None or bonds is None:
            bonds = crystal_bonds(atoms).pairs
            fragments = part_numbers(len(atoms), bonds)
        # The package takes the sign of the volume for that of the stress; minus the lattice vectors are vectors of the same lattice.
        cell = atoms.cell.array * np.sign(np.linalg.det(atoms.cell.array))
        positions = gathered(unwrapped(atoms, fragments, bonds), fragments, cell)
        whole = Atoms(numbers=atoms.numbers, positions=positions, cell=cell, pbc=True)
        # The parameters follow from the structure, so each structure has its own calculator. The library counts molecules from one.
        whole.calc = GFNFF(**loader, fragments=fragments + 1)
        return float(whole.get_potential_energy()), whole.get_forces(), whole.get_stress()

    return evaluate


@lru_cache(maxsize=4)
def mace_calculator(file: str) -> Any:
    """Return an ASE calculator of a MACE model.

    A MACE model file is a pickled module, so opening it can run code. Only files that the user names are opened.

    Raises:
        MissingDependency: MACE is not installed.
        BadInput: the file does not exist or is not a MACE model.
    """
    check_installed(f"mace:{file}")
    with _quiet():
        from mace.calculators import MACECalculator

        try:
            return MACECalculator(model_paths=file, device="cpu", default_dtype="float64")
        except Exception as error:  # unpickling raises exceptions of any type
            raise BadInput(f"mace:{file}: not a MACE model ({type(error).__name__}: {' '.join(str(error).split())[:100]})") from error


def _load_mace(file: str) -> Evaluate:
    """Return a MACE model with its own calculator."""
    return _evaluator(mace_calculator(file))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Context that suppresses warnings and standard output of the packages."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


_LOADERS: dict[str, Callable[..., Evaluate]] = {
    "chgnet": _load_chgnet,
    "sevenn": _load_sevennet,
    "gfnff": _load_gfnff,
    "so3krates_torch": _load_so3lr,
}


@lru_cache(maxsize=8)
def _load(name: str) -> Evaluate:
    """Load a potential, once per process."""
    with _quiet():
        if name not in PRETRAINED:
            return _load_mace(name.partition(":")[2])
        known = PRETRAINED[name]
        return _LOADERS[known.package](**known.loader)


def pretrained_reference(name: str, topology: Topology | None = None) -> Reference:
    """Return a pretrained potential with the interface of a reference; it is loaded at its first evaluation.

    Args:
        name: name of a pretrained potential, `mace:FILE`, or `ase:MODULE:CLASS` for an ASE calculator without arguments.
        topology: molecules of which crystals are built, for force fields.

    Raises:
        BadInput: the name is unknown, the model file does not exist, or the calculator cannot be used.
        MissingDependency: the package is not installed.
    """
    name = check_name(name, calculators=True)
    if not name.startswith("ase:"):
        return SurrogateReference(name, topology)
    from nucleate.reference.engines import AseReference

    try:
        return AseReference(ReferenceSettings(engine="ase", calculator=name.removeprefix("ase:")))
    except (BadInput, MissingDependency) as error:
        raise type(error)(str(error).replace("reference.calculator", quoted(name))) from error


class SurrogateReference:
    """A pretrained potential or a MACE model as a reference.

    Args:
        name: a name of `nucleate.pretrained`, or `mace:FILE`.
        topology: molecules of which crystals are built, for force fields; None: they are found by the distances of the atoms.

    Raises:
        BadInput: the name is unknown, or the MACE file does not exist.
        MissingDependency: the package is not installed.
    """

    surrogate = True

    def __init__(self, name: str, topology: Topology | None = None):
        self.name = check_name(name)
        check_installed(self.name)
        self.topology = topology
        self._version = version(PRETRAINED[self.name].package if self.name in PRETRAINED else "mace-torch")

    def settings(self) -> dict[str, Any]:
        """Return name and version of the potential, and the molecules of a force field, on which its energies depend."""
        molecules = {} if self.topology is None or self.name != "gfnff" else {"molecules": self.topology.digest}
        return {"engine": self.name, "version": self._version, **molecules}

    def k_points(self, atoms: Atoms) -> None:
        """Return None, since a potential has no k-points."""

    def _with_molecules(self, atoms: Atoms) -> Atoms:
        if self.topology is None:
            return atoms
        known: Atoms = atoms.copy()
        known.info["topology"] = self.topology
        return known

    def label(self, atoms: Atoms) -> Label:
        """Evaluate the potential; the vacuum of layers and clusters is part of a periodic cell, to whose volume the stress refers.

        Raises:
            ReferenceFailed: the potential does not know an element, the package raised an exception, or a result is not finite.
        """
        started = time.process_time()
        try:
            check_elements(self.name, atoms.numbers)
            whole = self._with_molecules(atoms).copy()
            whole.pbc = True
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                energy, forces, stress = _load(self.name)(whole)
            if stress.shape == (3, 3):
                stress = full_3x3_to_voigt_6_stress(stress)
            label = Label(energy, forces, stress, core_seconds=time.process_time() - started)
        except BadInput as error:
            raise ReferenceFailed(str(error)) from error
        except Exception as error:  # the packages raise bare exceptions, for instance for isolated atoms
            raise ReferenceFailed(f"{self.name}: {type(error).__name__}: {error}") from error
        if not (np.isfinite(label.energy) and np.isfinite(label.forces).all() and np.isfinite(label.stress).all()):
            raise ReferenceFailed(f"{self.name}: a result is not a finite number")
        return label
