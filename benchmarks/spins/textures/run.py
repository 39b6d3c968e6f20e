"""Skyrmions of a published film: radius and barrier against the field, beside Spirit 2.2.0.

    python -m venv spirit && spirit/bin/pip install spirit==2.2.0 numpy
    OMP_NUM_THREADS=1 python benchmarks/spins/textures/run.py --spirit-python spirit/bin/python

The film is Pd/Fe/Ir(111) in the effective model of D. Cortés-Ortuño et al., Phys. Rev. B 99, 214408 (2019) (arXiv:1901.06999; values from
the scripts of its data set, doi 10.5281/zenodo.1438396): a triangular lattice of 2.715 Å with J = 5.881 meV, D = 1.557 meV, K = 0.406 meV
and 3 Bohr magnetons; the anisotropy contains the dipole-dipole interaction. Both programs relax the same starting path with 16 states
until the torque on the climbing state is below 1e-4 of the largest coupling. Dipoles: fields of random spins in an open film of two sites
a cell, here and in Spirit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.benchmark.result_file import ResultFile
from nucleate.spins.couplings import Couplings, tensor, uniaxial
from nucleate.spins.files.spirit import spirit_text
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.textures.dipoles import STRENGTH, Dipoles
from nucleate.spins.textures.films import film_lattice
from nucleate.spins.textures.path import CONVERGED, minimum_energy_path
from nucleate.spins.textures.skyrmion import IMAGES, find_skyrmion, starting_path
from nucleate.spins.textures.surface import SpinSurface, across
from nucleate.units import MU_B

HERE = Path(__file__).resolve().parent
SPIRIT_MU_B = 5.7883817555e-2
SETTINGS = {"film": "Pd/Fe/Ir(111)", "images": IMAGES}
UP = np.array([0.0, 0.0, 1.0])

SPIRIT = """
import json, sys, time, numpy as np
from spirit import chain, hamiltonian, simulation, state, system
from spirit.parameters import gneb, llg
job = json.loads(sys.stdin.read())
images = np.load(job["images"])
with state.State(job["cfg"], quiet=True) as p:
    if job["task"] == "dipoles":
        hamiltonian.set_ddi(p, 1)
        s = system.get_spin_directions(p); s[:] = images[0]
        system.update_data(p)
        llg.set_temperature(p, 0.0); llg.set_timestep(p, 1e-15)
        simulation.start(p, simulation.METHOD_LLG, simulation.SOLVER_HEUN, n_iterations=10**9, n_iterations_log=10**9, single_shot=True)
        simulation.n_shot(p, 1)
        print("RESULT" + json.dumps({"field": np.array(system.get_effective_field(p)).tolist()}))
        sys.exit()
    chain.image_to_clipboard(p); chain.set_length(p, len(images))
    for k, image in enumerate(images):
        s = system.get_spin_directions(p, idx_image=k); s[:] = image
    chain.update_data(p); chain.setup_data(p)
    gneb.set_convergence(p, job["torque"])
    t0 = time.process_time()
    simulation.start(p, simulation.METHOD_GNEB, simulation.SOLVER_VP_OSO, n_iterations=job["first"], n_iterations_log=10**9)
    gneb.set_image_type_automatically(p)
    for k in (0, len(images) - 1):
        gneb.set_climbing_falling(p, 0, idx_image=k)
    simulation.start(p, simulation.METHOD_GNEB, simulation.SOLVER_VP_OSO, n_iterations=job["most"], n_iterations_log=10**9)
    spent = time.process_time() - t0
    chain.update_data(p)
    saddle = [np.array(system.get_spin_directions(p, idx_image=k)).tolist() for k in range(len(images))]
    np.save(job["images"], np.array(saddle))
    print("RESULT" + json.dumps({"seconds": spent}))
"""


def film() -> Couplings:
    a = 2.715
    cell = np.array([[a, 0, 0], [a / 2, a * 3**0.5 / 2, 0], [0, 0, 20.0]])
    shifts = np.array([[1, 0, 0], [0, 1, 0], [-1, 1, 0]])
    bonds = shifts @ cell
    vectors = 1.557 * np.cross(UP, bonds / np.linalg.norm(bonds, axis=1, keepdims=True))
    return Couplings(
        cell, np.zeros((1, 3)), ("Fe",), [3.0], [0] * 3, [0] * 3, shifts, tensor(np.full(3, 5.881), vectors), [uniaxial(0.406, UP)]
    )  # fmt: skip


def reordered(lattice: SpinLattice, images: np.ndarray, back: bool = False) -> np.ndarray:
    """Return states (m, N, 3) in Spirit's order, in which the first vector is fastest, or back."""
    a, b, c = lattice.size
    shape = (len(images), c, b, a, -1, 3) if back else (len(images), a, b, c, -1, 3)
    return images.reshape(shape).transpose(0, 3, 2, 1, 4, 5).reshape(len(images), -1, 3)


