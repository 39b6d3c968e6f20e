"""Dynamical structure factor: magnons at low temperature, equipartition, sum rules, and the verb."""

import json

import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.spins.couplings import Couplings, tensor, uniaxial
from nucleate.spins.files.table import table_text
from nucleate.spins.shells import on_shells
from nucleate.spins.simulate.dynamic_structure import dynamic_structure
from nucleate.spins.simulate.fields import energy
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.waves.state import ordered_state
from nucleate.units import K_B


def chain(j, k=1.0):
    """Chain with an easy axis; an antiferromagnet has two sites in its cell."""
    if j > 0:
        return Couplings(
            np.diag([3.0, 9, 9]), [[0, 0, 0]], ("Fe",), [2.0], [0], [0], [[1, 0, 0]], tensor(np.array([j])), [uniaxial(k, [0, 0, 1])]
        )
    return Couplings(
        np.diag([6.0, 9, 9]), [[0, 0, 0], [3.0, 0, 0]], ("Fe", "Fe"), [2.0, 2.0], [0, 1], [1, 0], [[0, 0, 0], [1, 0, 0]],
        tensor(np.full(2, j)), [uniaxial(k, [0, 0, 1])] * 2,
    )  # fmt: skip


@pytest.mark.parametrize("j", [5.0, -5.0])
def test_cold_spins_have_the_energies_of_magnons(j):
    couplings = chain(j)
    found = dynamic_structure(couplings, 0.5, 12, resolution=0.5, windows=2)
    expected = ordered_state(couplings).modes.energies(found.wave_vectors)[:, 0]
    assert len(found.peaks) == 7
    inelastic = np.isfinite(found.peaks)
    assert inelastic.sum() >= 6
    assert found.peaks[inelastic] == pytest.approx(expected[inelastic], abs=0.25)


def test_equipartition_and_the_length_of_the_spins():
    """Each of the two components across a cold ferromagnet has k T / (curvature); all components together have length one."""
    couplings = chain(5.0, k=3.0)
    found = dynamic_structure(couplings, 2.0, 12, resolution=0.8, windows=30, seed=1)
    step = found.energies[1] - found.energies[0]
    static = found.intensities.sum(axis=1) * step
    q = found.wave_vectors[1:, 0]
    curvature = 2 * 5.0 * (1 - np.cos(2 * np.pi * q)) + 2 * 3.0
    # The mean of six wave vectors with some 45 independent windows each; single ones scatter by a quarter.
    assert np.mean(static[1:] * curvature / (2 * K_B * 2.0)) == pytest.approx(1.0, abs=0.2)
    # Every wave vector of the supercell once: the ends of the path once, the others with their opposites.
    total = static[0] + 2 * static[1:-1].sum() + static[-1]
    assert total == pytest.approx(12.0, rel=2e-2)


def test_magnons_soften_with_the_temperature():
    couplings = on_shells(bulk("Fe", "bcc", a=2.866), {"Fe": 2.2}, [15.0])
    cold, warm = (dynamic_structure(couplings, t, 4, "GH", resolution=6.0, windows=3) for t in (5.0, 200.0))
    assert cold.peaks[-1] == pytest.approx(ordered_state(couplings).modes.energies(cold.wave_vectors)[-1, 0], abs=3.0)
    assert 0.6 < warm.peaks[-1] / cold.peaks[-1] < 0.95


def test_the_verb(tmp_path):
    path = tmp_path / "chain.csv"
    path.write_text(table_text(chain(5.0)))

    def run(*words):
        return CliRunner().invoke(app, ["spins", "spectrum", *map(str, words)])

    table, picture = tmp_path / "s.csv", tmp_path / "s.png"
    ended = run(path, "--temperature", 2, "--size", 8, "--windows", 1, "--out", table, "--plot", picture, "--json")
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert len(told["wave_vectors"]) == 5
    assert told["labels"][0] == "G"
    assert len(table.read_text().splitlines()) == 1 + 5 * len(told["energies"])
    assert picture.stat().st_size > 1000
    for words, message in (
        (("--temperature", 0), "temperature 0 K: give a number above zero"),
        (("--temperature", 2, "--resolution", -1), "resolution -1 meV"),
        (("--temperature", 2, "--size", 1), "size 1, windows 8: give at least two cells"),
        (("--temperature", 2, "--path", "GQ"), "path GQ"),
        (("--temperature", 2, "--resolution", 1e-6), "exceed the memory of a run"),
        (("--temperature", 2, "--out", tmp_path / "s.txt"), "intensities are written as .csv"),
    ):
        refused = run(path, *words)
        assert refused.exit_code == 2, refused.output
        assert message in " ".join(refused.output.split())


def test_a_supercell_starts_in_the_ordered_state():
    """One site a cell with an antiferromagnetic order and a spiral: the supercell has the energy of the state."""
    for j, d, cells in ((-5.0, 0.0, 4), (5.0, 5.0 * np.tan(2 * np.pi / 8), 8)):
        couplings = Couplings(
            np.diag([3.0, 9, 9]), [[0, 0, 0]], ("Fe",), [2.0], [0], [0], [[1, 0, 0]], tensor(np.array([j]), np.array([[0, 0, d]]))
        )  # fmt: skip
        state = ordered_state(couplings)
        lattice = SpinLattice.build(couplings, (cells, 1, 1))
        assert energy(lattice, state.in_cells(lattice.size)) == pytest.approx(cells * state.energy, rel=1e-6)
