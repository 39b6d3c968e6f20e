"""Comparison of the polymorphs of a search, or of the structures of a file, with measured data."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.crystals.dimensions import periodic_directions
from nucleate.crystals.formats import read_frames
from nucleate.crystals.formula import formula_text
from nucleate.crystals.io import read_structures
from nucleate.csp.run_data import read_run, show_data
from nucleate.errors import BadInput, quoted
from nucleate.fingerprints.matching import space_group
from nucleate.observables.data_files import read_gr, read_pattern
from nucleate.observables.pair_distribution import PairData, PairSettings, fit_pairs, pair_data
from nucleate.observables.powder import PowderData, PowderSettings, fit_powder, powder_data
from nucleate.observables.radiation import radiation
from nucleate.observables.shieldings import shieldings_of
from nucleate.observables.shifts import Assigned, Shift, ShiftReference, assign, element_of, read_shifts
from nucleate.observables.variable_cell import CellFit
from nucleate.polymorphs.posterior import (
    PAIR_POINTS,
    POWDER_POINTS,
    log_likelihood_of_curve,
    log_likelihood_of_shifts,
    log_prior,
    posterior,
)
from nucleate.progress import Event, Progress, Step, silent


@dataclass(frozen=True)
class MatchOptions:
    """Measurements and settings of a comparison; see `nucleate match --help`.

    Attributes:
        xrd: file of a powder pattern.
        wavelength: wavelength in Å or name of an X-ray line.
        neutron: whether the pattern and G(r) are measured with neutrons.
        deuterated: whether hydrogen atoms scatter neutrons as deuterium.
        pdf: file of a pair distribution function.
        shifts: file of chemical shifts.
        shieldings: source of the shieldings, see `shieldings_of`.
        nmr_reference: slope and offset of elements, such as `H=-1.0,30.5`.
        nmr_error: standard error of predicted shifts of elements in ppm, such as `Si=2`.
        strain: largest absolute principal strain of the variable-cell comparison.
        any_strain: whether the strain may break the symmetry of a crystal.
        zero_shift: largest shift of the zero of 2 theta, degrees.
        energy_scale: decay of the prior with the energy, meV/atom.
        energy_error: standard error of an energy difference, meV/atom.
        top: number of lowest polymorphs, or of first structures, that are compared; None: all.
    """

    xrd: Path | None = None
    wavelength: str | None = None
    neutron: bool = False
    deuterated: bool = False
    pdf: Path | None = None
    shifts: Path | None = None
    shieldings: str | None = None
    nmr_reference: Sequence[str] = ()
    nmr_error: Sequence[str] = ()
    strain: float = 0.05
    any_strain: bool = False
    zero_shift: float = 0.1
    energy_scale: float = 25.0
    energy_error: float = 5.0
    top: int | None = None


@dataclass(frozen=True)
class Candidate:
    """A crystal that is compared.

    Attributes:
        number: rank of the polymorph in its run, or number of the structure in its file.
        atoms: the crystal.
        space_group: international symbol at a tolerance of 0.1 Å.
        above: energy above the lowest or above the hull, meV/atom; None: unknown.
    """

    number: int
    atoms: Atoms
    space_group: str
    above: float | None

    @property
    def formula(self) -> str:
        """Chemical formula of the cell."""
        return formula_text(dict(Counter(self.atoms.get_chemical_symbols())))


@dataclass(frozen=True)
class Comparison:
    """A crystal and its agreement with the measurements.

    Attributes:
        candidate: the crystal.
        probability: posterior probability.
        powder, pairs: fits to the powder pattern and to G(r); None: not measured.
        shifts: assigned chemical shifts of each element; None: not measured.
    """

    candidate: Candidate
    probability: float
    powder: CellFit | None
    pairs: CellFit | None
    shifts: list[Assigned] | None


@dataclass(frozen=True)
class Match:
    """Result of a comparison.

    Attributes:
        source: run folder or structure file.
        options: measurements and settings.
        ranking: the crystals, the most probable first.
        powder, pairs: measured powder pattern and G(r).
        shifts: measured shifts.
        energies: whether the prior depends on energies.
    """

    source: Path
    options: MatchOptions
    ranking: list[Comparison]
    powder: PowderData | None
    pairs: PairData | None
    shifts: list[Shift] | None
    energies: bool


STEEPEST, FLATTEST = -2.0, -0.5
"""Range of slopes of a given reference of shifts."""


def match(source: str | Path, options: MatchOptions, progress: Progress = silent) -> Match:
    """Rank the polymorphs of a run, or the structures of a file, by their agreement with measurements and their energies.

    Args:
        source: run folder or structure file.
        options: measurements and settings.
        progress: called with a `Step` while the structures are compared; `done` counts hundredths of a structure.

    Raises:
        BadInput: a file or an option is not valid, or a structure is not a crystal.
        RunFolderError: the folder is not a run folder, or is damaged.
        MissingDependency: a package that computes shieldings is not installed.
    """
    _check(options)
    references = {name: ShiftReference(*values) for name, values in _by_element("--nmr-reference", options.nmr_reference, 2).items()}
    for name, reference in references.items():
        if not STEEPEST <= reference.slope <= FLATTEST:
            raise BadInput(
                f"--nmr-reference {name}: the slope is {reference.slope:g}; shifts fall with shieldings, so that it is near -1. "
                f"Give slope and offset in this order, such as {name}=-1.0,30.5"
            )
    errors = {name: values[0] for name, values in _by_element("--nmr-error", options.nmr_error, 1).items()}
    if any(error <= 0 for error in errors.values()):
        raise BadInput("--nmr-error: an error must be positive; give it in ppm, such as C=2.2")
    powder, pairs, shifts = _measurements(options)
    _check_elements(shifts, references, errors)
    candidates = candidates_of(Path(source), progress)[: options.top]
    crystals = [candidate.atoms for candidate in candidates]
    energies = np.array([math.nan if candidate.above is None else candidate.above for candidate in candidates])
    known = bool(np.isfinite(energies).all())
    if not known:
        plain = MatchOptions()
        for name in ("energy_scale", "energy_error"):
            if getattr(options, name) != getattr(plain, name):
                raise BadInput(f"--{name.replace('_', '-')} has no effect, because the structures have no comparable energies; remove it")
    logarithms = [log_prior(energies, options.energy_scale, options.energy_error)] if known else [np.zeros(len(candidates))]
    powder_fits: list[CellFit | None] = [None] * len(crystals)
    pair_fits: list[CellFit | None] = [None] * len(crystals)
    assigned: list[list[Assigned] | None] = [None] * len(crystals)
    symmetric = not options.any_strain
    if powder is not None:
        each = parts_of("powder pattern", len(crystals), progress)
        fits = [fit_powder(atoms, powder, symmetric, part) for atoms, part in zip(crystals, each, strict=True)]
        logarithms.append(log_likelihood_of_curve(np.array([fit.fitted for fit in fits]), POWDER_POINTS))
        powder_fits = list(fits)
    if pairs is not None:
        each = parts_of("G(r)", len(crystals), progress)
        fits = [fit_pairs(atoms, pairs, symmetric, part) for atoms, part in zip(crystals, each, strict=True)]
        logarithms.append(log_likelihood_of_curve(np.array([fit.fitted for fit in fits]), PAIR_POINTS))
        pair_fits = list(fits)
    if shifts is not None and options.shieldings is not None:
        lists = [assign(shifts, found, references, errors) for found in shieldings_of(options.shieldings, crystals)]
        chi2 = np.array([sum(element.chi2 for element in each) for each in lists])
        numbers: Counter[str] = Counter()
        for shift in shifts:
            numbers[shift.element] += shift.multiplicity or 1
        # Slope and offset of an element without a given reference are fitted to its own shifts.
        left = sum(max(0, number - (0 if element in references else 2)) for element, number in numbers.items())
        logarithms.append(log_likelihood_of_shifts(chi2, left))
        assigned = list(lists)
    probabilities = posterior(*logarithms)
    order = np.argsort(-probabilities, kind="stable")
    ranking = [Comparison(candidates[k], float(probabilities[k]), powder_fits[k], pair_fits[k], assigned[k]) for k in order]
    return Match(Path(source), options, ranking, powder, pairs, shifts, known)


def parts_of(phase: str, count: int, progress: Progress) -> Iterator[Progress]:
    """Yield a progress function for each of `count` structures, which passes its steps on as hundredths of one structure of all."""
    for number in range(count):
        first = 100 * number

        def passed(event: Event, /, first: int = first) -> None:
            if isinstance(event, Step):
                progress(Step(phase, first + 100 * event.done // event.total, 100 * count))

        progress(Step(phase, first, 100 * count))
        yield passed


def candidates_of(source: Path, progress: Progress = silent) -> list[Candidate]:
    """Return the polymorphs of a run folder, or the structures of a file.

    The energies of a file count if all of its structures have one and the same composition. `progress` is called with a `Step` before the
    space group of each structure is determined.

    Raises:
        BadInput: there is no polymorph, a structure is not a crystal, or the file cannot be read.
        RunFolderError: the folder is not a run folder, or is damaged.
    """
    if source.is_dir():
        run = read_run(source)
        if run.settings.dimensions != 3:
            raise BadInput(f"{source}: is a search of {'layers' if run.settings.dimensions == 2 else 'clusters'}; match compares crystals")
        entries = show_data(run)["polymorphs"]
        ranking = run.state.ranking()
        if not ranking:
            raise BadInput(f"{source}: no polymorph is confirmed yet; continue with: nucleate resume {source}")
        return [Candidate(k + 1, p.atoms, p.space_group, e["above_best"]) for k, (p, e) in enumerate(zip(ranking, entries, strict=True))]
    structures = read_structures(source, open_directions=True)
    for number, atoms in enumerate(structures, 1):
        if periodic_directions(atoms) != 3:
            raise BadInput(f"{source}, structure {number}: is not periodic in three directions; match compares crystals")
    above = _energies(source, structures)
    candidates = []
    for k, atoms in enumerate(structures):
        progress(Step("space groups", k, len(structures)))
        candidates.append(Candidate(k + 1, atoms, space_group(atoms)[0], above[k]))
    return candidates


def _energies(source: Path, structures: Sequence[Atoms]) -> list[float | None]:
    """Return energies above the lowest in meV/atom, if all structures of a file have one and the same composition."""
    unknown: list[float | None] = [None] * len(structures)
    if len({atoms.symbols.formula.reduce()[0].format("hill") for atoms in structures}) > 1:
        return unknown
    energies = []
    for frame, atoms in zip(read_frames(source), structures, strict=True):
        energy = None if frame.calc is None else frame.calc.results.get("energy")
        if energy is None or not math.isfinite(energy):
            return unknown
        energies.append(float(energy) / len(atoms))
    return [1e3 * (energy - min(energies)) for energy in energies]


def _measurements(options: MatchOptions) -> tuple[PowderData | None, PairData | None, list[Shift] | None]:
    """Read all measurements."""
    powder, pairs = None, None
    if options.xrd is not None and options.wavelength is not None:
        source = radiation(options.wavelength, options.neutron, options.deuterated)
        curve = read_pattern(options.xrd)
        try:
            powder = powder_data(curve.x, curve.y, source, PowderSettings(zero=options.zero_shift, strain=options.strain))
        except BadInput as error:
            raise BadInput(f"{options.xrd}: {error}") from None
    if options.pdf is not None:
        curve = read_gr(options.pdf)
        if curve.header.get("neutron", float(options.neutron)) != float(options.neutron):
            told, needed = ("X-rays", "remove") if options.neutron else ("neutrons", "give")
            raise BadInput(f"{options.pdf}: its header says that it is measured with {told}; {needed} --neutron, or correct the header")
        own = {"q_max": curve.header.get("qmax") or None, "q_damp": curve.header.get("qdamp", PairSettings.q_damp)}
        settings = PairSettings(
            neutron=options.neutron, deuterated=options.deuterated, strain=options.strain, q_max=own["q_max"], q_damp=own["q_damp"] or 0.0
        )
        try:
            pairs = pair_data(curve.x, curve.y, settings)
        except BadInput as error:
            raise BadInput(f"{options.pdf}: {error}") from None
    return powder, pairs, None if options.shifts is None else read_shifts(options.shifts)


def _check(options: MatchOptions) -> None:
    """Refuse options that contradict or need each other, and values out of range."""
    if options.xrd is None and options.pdf is None and options.shifts is None:
        raise BadInput("no measurement is given; give --xrd, --pdf or --shifts")
    if options.xrd is not None and options.wavelength is None:
        raise BadInput("--xrd needs the wavelength; give --wavelength in Å or as the name of a line, such as CuKa")
    for given, name, needed, of in (
        (options.wavelength, "--wavelength", options.xrd, "--xrd"),
        (options.shieldings, "--shieldings", options.shifts, "--shifts"),
        (options.nmr_reference, "--nmr-reference", options.shifts, "--shifts"),
        (options.nmr_error, "--nmr-error", options.shifts, "--shifts"),
        (options.neutron or None, "--neutron", options.xrd or options.pdf, "--xrd or --pdf"),
        (options.deuterated or None, "--deuterated", options.neutron or None, "--neutron"),
        (options.any_strain or None, "--any-strain", options.xrd or options.pdf, "--xrd or --pdf"),
    ):
        if given and needed is None:
            raise BadInput(f"{name} has no effect without {of}; remove it or give {of}")
    plain = MatchOptions()
    if options.xrd is None and options.zero_shift != plain.zero_shift:
        raise BadInput("--zero-shift has no effect without --xrd; remove it or give --xrd")
    if options.xrd is None and options.pdf is None and options.strain != plain.strain:
        raise BadInput("--strain has no effect without --xrd or --pdf; remove it or give one of them")
    if options.shifts is not None and options.shieldings is None:
        raise BadInput(
            "--shifts needs shieldings of the crystals; give --shieldings with a folder of .magres files, shiftml:FOLDER or cp2k:FOLDER"
        )
    for name, value, low, high in (
        ("--strain", options.strain, 0.0, 0.1),
        ("--zero-shift", options.zero_shift, 0.0, 1.0),
        ("--energy-scale", options.energy_scale, 0.1, 1e4),
        ("--energy-error", options.energy_error, 0.0, 1e4),
    ):
        if not low <= value <= high:
            raise BadInput(f"{name} {value:g}: must be between {low:g} and {high:g}")
    if options.top is not None and options.top < 1:
        raise BadInput(f"--top {options.top}: must be at least 1")


def _by_element(option: str, texts: Sequence[str], count: int) -> dict[str, tuple[float, ...]]:
    """Return the numbers that an option gives for each element, as in `H=-1.0,30.5`."""
    result: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, equals, numbers = text.partition("=")
        words = numbers.split(",")
        finite = all(re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", word, re.I) for word in words)
        if not equals or len(words) != count or not finite:
            example = "H=-1.0,30.5 (slope and offset)" if count == 2 else "C=2.2"
            raise BadInput(f"{option} {quoted(text, 40)}: give an element and {count} number{'s' * (count > 1)}, such as {example}")
        element = element_of(name.strip(), option)
        if element in result:
            raise BadInput(f"{option}: {element} is given twice; give it once")
        result[element] = tuple(float(word) for word in words)
    return result


def _check_elements(shifts: list[Shift] | None, references: Mapping[str, ShiftReference], errors: Mapping[str, float]) -> None:
    """Refuse settings of elements of which no shift is given."""
    measured = {shift.element for shift in shifts or []}
    for option, given in (("--nmr-reference", references), ("--nmr-error", errors)):
        for element in given:
            if element not in measured:
                raise BadInput(f"{option}: {element} has no shift in the file of shifts; remove it")