def ask(python: str, lattice: SpinLattice, images: np.ndarray, **job: Any) -> tuple[dict[str, Any], np.ndarray]:
    """Return Spirit's answer and its states."""
    with tempfile.TemporaryDirectory() as folder:
        cfg, path = Path(folder) / "input.cfg", Path(folder) / "images.npy"
        field = tuple(b * MU_B / SPIRIT_MU_B for b in lattice.field)
        cfg.write_text(spirit_text(lattice.couplings, lattice.size, field, lattice.periodic))
        np.save(path, reordered(lattice, images))
        given = json.dumps({"cfg": str(cfg), "images": str(path), **job})
        ended = subprocess.run([python, "-c", SPIRIT], input=given, capture_output=True, text=True, check=False, cwd=folder)
        lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT")]
        if not lines:
            raise SystemExit(f"Spirit failed: {ended.stderr[-400:]}")
        return json.loads(lines[0].removeprefix("RESULT")), reordered(lattice, np.load(path), back=True)


def dipoles(python: str) -> None:
    """Print the largest difference of dipole fields at right angles to random spins."""
    couplings = Couplings(
        np.array([[2.5, 0.3, 0], [0, 3.0, 0], [0, 0, 12.0]]), [[0, 0, 0], [1.2, 1.4, 1.0]], ("Fe", "Mn"), [2.0, 3.0],
        [0], [1], [[0, 0, 0]], tensor(np.array([1e-9])),
    )  # fmt: skip
    lattice = SpinLattice.build(couplings, (9, 7, 1), periodic=(False, False, False))
    spins = lattice.random(np.random.default_rng(0))
    answer, _ = ask(python, lattice, spins[None], task="dipoles")
    theirs = reordered(lattice, np.array(answer["field"])[None], back=True)[0]
    here = across(Dipoles.build(lattice).fields(spins[None])[0], spins)
    print(f"dipole fields of {len(lattice)} spins: largest {np.abs(here).max():.4f} meV, difference {np.abs(theirs - here).max():.1e} meV")
    print(f"(strength mu_0 mu_B^2 / 4 pi here: {STRENGTH} meV Å^3)")


def barrier(result: ResultFile, python: str, size: int, field: float) -> None:
    if result.find(size=size, field=field) is not None:
        return
    lattice = film_lattice(film(), (size, size), field)
    surface = SpinSurface(lattice)
    started = time.process_time()
    cell = 2.715
    found, _ = find_skyrmion(surface, UP, [3 * cell, 6 * cell])
    relaxed = time.process_time() - started
    if found is None:
        result.add(size=size, field=field, radius=None)
        return
    path = starting_path(surface, found, UP)
    started = time.process_time()
    here = minimum_energy_path(surface, path)
    seconds = time.process_time() - started
    answer, images = ask(python, lattice, path, task="path", torque=CONVERGED * surface.scale, first=500, most=20000)
    energies, forces = surface.of_images(len(images))(images)
    top = int(energies.argmax())
    torque = float(np.linalg.norm(across(forces[top], images[top]), axis=1).max()) / surface.scale
    result.add(
        size=size, field=field, radius=found.radius, charge=found.charge, energy=found.energy, relax_seconds=round(relaxed, 2),
        barrier=here.barrier, torque=here.torque, steps=here.steps, seconds=round(seconds, 2),
        spirit_barrier=float(energies.max() - energies[0]), spirit_torque=torque, spirit_seconds=round(answer["seconds"], 2),
    )  # fmt: skip
    print(table({"rows": result.rows[-1:]}).splitlines()[-1], flush=True)


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| cells | field, T | radius, Å | energy, meV | barrier here, meV | torque left | CPU-s "
        "| barrier Spirit, meV | torque left | CPU-s |",
        "|" + "---|" * 10,
    ]
    for row in data["rows"]:
        size = f"{row['size']} x {row['size']}"
        if row["radius"] is None:
            lines.append(f"| {size} | {row['field']:g} | no skyrmion |" + " |" * 7)
            continue
        lines.append(
            f"| {size} | {row['field']:g} | {row['radius']:.2f} | {row['energy']:.2f} | {row['barrier']:.3f} | {row['torque']:.1e} "
            f"| {row['seconds']:.1f} | {row['spirit_barrier']:.3f} | {row['spirit_torque']:.1e} | {row['spirit_seconds']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spirit-python", required=True)
    parser.add_argument("--size", type=int, default=36)
    parser.add_argument("--fields", type=float, nargs="+", default=[1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0])
    parser.add_argument("--result", type=Path, default=HERE / "result.json")
    a = parser.parse_args()
    dipoles(a.spirit_python)
    result = ResultFile(a.result, SETTINGS, ("numba",))
    print(table({"rows": []}), flush=True)
    for field in a.fields:
        barrier(result, a.spirit_python, a.size, field)


if __name__ == "__main__":
    main()
