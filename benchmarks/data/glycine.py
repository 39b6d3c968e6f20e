"""Crystals of glycine, random and known, labelled with GFN1-xTB: a semi-empirical stand-in for a first-principles reference.

    pip install tblite pyxtal; OMP_NUM_THREADS=1 python benchmarks/data/glycine.py --count 10000 --out runs/glycine.extxyz

Of ten parents nine are random: PyXtal packs the zwitterion of the alpha form on general positions, 1 to 4 molecules in a cell (`z`,
in turn 2, 1, 2, 3, 2, 4). The tenth is a known form: alpha, beta or gamma in turn. Each parent is written five times: first strained by
up to 6 %, the molecules as they were, then also with molecules moved and turned and every atom displaced by 0.01 to 0.12 Å. Structure
k follows from the seed and k alone: a stopped run goes on, more can be added. `group` names the parent: splits keep a parent on one
side.

tblite has only the Gamma point in periodic cells. In the cells themselves energies are off by so many meV a molecule (an atom), against
supercells: alpha 126 (12.6; 2x1x2), beta 192 (19.2; 2x2x2), gamma 114 (11.4; 2x2x2), two random ones with z = 1 -211 and -420 (-21.1 and
-42.0; 2x2x2); forces by 0.17 to 0.41 eV/Å (root mean square), more than half of what these crystals have: no local model can learn that.
Hence each structure is labelled in a supercell whose faces are `--apart` Å apart, which costs ten times as much.

GFN1-xTB: S. Grimme, C. Bannwarth and P. Shushkov, J. Chem. Theory Comput. 13, 1989 (2017), doi 10.1021/acs.jctc.7b00118. PyXtal:
S. Fredericks et al., Comput. Phys. Commun. 261, 107810 (2021), doi 10.1016/j.cpc.2020.107810. Known forms: see `FORMS`.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from contextlib import redirect_stdout
from functools import lru_cache
from io import StringIO
from itertools import combinations_with_replacement
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from pymatgen.core import Molecule
from pyxtal import operations, pyxtal
from pyxtal.lattice import Lattice
from pyxtal.molecule import pyxtal_molecule
from pyxtal.symmetry import Group
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

# PyXtal makes this table anew for every position that it tries, which is two thirds of its time.
operations.Tol_matrix = lru_cache(operations.Tol_matrix)

METHOD = "GFN1-xTB"
SYMBOLS = ("N", "C", "C", "O", "O", "H", "H", "H", "H", "H")
"""NH3, CH2 and COO: the first three hydrogens are on N, the others on the first C."""
SIZE = len(SYMBOLS)
COPIES = 5
TURN = (2, 1, 2, 3, 2, 4)
GROUPS = {1: (1,), 2: (1, 2, 3, 4, 7), 3: (1, 143, 144, 145), 4: (1, 2, 4, 7, 13, 14, 18, 19, 29, 33)}
"""Space groups of each number of molecules; all are of lattice P, so the conventional cell is the primitive one."""
VOLUME = (65, 105, 125)
"""Å³ a molecule that a random parent is packed at, from and to, and that it may be swollen to; measured: 77 to 79."""
PATIENCE = 60
"""Seconds for one try of PyXtal. A guard against hanging alone: a try that ran into it would break the rule that k makes the structure."""
CLOSEST = 0.7
"""Smallest distance in copies, as a fraction of the sum of covalent radii."""
NEARER = 0.8
"""Smallest contact in copies, as a fraction of the shortest contact of a random parent."""

FORMS = {
    # The unit cell of github.com/SesswireD/Glycine_Nucleation_TPS (82d4fc0), which names no paper. Its bonds to hydrogen are as long as
    # neutrons give; its cell is within 0.2 % of R. E. Marsh, Acta Cryst. 11, 654 (1958), doi 10.1107/S0365110X58001717. P21/n.
    "alpha": (
        (5.0999, 11.9516, 5.4594, 90, 111.781, 90),
        """0.30086 0.08984 0.74100   0.06438 0.14494 0.78670   0.07471 0.12484 1.06601   0.30478 0.09443 1.23515  -0.14775 0.14154 1.10700
           0.2894 0.10007 0.5458   0.4955 0.1192 0.8693   0.2980 0.00493 0.7737   0.0775 0.23479 0.7570  -0.1341 0.1144 0.6432""",
        lambda x, y, z: [(x, y, z), (-x, -y, -z), (0.5 - x, 0.5 + y, 0.5 - z), (0.5 + x, 0.5 - y, 0.5 + z)],
    ),
    # T. N. Drebushchak, E. V. Boldyreva and E. S. Shutova, Acta Cryst. E 58, o634 (2002), doi 10.1107/S160053680200836X (CCDC 189379).
    # P21.
    "beta": (
        (5.0935, 6.274, 5.3847, 90, 113.19, 90),
        """0.35024 0.28161 0.23730   0.11150 0.39417 0.26993   0.13352 0.38405 0.56103  -0.09265 0.40990 0.59741   0.37739 0.35815 0.74274
           0.349 0.301 0.071   0.520 0.324 0.353   0.340 0.142 0.266   0.123 0.538 0.222  -0.063 0.332 0.143""",
        lambda x, y, z: [(x, y, z), (-x, 0.5 + y, -z)],
    ),
    # Entry GLYCIN18 of the Cambridge Structural Database (CCDC 1169370), X-rays, 295 K. P31. The second H stands there at z = -0.1678,
    # which puts H-N-C at 52 degrees; with the sign turned N-H is as long and every angle at N within 3 degrees of a tetrahedron's.
    "gamma": (
        (7.037, 7.037, 5.478, 90, 90, 120),
        """-0.5792 -0.8835 -0.0012  -0.7314 -1.0889 -0.1256  -0.7253 -1.0584 -0.4006  -0.8755 -1.2096 -0.5202  -0.5668 -0.8879 -0.4878
           -0.6183 -0.7875 -0.0318  -0.5958 -0.9093 0.1678  -0.4435 -0.8357 -0.0424  -0.8620 -1.1332 -0.0642  -0.6838 -1.1991 -0.0867""",
        lambda x, y, z: [(x, y, z), (-y, x - y, z + 1 / 3), (y - x, -x, z + 2 / 3)],
    ),
}


def limit(first: str, second: str) -> float:
    """The shortest contact, in Å, that a random parent may have between molecules."""
    hydrogens = (first == "H") + (second == "H")
    return 2.4 if not hydrogens else 1.6 if hydrogens == 2 else 1.5 if "O" in (first, second) else 1.8


LIMITS = {(a, b): limit(a, b) for a, b in combinations_with_replacement(sorted(set(SYMBOLS)), 2)}


@lru_cache
def known(form: str) -> Atoms:
    """A known form, molecule after molecule."""
    cell, sites, images = FORMS[form]
    molecule = Atoms(SYMBOLS, scaled_positions=np.array(sites.split(), dtype=float).reshape(-1, 3), cell=cell)
    for hydrogen in range(5, SIZE):
        # X-rays see these bonds a tenth of an Å too short; those of alpha hardly change.
        molecule.set_distance(0 if hydrogen < 8 else 1, hydrogen, 1.04 if hydrogen < 8 else 1.09, fix=0)
    placed = [np.transpose(image) for image in images(*molecule.cell.scaled_positions(molecule.positions).T)]
    return Atoms(SYMBOLS * len(placed), scaled_positions=np.concatenate(placed), cell=cell, pbc=True)


def touching(atoms: Atoms, scale: float = 1) -> bool:
    """Whether a contact between molecules is too short."""
    i, j, shift = neighbor_list("ijS", atoms, {pair: scale * value for pair, value in LIMITS.items()})
    return bool(((i // SIZE != j // SIZE) | shift.any(axis=1)).any())


def sound(atoms: Atoms, z: int, molecule: Atoms) -> bool:
    """Whether these are `z` such molecules, one after the other, and none too near another."""
    if len(atoms) != z * SIZE:
        return False
    parts = [atoms[n * SIZE : (n + 1) * SIZE] for n in range(z)]
    distances = molecule.get_all_distances()
    if any(tuple(p.symbols) != SYMBOLS or not np.allclose(p.get_all_distances(), distances, atol=0.01) for p in parts):
        return False
    return not touching(atoms)


def stretched(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    """The crystal with cell and molecular centres transformed, its molecules as they were."""
    molecules = atoms.positions.reshape(-1, SIZE, 3)
    centres = molecules.mean(axis=1, keepdims=True)
    return Atoms(atoms.numbers, (molecules - centres + centres @ matrix).reshape(-1, 3), cell=atoms.cell.array @ matrix, pbc=True)


def ring(*_: object) -> None:
    raise TimeoutError


@lru_cache(maxsize=4)
def parent(number: int, seed: int) -> tuple[str, Atoms]:
    """Parent `number` and its form."""
    decade, place = divmod(number, 10)
    if place == 9:
        form = list(FORMS)[decade % len(FORMS)]
        return form, known(form)
    z = TURN[(9 * decade + place) % len(TURN)]
    # With a third number it is a stream of its own beside those of the copies.
    rng = np.random.default_rng([seed, number, 1])
    molecule = known("alpha")[:SIZE]
    while True:
        group = int(rng.choice(GROUPS[z]))
        lattice = Lattice(Group(group).lattice_type, z * rng.uniform(*VOLUME[:2]), random_state=rng)
        # A hopeless lattice is better left than tried forty times anew.
        lattice.allow_volume_reset = False
        packed = pyxtal_molecule(Molecule(SYMBOLS, molecule.positions), symmetrize=False, random_state=rng)
        crystal = pyxtal(molecular=True)
        signal.alarm(PATIENCE)
        try:
            with redirect_stdout(StringIO()):
                crystal.from_random(3, group, [packed], [z], lattice=lattice, max_count=1, random_state=rng)
        except Exception:  # PyXtal reports failure with exceptions of several kinds
            continue
        finally:
            signal.alarm(0)
        if not crystal.valid:
            continue
        # PyXtal lets molecules nearly touch: the cell is swollen until no contact is too short, or left.
        for growth in np.arange(1, 1.25, 0.01):
            atoms = stretched(crystal.to_ase(resort=False), growth * np.eye(3))
            if atoms.get_volume() > z * VOLUME[2]:
                break
            if sound(atoms, z, molecule):
                return "random", atoms


def distorted(start: Atoms, rng: np.random.Generator, rattled: bool) -> Atoms:
    """One copy: strained, and if wished with molecules moved and turned and atoms displaced."""
    while True:
        strain = rng.uniform(-0.06, 0.06, (3, 3))
        atoms = stretched(start, np.eye(3) + (strain + strain.T) / 2)
        if rattled:
            molecules = atoms.positions.reshape(-1, SIZE, 3)
            centres = molecules.mean(axis=1, keepdims=True)
            turns = Rotation.from_rotvec(rng.normal(0, 0.1, (len(molecules), 3))).as_matrix()
            molecules = centres + rng.normal(0, 0.1, centres.shape) + (molecules - centres) @ turns
            atoms.positions = molecules.reshape(-1, 3) + rng.uniform(0.01, 0.12) * rng.normal(size=atoms.positions.shape)
        if not touching(atoms, NEARER) and not len(neighbor_list("i", atoms, CLOSEST * covalent_radii[atoms.numbers])):
            return atoms


def repeats(atoms: Atoms, apart: float) -> np.ndarray:
    """How often each vector of the cell is repeated until its faces are this far apart."""
    heights = 1 / np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    return np.maximum(1, np.ceil(apart / heights - 1e-9)).astype(int)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--apart", type=float, default=7.0, help="Å between faces of the cell that is labelled; 0: the cell itself")
    parser.add_argument("--out", type=Path, default=Path("runs/glycine.extxyz"))
    a = parser.parse_args()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGALRM, ring)
    done = 0
    if a.out.exists():
        frames = ase.io.read(a.out, index=":")
        done = max((atoms.info["number"] for atoms in frames), default=-1) + 1
        # A kill may have cut the last frame.
        ase.io.write(a.out, frames)
    started, failed = time.monotonic(), 0
    for k in range(done, a.count):
        form, start = parent(k // COPIES, a.seed)
        atoms = distorted(start, np.random.default_rng([a.seed, k]), k % COPIES > 0)
        times = repeats(atoms, a.apart)
        crystal = atoms * times
        crystal.calc = TBLite(method=METHOD, verbosity=0)
        try:
            energy = crystal.get_potential_energy() / times.prod()
            # The first image is the cell itself.
            forces, stress = crystal.get_forces()[: len(atoms)], crystal.get_stress()
        except Exception as error:  # tblite reports trouble with exceptions of several kinds
            failed += 1
            print(f"{k} {form} {len(atoms) // SIZE}: {type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
            continue
        labelled = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        labelled.calc = SinglePointCalculator(labelled, energy=energy, forces=forces, stress=stress)
        group = f"random-{k // COPIES}" if form == "random" else form
        labelled.info.update(number=k, z=len(atoms) // SIZE, group=group, form=form, reference=METHOD)
        ase.io.write(a.out, labelled, append=True)
        if (k + 1) % 50 == 0:
            print(f"{k + 1} of {a.count}, {failed} failed, {(time.monotonic() - started) / (k + 1 - done):.4f} s each", flush=True)
    print(f"{a.count} asked for, {failed} of {a.count - done} failed in this run; {a.out}")


if __name__ == "__main__":
    main()
