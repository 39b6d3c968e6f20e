"""Network of minima and paths: bands between pairs, divided at their intermediate minima."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from ase import Atoms

from nucleate.fingerprints.matching import same_crystal, space_group
from nucleate.polymorphs.barriers.band import Band, bands
from nucleate.polymorphs.barriers.mapping import Mapping
from nucleate.polymorphs.barriers.path import pushed_apart, rattled, straight
from nucleate.polymorphs.barriers.results import Minimum
from nucleate.polymorphs.barriers.settings import BarrierSettings
from nucleate.polymorphs.stability.supercells import SAME, primitive_cell
from nucleate.polymorphs.stability.surface import Surface
from nucleate.progress import Progress, Stage, silent
from nucleate.relax.batched import relax
from nucleate.relax.settings import RelaxSettings
from nucleate.units import GPA

DEEP = 1e-3
"""Depth below both highest points beside it from which an image is relaxed as an intermediate minimum, eV/atom."""
EQUAL = 2e-3
"""Difference of the energies of two relaxations of one minimum, eV/atom."""


@dataclass(frozen=True)
class Start:
    """A path that is still to be optimised: two minima, and the mapped structures at its ends."""

    first: int
    second: int
    start: Atoms
    end: Atoms


@dataclass(frozen=True)
class Found:
    """An optimised band between two minima, with the straight path that it started from."""

    first: int
    second: int
    band: Band
    strain: np.ndarray
    displacement: float


@dataclass
class Network:
    """Minima and bands between them.

    Attributes:
        surface: energy surface.
        settings: settings of barriers.
        pressure: external pressure, GPa.
        minima: the minima; intermediates are added.
        found: the bands.
        failed: number of bands that failed.
        progress: called as bands finish.
    """

    surface: Surface
    settings: BarrierSettings
    pressure: float
    minima: list[Minimum]
    found: list[Found] = field(default_factory=list)
    failed: int = 0
    progress: Progress = silent

    def connect(self, chosen: Sequence[tuple[int, int, Mapping]]) -> None:
        """Optimise bands on mappings of pairs of minima, and divide them at intermediate minima."""
        rng = np.random.default_rng(self.settings.seed)
        starts = [Start(i, j, mapping.start, mapping.end) for i, j, mapping in chosen]
        for level in range(self.settings.splits + 1):
            if not starts:
                break
            self.progress(Stage(f"bands: {len(starts)}" if level == 0 else f"bands between intermediate minima: {len(starts)}"))
            own = [straight(each.start, each.end, self.settings.images) for each in starts]
            paths = [pushed_apart(rattled(path, self.settings.rattle, rng)) for path in own]
            ends = bands(paths, self.surface.potential("bands"), self.settings, self.pressure * GPA, self.progress)
            done = []
            for each, path, band in zip(starts, own, ends, strict=True):
                if band is None:
                    self.failed += 1
                    continue
                change = (path.x[-1] - path.x[0]).numpy()
                strain = np.linalg.eigvalsh((path.log_strain[-1] - path.log_strain[0]).numpy())
                done.append(Found(each.first, each.second, band, strain, float(np.sqrt((change**2).sum(axis=1).mean()))))
            self.found += done
            starts = self._divided(done) if level < self.settings.splits else []

    def _divided(self, done: Sequence[Found]) -> list[Start]:
        """Relax the intermediate minima of bands and return the paths between successive minima."""
        places = [intermediates(each.band.enthalpy) for each in done]
        images = [each.band.images[k] for each, own in zip(done, places, strict=True) for k in own]
        if not images:
            return []
        self.progress(Stage(f"relaxing intermediate minima: {len(images)}"))
        limits = RelaxSettings(fmax=1e-3, smax=0.01, max_steps=500, patience=500, pressure=self.pressure)
        relaxed = iter(relax(images, self.surface.potential("intermediates"), limits, progress=self.progress))
        starts: list[Start] = []
        for each, own in zip(done, places, strict=True):
            stops = [(each.first, each.band.images[0])]
            for _ in own:
                end = next(relaxed)
                if end.usable:
                    stops.append((self._minimum(end.atoms), end.atoms))
            stops.append((each.second, each.band.images[-1]))
            if len(stops) > 2:
                pairs = pairwise(stops)
                # A path from a minimum to another orientation of itself connects nothing.
                starts += [Start(i, j, a, b) for (i, a), (j, b) in pairs if i != j]
        return starts

    def _minimum(self, atoms: Atoms) -> int:
        """Return the index of a relaxed structure among the minima, to which it is added if it is new."""
        primitive = primitive_cell(atoms, SAME)
        evaluated = self.surface.evaluate([atoms], "intermediates")
        energy = (evaluated.energy[:, 0] + self.pressure * GPA * atoms.get_volume()) / len(atoms)
        for k, each in enumerate(self.minima):
            if abs(each.energy.mean() - energy.mean()) < EQUAL and same_crystal(each.atoms, primitive):
                return k
        number = sum(each.intermediate for each in self.minima) + 1
        symbol = space_group(primitive, SAME)[0].replace("/", "_")
        self.minima.append(Minimum(f"i{number}_{symbol}", primitive, energy, True))
        return len(self.minima) - 1


def intermediates(enthalpy: np.ndarray) -> list[int]:
    """Return the images of a band that are minima along it, at least `DEEP` below the highest points on both sides.

    Args:
        enthalpy: (images,) enthalpies per atom, eV.
    """
    result: list[int] = []
    for k in range(1, len(enthalpy) - 1):
        lower = enthalpy[k] <= enthalpy[k - 1] and enthalpy[k] < enthalpy[k + 1]
        before = enthalpy[(result[-1] if result else 0) : k].max(initial=-np.inf)
        if lower and enthalpy[k] + DEEP < min(before, enthalpy[k + 1 :].max()):
            result.append(k)
    return result
