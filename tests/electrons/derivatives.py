"""Checks of derivatives for models of metals, magnets and insulators."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.model.free_energy_rows import free_energy_row
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import predict
from nucleate.electrons.model.slabs import Field, batches


def check_row(model: ElectronModel, atoms: Atoms, temperature: float) -> None:
    """Compare the row of a snapshot that equals the prediction of a model in double precision with finite differences."""
    network = model.network
    charge = predict(model, atoms, temperature).charge / model.electrons(atoms)
    network.last.div_(charge)
    network.last_bias.div_(charge)
    found = predict(model, atoms, temperature)
    field, size = Field.of(model, atoms, found.grid.shape), found.grid.size
    hidden = torch.zeros(network.members, size, network.last.shape[1], dtype=torch.float64)
    for index in batches([np.arange(size)]):
        hidden[:, index.flatten()] = field.hidden(index)
    outputs = (torch.einsum("mpw,mwe->mpe", hidden, network.last) + network.last_bias[:, None]).mean(0)
    by_channel = zip(model.channels, outputs.chunk(len(model.channels), 1), strict=True)
    parts = {name: part.reshape(*found.grid.shape, -1).numpy() for name, part in by_channel}
    snapshot = Snapshot(
        atoms=atoms, energies=found.levels.energies.numpy(), ldos=parts["total"], density=found.density.numpy(), sigma=model.sigma,
        temperature=temperature, fermi_level=float(found.levels.mu), terms={}, ions=model.ions, engine=model.engine, details={},
        spin_ldos=parts.get("spin"), spin_density=None if found.spin_density is None else found.spin_density.numpy(),
        occupied_ldos=parts.get("occupied"), band_edges=found.levels.edges,
    )  # fmt: skip
    row = free_energy_row(model, snapshot, outputs)
    assert row is not None
    change = torch.randn(network.last.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * network.last.abs().mean()
    changes = torch.einsum("mpw,mwe->pe", hidden, change) / network.members
    expected = float(changes.sum(0) @ row.same) + float(torch.einsum("pe,fe,fp->", changes, row.local, row.fields))
    step, pair = 1e-6, []
    for sign in (1, -1):
        network.last.add_(sign * step * change)
        pair.append(float(predict(model, atoms, temperature, shape=found.grid.shape).terms.free))
        network.last.sub_(sign * step * change)
    assert (pair[0] - pair[1]) / (2 * step) == pytest.approx(expected, rel=1e-4)


def exact(model: ElectronModel, folder: Path) -> ElectronModel:
    """Return a model that is read from its file, in double precision, for finite differences."""
    model.save(folder / "m.safetensors")
    read = ElectronModel.load(folder / "m.safetensors")
    read.network.double()
    return read


def check_forces(model: ElectronModel, atoms: Atoms, temperature: float, step: float, force: float, stress: float) -> None:
    """Compare two forces and two stresses with finite differences of the free energy; `force` and `stress` are tolerances."""
    shape = model.grid(atoms).shape
    found = predict(model, atoms, temperature, shape=shape, forces=True, overlap=True)
    assert found.forces is not None
    assert found.stress is not None

    def slope(changed: Callable[[float], Atoms]) -> float:
        pair = [float(predict(model, changed(x), temperature, shape=shape, overlap=True).terms.free) for x in (step, -step)]
        return (pair[0] - pair[1]) / (2 * step)

    def moved(atom: int, axis: int, by: float) -> Atoms:
        other = atoms.copy()
        other.positions[atom, axis] += by
        return other

    def strained(i: int, j: int, by: float) -> Atoms:
        strain = np.eye(3)
        strain[i, j] += by / 2
        strain[j, i] += by / 2
        other = atoms.copy()
        other.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        return other

    for atom, axis in ((0, 0), (len(atoms) - 1, 1), (len(atoms) - 1, 2)):
        assert float(found.forces[atom, axis]) == pytest.approx(-slope(partial(moved, atom, axis)), abs=force)
    for i, j in ((0, 0), (1, 2)):
        assert float(found.stress[i, j]) == pytest.approx(slope(partial(strained, i, j)) / atoms.get_volume(), abs=stress)
