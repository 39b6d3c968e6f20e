"""Magnons against magnopy 0.6.1 (GPL): the same Hamiltonians and states, energies and processor time on one core.

    python -m venv magnopy && magnopy/bin/pip install magnopy==0.6.1
    OMP_NUM_THREADS=1 python benchmarks/spins/magnons/run.py --magnopy-python magnopy/bin/python

Both programs are given the couplings and directions of the frame in which the state is the same in every cell. Times are those of the
energies alone, for the same wave vectors; imports and the search for the state are not included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np

from nucleate.spins.couplings import Couplings, tensor, uniaxial
from nucleate.spins.waves.modes import G
from nucleate.spins.waves.state import State, ordered_state

PEER = """
import json, sys, time, numpy as np, magnopy
job = json.loads(sys.stdin.read())
n = len(job["spins"])
atoms = dict(names=[f"X{i}" for i in range(n)], species=["X"] * n, spins=job["spins"], g_factors=[job["g"]] * n, positions=job["positions"])
convention = magnopy.Convention(spin_normalized=True, multiple_counting=False, c21=-1, c22=-1)
h = magnopy.SpinHamiltonian(cell=np.array(job["cell"]), atoms=atoms, convention=convention)
for i, j, r, t in job["pairs"]:
    h.add_22(alpha=i, beta=j, nu=tuple(r), parameter=np.array(t))
for i, k in enumerate(job["onsite"]):
    h.add_21(alpha=i, parameter=np.array(k))
waves = magnopy.LSWT(h, np.array(job["directions"]))
q = np.array(job["q"])
waves.omega(q[0], relative=True)
spent = []
for _ in range(5):
    start = time.process_time()
    found = np.array([np.sort(np.real(waves.omega(k, relative=True))) for k in q])
    spent.append(time.process_time() - start)
print("RESULT" + json.dumps({"energies": found.tolist(), "seconds": min(spent)}))
"""


def cases() -> dict[str, Couplings]:
    rng = np.random.default_rng(0)
    bcc = 1.435 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1.0]])
    grid = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[[tuple(r) > (0, 0, 0) for r in grid]]
    lengths = np.linalg.norm(grid @ bcc, axis=1)
    near = grid[lengths < 8.0]
    strengths = 20.0 * np.exp(-np.linalg.norm(near @ bcc, axis=1) / 2.0)
    n = len(near)
    iron = Couplings(
        bcc, np.zeros((1, 3)), ("Fe",), [2.2], [0] * n, [0] * n, near, tensor(strengths), [uniaxial(0.05, np.array([0, 0, 1.0]))]
    )
    corners = -np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    two = Couplings(3 * np.eye(3), [[0, 0, 0], [1.5] * 3], ("Fe", "Mn"), [2.0, 5.0], [0] * 8, [1] * 8, corners, tensor(np.full(8, -1.0)),
                    [uniaxial(0.1, np.array([0, 0, 1.0]))] * 2)  # fmt: skip
    extra = 0.02 * rng.normal(size=(3, 3, 3))
    dm = 0.05 * rng.normal(size=(3, 3))
    odd = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [2.0], [0] * 3, [0] * 3, np.eye(3),
                    tensor(np.array([-1.0, -1.2, -0.8]), dm) + extra + extra.transpose(0, 2, 1),
                    [uniaxial(0.4, np.array([0.3, -0.5, 0.8]))])  # fmt: skip
    spiral = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1.0], [0] * 4, [0] * 4, [[1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1]],
                       tensor(np.array([1.0, -0.4, 0.5, 0.5])), [uniaxial(-0.2, np.array([0, 0, 1.0]))])  # fmt: skip
    return {"bcc ferromagnet, 8 Å": iron, "ferrimagnet": two, "antiferromagnet with D vectors and tensors": odd, "spiral": spiral}


def ask(python: str, state: State, q: np.ndarray) -> dict:
    known = state.frame.couplings
    job = {
        "spins": (known.moments / G).tolist(), "g": G, "cell": known.cell.tolist(),
        "positions": (known.positions @ np.linalg.inv(known.cell)).tolist(), "onsite": known.anisotropy.tolist(),
        "directions": state.directions.tolist(), "q": q.tolist(),
        "pairs": [[int(i), int(j), r.tolist(), t.tolist()]
                  for i, j, r, t in zip(known.first, known.second, known.shifts, known.tensors, strict=True)],
    }  # fmt: skip
    ended = subprocess.run([python, "-W", "ignore", "-c", PEER], input=json.dumps(job), capture_output=True, text=True, check=False)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        raise SystemExit(f"magnopy failed: {ended.stderr[-600:]}")
    return json.loads(lines[0].removeprefix("RESULT"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--magnopy-python", required=True)
    parser.add_argument("--points", type=int, default=1000)
    a = parser.parse_args()
    python = str(Path(a.magnopy_python).absolute())
    print("| state | spins | largest energy, meV | largest difference, meV | CPU-s here | CPU-s magnopy | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, couplings in cases().items():
        state = ordered_state(couplings)
        q = np.random.default_rng(1).uniform(-0.5, 0.5, (a.points, 3))
        modes, spent = state.modes, []
        for _ in range(5):
            start = time.process_time()
            found = modes.energies(q)
            spent.append(time.process_time() - start)
        theirs = ask(python, state, q)
        difference = np.abs(np.array(theirs["energies"]) - found).max()
        ratio = theirs["seconds"] / min(spent)
        print(
            f"| {name} ({state.kind}) | {len(state.directions)} | {found.max():.2f} | {difference:.1e} | {min(spent):.4f} "
            f"| {theirs['seconds']:.3f} | {ratio:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
