"""Calculations of GPAW that start from those of structures before, and the extrapolation of densities behind them."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from nucleate.api import relax_file
from nucleate.errors import BadInput
from nucleate.gpaw.history import KEPT, MOST_ERROR, Deformation, History, resampled
from nucleate.reference import Ledger, make_reference
from nucleate.reference.settings import ReferenceSettings

CELL = np.diag([4.0, 4.5, 5.0])
SITES = np.array([[0.1, 0.2, 0.3], [0.5, 0.85, 0.65]])
SHAPE = (1, 6, 6, 8)


def density(sites: np.ndarray) -> np.ndarray:
    """Return a smooth density of the positions, of waves that the grid holds, with 8 electrons and curvature."""
    axes = np.meshgrid(*(np.arange(n) / n for n in SHAPE[1:]), indexing="ij")
    grid = np.stack(axes, axis=-1)
    return sum(np.cos(2 * np.pi * (grid - site)).sum(-1) for site in sites)[None] + 4.0  # type: ignore[no-any-return]


def state(sites: np.ndarray, cell: np.ndarray = CELL) -> Deformation:
    return Deformation(cell, sites, density(sites), np.array([np.sin(sites).sum()]), 8.0)


def path(count: int, step: float) -> list[np.ndarray]:
    """Return positions of a motion with curvature in steps of some Å."""
    return [SITES + step * k * np.array([0.3, -0.2, 0.1]) + (step * k) ** 2 * np.array([0.0, 0.5, 0.2]) for k in range(count)]


def test_errors_fall_with_the_number_of_structures() -> None:
    *past, new = path(6, 0.02)
    errors = []
    for kept in range(2, 6):
        history = History(kept)
        for sites in past:
            history.add(state(sites))
        found = history.extrapolated(CELL, new, SHAPE)
        assert found is not None
        errors.append(np.abs(found[0] - density(new)).max())
        assert abs(found[1][0] - np.sin(new).sum()) < 0.01
    assert errors[0] < 0.1 * np.abs(density(past[-1]) - density(new)).max()
    # A third structure removes the second order of the motion.
    assert max(errors[1:]) < 0.2 * errors[0]


def test_atoms_in_other_cells_are_the_same_atoms() -> None:
    *past, new = path(5, 0.02)
    plain, shifted = History(), History()
    for k, sites in enumerate(past):
        plain.add(state(sites))
        shifted.add(Deformation(CELL, sites + k, density(sites), np.zeros(1), 8.0))
    a, b = plain.extrapolated(CELL, new, SHAPE), shifted.extrapolated(CELL, new - 3, SHAPE)
    assert a is not None
    assert b is not None
    assert np.allclose(a[0], b[0], atol=1e-6)
    assert plain.distance(CELL, new + 1) == pytest.approx(plain.distance(CELL, new))


def test_a_strain_is_followed() -> None:
    history = History()
    for k in range(4):
        cell = CELL * (1 + 0.002 * k)
        history.add(Deformation(cell, SITES, (1 + 0.01 * k) * density(SITES), np.array([1.0 + k]), 8.0))
    found = history.extrapolated(CELL * 1.008, SITES, SHAPE)
    assert found is not None
    assert np.allclose(found[0], 1.04 * density(SITES), rtol=1e-4)
    assert found[1][0] == pytest.approx(5.0, abs=1e-3)


def test_no_start_without_a_past_or_in_a_new_direction() -> None:
    first, second, *_ = path(3, 0.02)
    history = History()
    assert history.distance(CELL, first) == np.inf
    assert history.extrapolated(CELL, first, SHAPE) is None
    history.add(state(first))
    assert history.extrapolated(CELL, second, SHAPE) is None
    history.add(state(first))
    assert history.extrapolated(CELL, second, SHAPE) is None
    history.add(state(second))
    assert history.extrapolated(CELL, second + 1e-5, SHAPE) is not None
    # The density moves by more than the threshold when one atom moves alone.
    aside = second + np.array([[0.0, 0.0, 0.05], [0.0, 0.0, 0.0]])
    assert np.abs(density(aside) - density(second)).mean() / 8 > MOST_ERROR
    assert history.extrapolated(CELL, aside, SHAPE) is None


def test_the_oldest_structures_are_forgotten() -> None:
    history = History()
    for sites in path(KEPT, 0.01):
        history.add(state(sites))
    size = history.bytes()
    history.add(state(SITES))
    assert history.bytes() == size


@pytest.mark.parametrize("shape", [(1, 8, 6, 8), (1, 6, 6, 15), (1, 7, 9, 11)])
def test_densities_are_transferred_between_grids(shape: tuple[int, ...]) -> None:
    values = density(SITES)
    finer = resampled(values, shape)
    assert finer.shape == shape
    assert finer.mean() == pytest.approx(values.mean())
    assert np.allclose(resampled(finer, SHAPE), values)
    # Points that both grids have.
    assert finer[0, 0, 0, 0] == pytest.approx(values[0, 0, 0, 0])


def moved(steps: int) -> list[Atoms]:
    """Return silicon whose atoms move and whose cell grows from the third structure on."""
    found = []
    for k in range(steps):
        atoms = bulk("Si")
        atoms.positions[1] += 0.03 * (k + 1) * np.array([0.6, -0.3, 0.2])
        atoms.set_cell(atoms.cell * (1 + 0.003 * max(k - 2, 0)), scale_atoms=True)
        found.append(atoms)
    return found


KEYWORDS = {"xc": "LDA", "kpts": (2, 2, 2), "convergence": {"density": 1e-4, "forces": 0.01}, "symmetry": {"tolerance": 1e-4}}


def test_results_do_not_depend_on_the_start() -> None:
    pytest.importorskip("gpaw")
    from gpaw import GPAW, PW

    from nucleate.gpaw.continued import ContinuedGPAW

    one = ContinuedGPAW(mode=PW(250), **KEYWORDS)
    iterations, starts = [], []
    for atoms in moved(6):
        new = atoms.copy()
        new.calc, atoms.calc = GPAW(mode=PW(250), txt=None, **KEYWORDS), one
        assert abs(atoms.get_potential_energy() - new.get_potential_energy()) < 1e-3
        assert np.abs(atoms.get_forces() - new.get_forces()).max() < 0.01
        assert np.abs(atoms.get_stress() - new.get_stress()).max() < 1e-3
        starts.append(one.start)
        iterations.append((atoms.calc.get_number_of_iterations(), new.calc.get_number_of_iterations()))
    assert starts[:3] == ["atoms", "wave functions", "density"]
    assert sum(kept for kept, _ in iterations[2:]) < 0.8 * sum(fresh for _, fresh in iterations[2:])


def test_calculators_are_kept_for_close_structures_with_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gpaw")
    from gpaw import PW

    from nucleate.gpaw import continued

    monkeypatch.setattr(continued, "_kept", [])
    first, near, *_ = moved(2)
    keywords = {"mode": PW(150), **KEYWORDS}
    one = continued.calculator(first, keywords)
    first.calc = one
    first.get_potential_energy()
    one.keep()
    assert continued.calculator(near, {**keywords, "kpts": (3, 3, 3)}) is not one
    assert continued.calculator(bulk("Ge"), keywords) is not one
    far = first.copy()
    far.positions[1] += 1.0
    assert continued.calculator(far, keywords) is not one
    assert continued.calculator(near, keywords) is one
    # It is given away, and comes back only when it has converged.
    assert continued.calculator(near, keywords) is not one
    assert continued.calculator(near, keywords, dict) is None
    for _ in range(continued.CALCULATORS + 1):
        one.keep()
    assert len(continued._kept) == continued.CALCULATORS
    monkeypatch.setattr(continued, "MOST_BYTES", 10)
    one.keep()
    assert not continued._kept


def test_a_reference_continues_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gpaw")
    from nucleate.gpaw import continued

    monkeypatch.setattr(continued, "_kept", [])
    settings = {"engine": "gpaw", "preset": "fast", "k_spacing": 0.6, "cutoff": 150}
    with_past = make_reference(ReferenceSettings(**settings, continuation=True))
    without = make_reference(ReferenceSettings(**settings))
    assert with_past.settings() == without.settings()
    for atoms in moved(3):
        a, b = with_past.label(atoms), without.label(atoms)
        assert abs(a.energy - b.energy) < 1e-3
        assert np.abs(a.forces - b.forces).max() < 0.01
    assert len(continued._kept) == 1
    assert (a.details.get("start"), b.details.get("start")) == ("density", None)
    assert a.iterations < b.iterations
    # A crystal that is more symmetric than the structures before it, and one that is less symmetric than it.
    for atoms in (bulk("Si"), moved(1)[0]):
        assert abs(with_past.label(atoms).energy - without.label(atoms).energy) < 1e-3
        assert len(continued._kept[-1].dft.ibzwfs.ibz.symmetries) == (24 if atoms.positions[1, 0] == 1.3575 else 1)
    # A calculation that fails does not stay.
    broken = moved(1)[0]

    def fail(*_: object) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr(continued.ContinuedGPAW, "get_forces", fail)
    with pytest.raises(Exception, match="it broke"):
        with_past.label(broken)
    assert not continued._kept


def test_other_engines_refuse_the_setting() -> None:
    with pytest.raises(BadInput, match=r"reference\.continuation has no effect on engine 'espresso'"):
        make_reference(ReferenceSettings(engine="espresso", continuation=True))


def test_relaxations_of_a_file_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gpaw")
    from nucleate.gpaw import continued

    monkeypatch.setattr(continued, "_kept", [])
    write(tmp_path / "si.extxyz", moved(1)[0])
    reference = {"engine": "gpaw", "preset": "fast", "k_spacing": 0.6, "cutoff": 150}
    for more, out in (({}, "on"), ({"continuation": False}, "off")):
        relax_file(
            tmp_path / "si.extxyz", settings={"reference": {**reference, **more}}, workers=0, max_steps=4, out=tmp_path / f"{out}.extxyz",
            ledger=tmp_path / f"{out}.db",
        )  # fmt: skip
    starts = []
    for name in ("on", "off"):
        rows = Ledger(tmp_path / f"{name}.db").rows()
        starts.append([row.label.details.get("start") for row in rows if row.label is not None])
    assert starts[0][:3] == [None, "wave functions", "density"]
    assert set(starts[1]) == {None}


def hydrogen(distance: float, moments: tuple[float, float], layer: bool = False) -> Atoms:
    """Return two atoms of hydrogen that are far enough apart to have moments, or a layer of them."""
    atoms = Atoms("H2", [(0, 0, 2.0), (0, 0, 2.0 + distance)], cell=[3.0, 3.0, 7.0], pbc=(True, True, not layer))
    atoms.set_initial_magnetic_moments(moments)
    return atoms


@pytest.mark.parametrize("layer", [False, True])
def test_moments_and_layers_go_on(layer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gpaw")
    from nucleate.gpaw import continued

    monkeypatch.setattr(continued, "_kept", [])
    moment = 0.0 if layer else 1.0
    settings = {"engine": "gpaw", "xc": "LDA", "cutoff": 200, "k_spacing": 1.5}
    reference = make_reference(ReferenceSettings(**settings, continuation=True))
    fresh = make_reference(ReferenceSettings(**settings))
    starts = []
    for distance in (2.75, 2.8, 2.84):
        atoms = hydrogen(distance, (moment, moment), layer)
        a, b = reference.label(atoms), fresh.label(atoms)
        starts.append(a.details.get("start"))
        assert abs(a.energy - b.energy) < 1e-3
        assert np.abs(a.forces - b.forces).max() < 0.02
        assert abs(a.details.get("total_moment", 0.0) - b.details.get("total_moment", 0.0)) < 0.02
        assert abs(a.details.get("dipole", 0.0) - b.details.get("dipole", 0.0)) < 1e-3
    assert starts == [None, "wave functions", "density"]
    # Other starting moments may lead to another solution.
    other = reference.label(hydrogen(2.84, (1.0, -1.0), layer))
    assert "start" not in other.details
    assert abs(other.details["total_moment"]) < 0.02
