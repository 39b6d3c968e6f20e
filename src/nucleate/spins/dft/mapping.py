"""Exchange couplings from total energies of spin states.

Collinear mapping fits the energies of states with up and down moments by E = E_0 - sum_k J_k sum_{<ij> in k} s_i s_j, where k is a class
of equivalent pairs. Four-state mapping uses J_ij = (E_ud + E_du - E_uu - E_dd) / 4 with the other spins fixed (H. J. Xiang et al., Phys.
Rev. B 84, 224429 (2011), doi 10.1103/PhysRevB.84.224429); the result is the sum over all images of the pair. A state is accepted only if
every moment has the requested sign and magnitude, because the calculation may converge to another state, which would give wrong couplings.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field

from nucleate.errors import BadInput, NucleateError, ReferenceFailed
from nucleate.progress import Event, Progress, Step, silent
from nucleate.reference.base import Label
from nucleate.reference.dispatch import Answered, Dispatcher
from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.geometry import image_beyond, magnetic_sites, pairs_within
from nucleate.spins.symmetry import pair_map

MOST_ENUMERATED = 12
"""Largest number of magnetic sites for which all states are enumerated; for more sites, states are sampled."""
DRAWN = 400
NARROWEST = 0.1
"""Minimum gap of an insulator in eV."""
WHOLE = 0.05
"""Largest deviation of an insulator's total moment from an integer in Bohr magnetons."""


