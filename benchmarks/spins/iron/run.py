"""Couplings and Curie temperature of bcc iron, with all that they converge in.

    OMP_NUM_THREADS=1 python benchmarks/spins/iron/run.py --out FOLDER [--only parity series curie]

Parity: J(q) against GPAW's own magnetic force theorem (local density, 4 x 4 x 4 k-points, the same smearing and bands) at three wave
vectors. Series: one setting after another is changed, the others stay at [base] of the settings file. Curie: mean field, RPA and Binder's
crossing. The folder keeps what is finished.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.units import Bohr

from nucleate.errors import NucleateError
from nucleate.persist.toml import read_settings
from nucleate.reference.settings import ReferenceSettings
from nucleate.spins.couplings import Couplings
from nucleate.spins.dft.gpaw_liechtenstein import liechtenstein_couplings
from nucleate.spins.dft.liechtenstein import isotropic_couplings
from nucleate.spins.dft.paw_states import PAWStates
from nucleate.spins.dft.response_settings import LiechtensteinSettings
from nucleate.spins.dft.waves import on_waves
from nucleate.spins.files.reading import read_couplings
from nucleate.spins.files.table import table_text
from nucleate.spins.order.binder import crossing
from nucleate.spins.order.curie import leading_order, rpa
from nucleate.spins.simulate.settings import SimulationSettings
from nucleate.spins.simulate.simulation import simulate

SHELLS = (2.482, 2.866, 4.053, 4.753, 4.964)


def couplings(given: dict, out: Path, **changed) -> Couplings:
    """With some of the base settings changed; from the disk if they are there."""
    base = {**given["base"], **{k: given["reference"][k] for k in ("smearing", "cutoff")}, **changed}
    path = out / ("-".join(f"{k}{v:g}" if k != "functional" else v for k, v in sorted(base.items())) + ".csv")
    if path.exists():
        return read_couplings(path)
    reference = ReferenceSettings(
        xc=base["functional"], cutoff=base["cutoff"], smearing=base["smearing"], k_spacing=given["reference"]["k_spacing"]
    )
    settings = LiechtensteinSettings(
        moments={"Fe": given["moment"]}, cutoff=base["pairs"], mesh=(base["mesh"],) * 3, bands=base["bands"], length=1.0
    )
    state = out / f"state-{base['functional']}-{base['cutoff']:g}-{base['smearing']:g}"
    found = liechtenstein_couplings(bulk("Fe", "bcc", a=given["lattice"]), settings, reference, state)
    print(f"<!-- moment {found.moments[0]:.3f}, balance {found.balance[0]:.4f} -->", flush=True)
    path.write_text(table_text(found.couplings))
    return found.couplings


def row(name: str, found: Couplings) -> None:
    values = [found.isotropic[np.abs(found.distances - d) < 0.01] for d in SHELLS]
    order = leading_order(found)
    try:
        second = f"{rpa(found, order):.0f}"
    except NucleateError:
        second = "none"
    texts = [f"{v.mean():+.2f}" if len(v) else "" for v in values]
    print(f"| {name} | {' | '.join(texts)} | {order.mean_field:.0f} | {second} |", flush=True)


def within(found: Couplings, longest: float) -> Couplings:
    kept = found.distances < longest + 1e-3
    return replace(found, **{name: getattr(found, name)[kept] for name in ("first", "second", "shifts", "tensors", "errors")})


def parity(out: Path) -> None:
    """Both sum over the same mesh, so images of pairs agree too."""
    from gpaw import GPAW, PW, FermiDirac
    from gpaw.response.mft import calculate_exchange_parameters
    from gpaw.response.site_data import AtomicSites

    mesh, bands = (4, 4, 4), 30
    atoms = bulk("Fe", "bcc", a=2.866)
    atoms.set_initial_magnetic_moments([2.2])
    calculator = GPAW(
        mode=PW(500), xc="LDA", kpts={"size": mesh, "gamma": True}, occupations=FermiDirac(0.1), symmetry={"point_group": False}, txt=None
    )
    atoms.calc = calculator
    atoms.get_potential_energy()
    calculator.diagonalize_full_hamiltonian(nbands=bands)
    path = out / "parity.gpw"
    calculator.write(str(path), "all")
    radius = min(calculator.dft.setups[0].rcut_j)
    paw = PAWStates(calculator, bands, np.array([0]), mesh)
    started = time.perf_counter()
    states = paw.collinear(paw.fields())
    own = 1e3 * on_waves(isotropic_couplings(states, 0.1))[..., 0, 0].real
    print(f"all {own.size} wave vectors, here: {time.perf_counter() - started:.2f} s")
    print("| q | this code, meV | GPAW, meV | J(0) - J(q) | GPAW | GPAW's seconds |\n|---|---|---|---|---|---|")
    first = None
    for q in ([0, 0, 0], [0.25, 0, 0], [0.5, 0.5, 0.5]):
        here = own[tuple(np.rint(np.multiply(q, mesh)).astype(int))]
        spheres = AtomicSites([0], [[radius * Bohr]])
        started = time.perf_counter()
        there = 1e3 * calculate_exchange_parameters(str(path), spheres, q, nbands=bands, context=str(out / "parity.txt"))[0, 0, 0].real
        seconds = time.perf_counter() - started
        first = first or (here, there)
        print(f"| {q} | {here:.1f} | {there:.1f} | {first[0] - here:.1f} | {first[1] - there:.1f} | {seconds:.1f} |", flush=True)


def curie(given: dict, found: Couplings) -> None:
    middle = leading_order(found).mean_field
    settings = SimulationSettings(temperatures=np.linspace(0.68, 0.84, 9).dot(middle).tolist(), **given["monte_carlo"])
    for seed in range(2):
        rows = simulate(found, settings.model_copy(update={"seed": seed})).rows
        small, large = settings.sizes
        met = crossing(rows, small, large)
        print(
            f"seed {seed}: T_C {met.temperature:.1f} ± {met.error:.1f} K, cumulant {met.cumulant:.4f}, sizes {small} and {large}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=["parity", "series", "curie"], default=["parity", "series", "curie"])
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    given = read_settings(a.settings)
    a.out.mkdir(parents=True, exist_ok=True)
    if "parity" in a.only:
        parity(a.out)
    base = couplings(given, a.out)
    if "series" in a.only:
        print("| changed | " + " | ".join(f"J at {d} Å" for d in SHELLS) + " | mean field, K | RPA, K |\n|" + "---|" * (len(SHELLS) + 3))
        row("base", base)
        for name, values in given["series"].items():
            for value in values:
                changed = within(base, value) if name == "pairs" else couplings(given, a.out, **{name: value})
                row(f"{name} {value}", changed)
    if "curie" in a.only:
        curie(given, base)


if __name__ == "__main__":
    main()
