"""Lessons: the code of their pages runs, and what it states holds. DFT and long trainings run only when the site is built."""

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

pytest.importorskip("sklearn")

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "lessons"
PAGES = ("perceptron", "xor-and-layers", "colours", "energy-surface", "inside-a-search")
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?:---\n.*?^---\n)?(.*?)^```", re.M | re.S)


@pytest.fixture(autouse=True)
def _restored():
    """Draw without a window, and restore what the pages set for their process."""
    plt.switch_backend("agg")
    precision = torch.get_default_dtype()
    with plt.rc_context():
        yield
    plt.close("all")
    torch.set_default_dtype(precision)


def run(page: str, stop: str | None = None, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run the cells of a page before the first one that contains `stop`, without those that contain a text of `left_out`."""
    names: dict[str, Any] = {}
    for cell in CELL.findall((FOLDER / f"{page}.md").read_text(encoding="utf-8")):
        if stop is not None and stop in cell:
            return names
        if not any(text in cell for text in left_out):
            exec(compile(cell, page, "exec"), names)
    assert stop is None, f"no cell of {page} contains {stop!r}"
    return names


def test_the_perceptron_learns_from_standardised_inputs_alone():
    names = run("perceptron")  # The page has assertions of its own.
    # The loss of standardised inputs is that of the exact solution.
    extended = np.column_stack([np.ones(107), names["standard"]])
    _, squares, *_ = np.linalg.lstsq(extended, names["labels"], rcond=None)
    assert names["learned"][-1] == pytest.approx(squares[0] / 2, rel=1e-5)


def test_a_step_below_the_limit_of_the_curvature_converges_and_one_above_it_diverges():
    names = run("perceptron", stop="largest stable step")
    curvatures = np.linalg.eigvalsh((x := np.column_stack([np.ones(107), names["standard"]])).T @ x)
    below, above = (names["train"](names["standard"], factor * 2 / curvatures[-1], epochs=400)[2][-1] for factor in (0.98, 1.02))
    assert below < names["train"](names["standard"], 0.01)[2][-1] * 1.01 < above / 100


def test_backpropagation_by_hand_agrees_with_autograd_and_solves_xor():
    names = run("xor-and-layers", stop="solved_share")
    outputs = names["forward"](names["solved"], names["inputs"])[-1]
    np.testing.assert_allclose(outputs, names["targets"], atol=1e-3)


def test_colours_are_named_as_well_as_the_noise_allows():
    names = run("colours", stop="class MLP")
    page = (FOLDER / "colours.md").read_text(encoding="utf-8")
    for start in ("class MLP", "def names_of"):
        (cell,) = [cell for cell in CELL.findall(page) if start in cell]
        # Only the definitions: the training of the page takes longer.
        exec(cell.split("\nnetwork, losses =")[0].split("\nx, t = samples")[0], names)
    network, _ = names["train"](48, count=15_000, epochs=6)
    colours, right = names["samples"](48, 18_000, seed=2)
    limit = names["best_possible"](colours, 48)
    deviation = np.sqrt(limit * (1 - limit) / len(right))
    nearest = np.mean(names["nearest"](colours, 48) == right)
    assert 0.94 <= np.mean(names["names_of"](network, colours) == right) < limit + 4 * deviation
    assert 0.96 < nearest < limit + 4 * deviation
    # Without noise every colour has its own name.
    assert (names["nearest"](names["palette"][:48], 48) == np.arange(48)).all()


def test_forces_of_the_surface_are_exact_before_any_training():
    names = run("energy-surface", stop="from gpaw", left_out=("axes.plot",))
    positions = torch.tensor(np.random.default_rng(0).uniform(-1.5, 1.5, (2, 3, 3)))
    surface = names["Surface"](names["functions_of"](1.4, cutoff=5.5), torch.tensor([0.0, 1.0]), atoms=3)
    energy, forces = surface.energy_and_forces(positions)
    step = torch.zeros(3, 3)
    step[1, 2] = 1e-5
    slope = (surface.energy(positions + step) - surface.energy(positions - step)) / 2e-5
    torch.testing.assert_close(forces[:, 1, 2], -slope, atol=1e-7, rtol=0)
    torch.testing.assert_close(surface.energy(positions[:, [2, 0, 1]] + 3.0), energy, atol=1e-10, rtol=0)
    assert forces.sum(1).abs().max() < 1e-10
    # Beyond the cutoff there are no neighbours.
    assert surface.energy_and_forces(names["dimers"]([5.5, 6.0]))[1].abs().max() < 1e-12


def test_the_forces_in_the_table_of_si2_are_slopes_of_its_energies():
    text = (FOLDER / "energy-surface.md").read_text(encoding="utf-8")
    table = np.array(re.findall(r"\((\d\.\d+), (-\d\.\d+), (-?\d+\.\d+)\)", text), dtype=float)
    assert len(table) == 15
    # A spline through the forces is integrated; the grid of GPAW gives its energies an error of some 10 meV.
    work = CubicSpline(table[:, 0], -table[:, 2]).antiderivative()(table[:, 0])
    np.testing.assert_allclose(table[:, 1] - table[4, 1], work - work[4], atol=0.05)


def test_the_student_keeps_the_contract_of_potentials():
    run("inside-a-search", stop="class Labels")  # The page calls validate_potential and shows the error of an unsupported element.


def test_all_lessons_use_the_same_network_and_are_in_the_index():
    pages = {name: (FOLDER / f"{name}.md").read_text(encoding="utf-8") for name in PAGES}
    cells = [next(cell for cell in CELL.findall(text) if "class MLP" in cell) for name, text in pages.items() if name != "perceptron"]
    classes = {re.search(r"^class MLP.*?return [^\n]*$", cell, re.M | re.S)[0] for cell in cells}
    assert len(classes) == 1
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert {path.stem for path in FOLDER.glob("*.md")} - {"index"} == set(PAGES)
    assert all(f"]({name}.md)" in index for name in PAGES)
    assert all("## Exercises" in text for text in pages.values())
