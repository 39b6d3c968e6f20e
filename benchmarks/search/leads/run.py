"""Reference calls until leads are confirmed, by the lower bounds of the committee's Hessian.

    OMP_NUM_THREADS=1 python benchmarks/search/leads/run.py --out runs/leads

A search of each system is made once (glycine on mcGFN-FF, oxides and a salt on CHGNet). Its lowest leads are then followed from their first
labels, with the committee of the end of the search, by quasi-Newton steps whose Hessian has other bounds. Leads that 14 calls do not
settle count as 14. The searches themselves use the bounds of the package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from nucleate import api
from nucleate.csp.leads import MOST_CALLS, SHORTEST
from nucleate.csp.newton import STIFFEST, Frame, bfgs, newton_step
from nucleate.csp.records import Lead, enthalpy_per_atom, residuals
from nucleate.csp.run_data import read_run
from nucleate.potentials.base import Potential
from nucleate.potentials.files import load_potential
from nucleate.reference.surrogates import SurrogateReference

GLYCINE = "[NH3+]CC(=O)[O-]"
BUDGETS = {"glycine": 120, "Mg2Al4O8": 90, "Na4Cl4": 50, "Al4O6": 60}
BOUNDS = {"1, strains times n": (1.0, None), "1, strains 1": (1.0, 1.0), "1, strains 0.3": (1.0, 0.3), "0.3, strains 0.3": (0.3, 0.3),
          "0.3, strains 0.09": (0.3, 0.09)}  # fmt: skip
"""Lower bounds for atoms and for strains in units that do not depend on the number of atoms, eV/Å²; None: the strains times that number."""


def searched(system: str, out: Path) -> Path:
    """Return the run folder of the search of a system."""
    folder = out / system
    if not folder.exists():
        search = {"pool": 60, "budget": BUDGETS[system], "proof": False, "check": False}
        settings = {"search": search, "relax": {"workers": 1}, "generate": {"workers": 1}}
        if system == "glycine":
            api.search(molecules=[GLYCINE], units=2, reference="gfnff", seed=900, settings=settings, out=folder)
        else:
            api.search(system, reference="chgnet", seed=77, settings=settings, out=folder)
    return folder


def hessian(frame: Frame, model: Potential, vector: np.ndarray, softest: float, strain: float | None) -> np.ndarray:
    """Return the committee's Hessian with these lower bounds."""
    units = np.ones(len(vector))
    if strain is not None:
        units[3 * frame.n :] = (strain / softest / frame.n) ** 0.5 * (frame.origin.get_volume() / frame.n) ** (1 / 3)
    values, modes = np.linalg.eigh(frame.curvature(model, vector) / np.outer(units, units))
    return modes * np.abs(values).clip(softest, STIFFEST) @ modes.T * np.outer(units, units)


def calls(start: Atoms, model: Potential, reference: SurrogateReference, bounds: tuple[float, float | None]) -> int | None:
    """Return the number of labels until a lead meets the thresholds of a search; None if it does not."""
    label = reference.label(start)
    fmax, smax = residuals(start, label, 0.0)
    lead = Lead(start, start, enthalpy_per_atom(start, label, 0.0), fmax, smax, "", np.array(label.forces), np.array(label.stress))
    frame = Frame(start, 0.0)
    points = [frame.beginning()]
    gradients = [frame.gradient(points[0], lead.forces, lead.stress)]
    best = 0
    while lead.fmax > 0.02 or lead.smax > 0.1:
        if lead.calls >= MOST_CALLS or lead.trust < SHORTEST:
            return None
        matrix = bfgs(hessian(frame, model, points[best], *bounds), points, gradients)
        points.append(points[best] + newton_step(matrix, gradients[best], lead.trust))
        atoms = frame.atoms(points[-1])
        label = reference.label(atoms)
        gradients.append(frame.gradient(points[-1], label.forces, label.stress))
        if lead.offer(atoms, label, 0.0):
            best = len(points) - 1
    return lead.calls


def main() -> None:
    """Print the mean number of calls of each system and bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=list(BUDGETS), default=list(BUDGETS))
    parser.add_argument("--leads", type=int, default=14)
    parser.add_argument("--out", type=Path, default=Path("runs/leads"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for system in options.systems:
        folder = searched(system, options.out)
        run = read_run(folder)
        model, _ = load_potential(max((folder / "models").glob("*.safetensors")))
        reference = SurrogateReference(run.settings.reference.engine, run.settings.molecules.topology)
        leads = sorted(run.state.leads, key=lambda lead: lead.energy)[: options.leads]
        for name, bounds in BOUNDS.items():
            found = [calls(lead.start, model, reference, bounds) for lead in leads]
            mean = np.mean([count or MOST_CALLS for count in found])
            print(f"{system} | {name} | {mean:.2f} | {sum(count is not None for count in found)} of {len(found)}", flush=True)


if __name__ == "__main__":
    main()
