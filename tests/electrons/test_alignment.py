"""Levels relative to a zero that moves with the volume."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.data.store import read_snapshot
from nucleate.electrons.levels.zero import zero_of_energy
from nucleate.electrons.model.alignment import aligned, common_energies, resolve_zero, zero_of_snapshot
from nucleate.electrons.model.evaluation import errors_on
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import predict
from nucleate.electrons.model.training import ElectronTraining, train
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput

SIGMA = 0.2


def snapshot(volume: float, low: float = -9.0, high: float = 9.0, spacing: float = 0.1) -> Snapshot:
    """Two levels at fixed energies relative to the Fermi level of free electrons, the lower one in one half of the cell."""
    atoms = Atoms("Al", cell=np.eye(3) * volume ** (1 / 3), pbc=True)
    energies = low + spacing * np.arange(round((high - low) / spacing) + 1)
    zero = float(zero_of_energy("free electrons", 3.0, torch.tensor(volume)))
    ldos = np.zeros((2, 1, 1, len(energies)), dtype=np.float32)
    for point, level in enumerate((-13.0, -6.5)):
        gaussian = np.exp(-((energies - zero - level) ** 2) / (2 * SIGMA**2)) / (SIGMA * np.sqrt(2 * np.pi))
        ldos[point, 0, 0] = 3 * gaussian / volume
    return Snapshot(atoms, energies, ldos, None, SIGMA, 300.0, None, {}, {"Al": Ion("Al", 3.0, 0.3)}, {"engine": "gpaw"}, {})


def test_levels_that_move_with_the_zero_are_equal_relative_to_it() -> None:
    small, large = snapshot(16.5), snapshot(18.9)
    assert zero_of_snapshot("free electrons", small) - zero_of_snapshot("free electrons", large) > 0.5
    energies = common_energies("free electrons", [small, large])
    one, two = (aligned(each, "free electrons", energies, "s") for each in (small, large))
    difference = np.abs(one.ldos * 16.5 - two.ldos * 18.9).max() / (one.ldos * 16.5).max()
    # Gaussians at half their width: cubic splines are right to a few parts in a thousand.
    assert difference < 5e-3
    # The number of states and their mean energy, which make the band energy, are kept much better.
    for before, after in ((small, one), (large, two)):
        zero = zero_of_snapshot("free electrons", before)
        states = [each.ldos.sum((0, 1, 2), dtype=float) for each in (before, after)]
        assert states[1].sum() == pytest.approx(states[0].sum(), rel=1e-5)
        mean = (states[1] @ (energies + zero)) / states[1].sum() - (states[0] @ before.energies) / states[0].sum()
        assert abs(mean) < 1e-4


def test_windows_that_do_not_fit_are_refused_in_one_line() -> None:
    small, large = snapshot(16.5), snapshot(18.9)
    energies = common_energies("free electrons", [small])
    with pytest.raises(BadInput, match="wider window"):
        aligned(large, "free electrons", energies, "s")
    covered = aligned(large, "free electrons", energies, "s", partly=True)
    assert 0 < len(covered.energies) < len(energies)
    with pytest.raises(BadInput, match="energies in common"):
        common_energies("free electrons", [snapshot(5.0, -1.0, 4.0), snapshot(40.0, -1.0, 4.0)])
    # A level that only some snapshots have in their windows is not cut off silently.
    with pytest.raises(BadInput, match="electrons are outside"):
        aligned(small, "free electrons", energies[100:], "s")
    assert aligned(small, "potential", small.energies, "s") is small
    # Occupied states above the energies are not cut off either.
    metal = replace(small, fermi_level=5.5)
    with pytest.raises(BadInput, match="electrons are outside"):
        aligned(metal, "free electrons", energies[:140], "s")
    # MALA's data: Gaussians as wide as their distance cannot be interpolated; what the user asks for is refused and not replaced.
    assert resolve_zero(None, snapshot(16.5, spacing=0.2)) == "potential"
    assert resolve_zero(None, small) == "free electrons"
    assert resolve_zero("potential", small) == "potential"
    with pytest.raises(BadInput, match="too far for Gaussians"):
        resolve_zero("free electrons", snapshot(16.5, spacing=0.2))


def test_a_model_predicts_absolute_levels_whatever_its_zero(al_data: Path, tmp_path: Path) -> None:
    found = {}
    label = read_snapshot(al_data / "snapshots/0000.zarr")
    for zero in ("free electrons", "potential"):
        settings = ElectronTraining(steps=300, points=800, hidden=(24, 24), zero=zero, descriptor={"radial": 4, "degree": 2, "cutoff": 4.0})
        train([al_data], tmp_path / zero, settings)
        model = ElectronModel.load(tmp_path / zero)
        assert model.zero == zero
        electrons = predict(model, label.atoms, label.temperature, overlap=True)
        found[zero] = electrons.levels.mu, electrons.terms.free
        assert float(electrons.levels.mu) == pytest.approx(label.fermi_level, abs=0.3)
        assert abs(errors_on(model, label).band) < 300
    # At the volume of the training the two differ by the scatter of small trainings only.
    assert float(found["free electrons"][1]) == pytest.approx(float(found["potential"][1]), abs=0.5)