class MappingSettings(BaseModel):
    """Settings of energy mapping."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    method: str = Field("collinear", pattern="^(collinear|four-state)$", description="Method: collinear or four-state.")
    moments: dict[str, float] = Field(description="Initial moment of each magnetic element in Bohr magnetons.")
    cutoff: float = Field(5.0, gt=0, description="Largest pair distance in Å.")
    spare: int = Field(1, ge=0, description="Number of states beyond those that determine all couplings; they yield the misfit.")
    kept: float = Field(0.5, gt=0, lt=1, description="Minimum final moment of a site as a fraction of its initial moment.")
    alike: float = Field(0.3, gt=0, description="Largest difference of a site's moment between states in Bohr magnetons.")
    insulator: bool = Field(False, description="Reject metallic states: those without a gap, or with a non-integer total moment.")
    seed: int = Field(0, ge=0, description="Random seed of the sampled states.")


@dataclass(frozen=True)
class StateDone(Step):
    """The total energy of a spin state is computed.

    Attributes:
        signs: Directions of the magnetic sites, u (up) and d (down).
        failed: Whether the calculation failed.
    """

    signs: str
    failed: bool


@dataclass(frozen=True)
class SpinState:
    """Computed spin state.

    Attributes:
        signs: (n,) requested signs of the magnetic sites.
        label: Label of the reference.
        moments: (n,) final moments in Bohr magnetons.
    """

    signs: np.ndarray
    label: Label
    moments: np.ndarray


@dataclass(frozen=True)
class Mapped:
    """Couplings from energy mapping with diagnostics.

    Attributes:
        couplings: Couplings with the standard error of the fit, if there are spare states.
        states: States used.
        failures: Descriptions of rejected states.
        orbit: (p,) class of each pair.
        misfit: Root mean square of the fit residuals in meV; NaN without spare states.
        notes: Remarks on image contributions in the four-state method.
    """

    couplings: Couplings
    states: list[SpinState]
    failures: list[str]
    orbit: np.ndarray
    misfit: float
    notes: list[str]


def verified(signs: np.ndarray, label: Label, sites: np.ndarray, wanted: np.ndarray, settings: MappingSettings) -> np.ndarray:
    """Return the moments (n,) of the sites if the state is the requested one.

    Raises:
        ReferenceFailed: A moment vanished or changed sign, the state of an insulator is metallic, or the reference reports no moments.
    """
    if "moments" not in label.details:
        raise ReferenceFailed("the reference reports no magnetic moments, so the state cannot be verified", kind="state")
    moments = np.array(label.details["moments"])[sites]
    for site, sign, moment, start in zip(sites, signs, moments, wanted, strict=True):
        if sign * moment < settings.kept * start:
            ended = "vanished" if abs(moment) < settings.kept * start else "changed sign"
            raise ReferenceFailed(f"the moment of atom {site} {ended}: {moment:.2f} of {sign * start:+.2f} Bohr magnetons", kind="state")
    if settings.insulator:
        total = label.details.get("total_moment")
        if total is None:
            raise ReferenceFailed("the reference reports no total moment, so the insulating state cannot be verified", kind="state")
        if abs(total - round(total)) > WHOLE:
            raise ReferenceFailed(f"the total moment is {total:.2f} Bohr magnetons: the state is metallic", kind="state")
        gap = label.details.get("gap")
        if gap is not None and gap < NARROWEST:
            raise ReferenceFailed(f"the gap is {gap:.2f} eV: the state is metallic", kind="state")
    return moments


def _with_moments(atoms: Atoms, sites: np.ndarray, signs: np.ndarray, wanted: np.ndarray) -> Atoms:
    found = atoms.copy()
    moments = np.zeros(len(atoms))
    moments[sites] = signs * wanted
    found.set_initial_magnetic_moments(moments)
    return found


def _design(signs: np.ndarray, first: np.ndarray, second: np.ndarray, orbit: np.ndarray) -> np.ndarray:
    """Return the design matrix (states, 1 + classes): one, then minus the sum of s_i s_j over each class."""
    products = signs[:, first] * signs[:, second]
    columns = [-products[:, orbit == k].sum(axis=1) for k in range(orbit.max() + 1)]
    return np.column_stack([np.ones(len(signs)), *columns]).astype(float)


def choose_states(n: int, first: np.ndarray, second: np.ndarray, orbit: np.ndarray, spare: int, rng: np.random.Generator) -> np.ndarray:
    """Choose signs (states, n) with the first site up: the aligned state, states that best condition the fit, and spare states.

    Raises:
        BadInput: No set of states distinguishes the classes of pairs.
    """
    if n <= MOST_ENUMERATED:
        pool = np.array([(1, *rest) for rest in itertools.product((1, -1), repeat=n - 1)])
    else:
        pool = np.vstack([np.ones(n, dtype=int), rng.choice([1, -1], size=(DRAWN, n))])
        pool *= pool[:, :1]
    design = _design(pool, first, second, orbit)
    # States with equal sums have equal energies in this model.
    _, unique = np.unique(design, axis=0, return_index=True)
    unique = np.sort(unique)
    pool, design = pool[unique], design[unique]
    needed = design.shape[1]
    if np.linalg.matrix_rank(design) < needed:
        raise BadInput(
            f"{needed - 1} classes of pairs, but the states of this cell determine only {np.linalg.matrix_rank(design) - 1} combinations; "
            "use a larger cell, a smaller cutoff or the four-state method"
        )
    chosen = [int((pool == 1).all(axis=1).argmax())]
    scale = np.linalg.norm(design, axis=0)
    while len(chosen) < min(needed + spare, len(pool)):
        rest = [k for k in range(len(pool)) if k not in chosen]
        # Select the state that adds most volume, or most information once the design has full rank.
        gram = (design[chosen] / scale).T @ (design[chosen] / scale) + 1e-6 * np.eye(needed)
        inverse = np.linalg.inv(gram)
        gain = np.einsum("ka,ab,kb->k", design[rest] / scale, inverse, design[rest] / scale)
        chosen.append(rest[int(gain.argmax())])
    return pool[chosen]


def map_couplings(atoms: Atoms, settings: MappingSettings, dispatcher: Dispatcher, progress: Progress = silent) -> Mapped:
    """Compute couplings between the magnetic atoms of a crystal.

    Args:
        atoms: Crystal structure.
        settings: Magnetic elements, cutoff and method.
        dispatcher: Dispatcher of the reference; results in its ledger are reused.
        progress: Called with a `StateDone` after each state.

    Raises:
        BadInput: There is no magnetic atom or no pair, or the cell cannot distinguish the pairs.
        NucleateError: Too many states failed or converged to other states; the message lists them.
    """
    sites = magnetic_sites(atoms, settings.moments)
    symbols = atoms.get_chemical_symbols()
    wanted = np.abs([settings.moments[symbols[i]] for i in sites])
    first, second, shifts = pairs_within(atoms, sites, settings.cutoff, across_films=False)
    orbit = pair_map(atoms, sites, first, second, shifts).orbit
    rng = np.random.default_rng(settings.seed)
    if settings.method == "four-state":
        return _four_state(atoms, sites, wanted, (first, second, shifts), orbit, settings, dispatcher, progress)
    if (first == second).all():
        raise BadInput("the cell contains one magnetic atom, whose images are always parallel; use a supercell")
    signs = choose_states(len(sites), first, second, orbit, settings.spare, rng)
    states, failures = ask_states(atoms, sites, wanted, signs, settings, dispatcher, progress, "collinear mapping")
    if not states:
        raise NucleateError(f"none of the {len(signs)} states is usable: {'; '.join(failures)}")
    design = _design(np.array([s.signs for s in states]), first, second, orbit)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise NucleateError(f"the {len(states)} usable states do not determine all couplings: {'; '.join(failures)}")
    energies = 1e3 * np.array([s.label.energy for s in states])
    fit, *_ = np.linalg.lstsq(design, energies - energies.mean(), rcond=None)
    left = len(states) - design.shape[1]
    residual = energies - energies.mean() - design @ fit
    misfit = float(np.sqrt((residual**2).mean())) if left else float("nan")
    spread = np.full(len(fit), np.nan)
    if left:
        spread = np.sqrt((residual**2).sum() / left * np.diag(np.linalg.inv(design.T @ design)))
    moments = np.mean([np.abs(s.moments) for s in states], axis=0)
    couplings = Couplings.from_atoms(
        atoms, sites, moments, first=first, second=second, shifts=shifts, tensors=tensor(fit[1:][orbit]), errors=spread[1:][orbit]
    )
    return Mapped(couplings, states, failures, orbit, misfit, [])


def ask_states(
    atoms: Atoms, sites: np.ndarray, wanted: np.ndarray, signs: np.ndarray, settings: MappingSettings, dispatcher: Dispatcher,
    progress: Progress = silent, purpose: str = "energy mapping",
) -> tuple[list[SpinState], list[str]]:  # fmt: skip
    """Compute states (s, n); return the verified ones and descriptions of the rejected ones."""
    states: list[SpinState] = []
    failures: list[str] = []
    done = 0

    def answered(event: Event, /) -> None:
        nonlocal done
        if isinstance(event, Answered):
            done += 1
            failed = isinstance(event.answer, ReferenceFailed)
            progress(StateDone("spin states", done, len(signs), arrows(signs[event.index]), failed))

    # Use one k-point grid for all states, including those with a smaller primitive cell, by treating all sites as different.
    apart = _with_moments(atoms, sites, 1 + 0.01 * np.arange(len(sites)), wanted)
    asked = [_with_moments(atoms, sites, s, wanted) for s in signs]
    answers = dispatcher.label_many(asked, purpose, 0, answered, like=[apart] * len(asked))
    for s, answer in zip(signs, answers, strict=True):
        try:
            if isinstance(answer, ReferenceFailed):
                raise answer
            states.append(SpinState(s, answer, verified(s, answer, sites, wanted, settings)))
        except ReferenceFailed as failure:
            failures.append(f"state {arrows(s)}: {failure.reason}")
    if states:
        usual = np.median([np.abs(state.moments) for state in states], axis=0)
        off = [np.abs(np.abs(state.moments) - usual) for state in states]
        for state, gaps in zip(states, off, strict=True):
            if gaps.max() > settings.alike:
                worst = int(gaps.argmax())
                here, elsewhere = abs(state.moments[worst]), usual[worst]
                failures.append(
                    f"state {arrows(state.signs)}: the moment of atom {sites[worst]} is {here:.2f}, but {elsewhere:.2f} in other states"
                )
        states = [state for state, gaps in zip(states, off, strict=True) if gaps.max() <= settings.alike]
    return states, failures


def arrows(signs: np.ndarray) -> str:
    """Return signs as a string of u (up) and d (down)."""
    return "".join("u" if s > 0 else "d" for s in signs)


def _four_state(
    atoms: Atoms, sites: np.ndarray, wanted: np.ndarray, pairs: tuple[np.ndarray, np.ndarray, np.ndarray], orbit: np.ndarray,
    settings: MappingSettings, dispatcher: Dispatcher, progress: Progress,
) -> Mapped:  # fmt: skip
    first, second, shifts = pairs
    tensors = np.full((len(first), 3, 3), np.nan)
    failures: list[str] = []
    states: list[SpinState] = []
    notes: list[str] = []
    for k in range(orbit.max() + 1):
        choices = []
        for p in np.flatnonzero(orbit == k):
            i, j = int(first[p]), int(second[p])
            shared = [q for q in range(len(first)) if {first[q], second[q]} == {i, j}]
            if i != j and len(set(orbit[shared])) == 1:
                choices.append((len(shared), i, j))
        if not choices:
            p = np.flatnonzero(orbit == k)[0]
            what = f"pairs like {sites[first[p]]}-{sites[second[p]]} {tuple(shifts[p].tolist())}"
            failures.append(f"{what}: the pair coincides with images of itself or of a pair at another distance; use a larger cell")
            continue
        images, i, j = min(choices)
        beyond = image_beyond(atoms, int(sites[i]), int(sites[j]), settings.cutoff)
        notes.append(
            f"pair {sites[i]}-{sites[j]}: {images} bond{'s' * (images > 1)} per cell share the energy; images at {beyond:.2f} Å contribute"
        )
        signs = np.ones((4, len(sites)), dtype=int)
        signs[1, i] = signs[2, j] = -1
        signs[3, [i, j]] = -1
        if len(sites) == 2:
            # Without spin-orbit coupling the energy is invariant under reversal of all spins.
            signs = signs[[0, 1]]
        found, failed = ask_states(atoms, sites, wanted, signs, settings, dispatcher, progress, "four-state mapping")
        failures += failed
        states += found
        if len(found) < len(signs):
            continue
        e = {arrows(s.signs): 1e3 * s.label.energy for s in found}
        uu, *rest = (e[arrows(s)] for s in signs)
        total = (2 * rest[0] - 2 * uu if len(sites) == 2 else rest[0] + rest[1] - uu - rest[2]) / 4
        tensors[orbit == k] = tensor(total / images)
    known = np.isfinite(tensors).all(axis=(1, 2))
    if not known.any():
        raise NucleateError(f"no coupling could be computed: {'; '.join(failures)}")
    couplings = Couplings.from_atoms(
        atoms, sites, np.mean([np.abs(s.moments) for s in states], axis=0), first=first[known], second=second[known], shifts=shifts[known],
        tensors=tensors[known],
    )  # fmt: skip
    return Mapped(couplings, states, failures, orbit[known], float("nan"), notes)
