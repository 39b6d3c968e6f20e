"""Results of a check, and their JSON data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.crystals.formula import formula_text
from nucleate.persist.json_data import SCHEMA, finite
from nucleate.polymorphs.stability.elastic import ElasticConstants, moduli
from nucleate.polymorphs.stability.free_energy import FreeEnergy, Transition
from nucleate.polymorphs.stability.leads import NewLead
from nucleate.polymorphs.stability.modes import ImaginaryMode
from nucleate.polymorphs.stability.phonons import BandPath, Frequencies
from nucleate.polymorphs.stability.prepared import Prepared, Unusable
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.spots import SpotCheck


@dataclass(frozen=True)
class PhononResult:
    """Phonons of a polymorph.

    Attributes:
        supercell: (3, 3) supercell, rows in units of the primitive vectors.
        atoms: number of atoms in the supercell.
        displacements: number of displaced supercells.
        path: band path.
        centre: frequencies at the zone centre.
        points: (n, 3) commensurate q points.
        commensurate: frequencies there.
        axis, density: (n,) frequencies in THz and density of states of the mean, in states per THz and primitive cell.
        imaginary: imaginary modes at commensurate q points.
        change: largest change of a frequency at the commensurate points in a longer supercell, THz; None: not calculated.
    """

    supercell: np.ndarray
    atoms: int
    displacements: int
    path: BandPath
    centre: Frequencies
    points: np.ndarray
    commensurate: Frequencies
    axis: np.ndarray
    density: np.ndarray
    imaginary: list[ImaginaryMode]
    change: float | None


@dataclass
class CheckedPolymorph:
    """Everything that is known of one polymorph; None: not calculated.

    Attributes:
        prepared: structure at the minimum of the surface.
        phonons: phonons.
        elastic: elastic constants.
        harmonic, quasi_harmonic: free energies.
        spot: error of the forces.
        leads: structures of lower energy, with the file of each.
    """

    prepared: Prepared
    phonons: PhononResult | None = None
    elastic: ElasticConstants | None = None
    harmonic: FreeEnergy | None = None
    quasi_harmonic: FreeEnergy | None = None
    spot: SpotCheck | None = None
    leads: list[tuple[NewLead, Path]] = field(default_factory=list)

    @property
    def free_energy(self) -> FreeEnergy | None:
        """Quasi-harmonic free energy, or else the harmonic one."""
        return self.quasi_harmonic or self.harmonic

    @property
    def polar(self) -> bool:
        """Whether optical modes have another frequency along the field of the ions if the crystal is an insulator."""
        return len(set(self.prepared.atoms.numbers.tolist())) > 1

    @property
    def verdict(self) -> str:
        """Answer of the check in one word or two; `not checked` if neither phonons nor elastic constants are known."""
        if self.phonons is not None and self.phonons.imaginary:
            return "imaginary modes"
        if self.elastic is not None and not self.elastic.stable:
            return "elastically unstable"
        return "stable" if self.phonons is not None or self.elastic is not None else "not checked"


@dataclass
class CheckResult:
    """Result of `nucleate.polymorphs.check.check`.

    Attributes:
        source: run folder or file.
        out: folder of the results.
        surface: name of the surface.
        surrogate: name of the surrogate that the surface is, or whose labels trained or tested it; None: no surrogate.
        spot_reference: name of the reference of the spot checks; None without any.
        members: number of members of the surface.
        pressure: external pressure, GPa.
        settings: settings.
        polymorphs: the polymorphs.
        unusable: structures that could not be relaxed.
        transitions: transitions between polymorphs, by index.
        calls: number of reference calls in the ledger of the check.
        trained: number of labels near the minima on which the committee was trained before; None: it was not.
    """

    source: Path
    out: Path
    surface: str
    surrogate: str | None
    spot_reference: str | None
    members: int
    pressure: float
    settings: CheckSettings
    polymorphs: list[CheckedPolymorph]
    unusable: list[Unusable]
    transitions: list[Transition]
    calls: int
    trained: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON data, with null in place of NaN; see docs/json.md."""
        names = [each.prepared.name for each in self.polymorphs]
        data = {
            "schema": SCHEMA,
            "source": str(self.source),
            "out": str(self.out),
            "surface": {"name": self.surface, "surrogate": self.surrogate is not None, "members": self.members},
            "spot_reference": self.spot_reference,
            "trained_labels": self.trained,
            "pressure": self.pressure,
            "calls": self.calls,
            "settings": self.settings.model_dump(mode="json"),
            "polymorphs": [_polymorph(each) for each in self.polymorphs],
            "unusable": [{"name": each.name, "reason": each.reason} for each in self.unusable],
            "transitions": [
                {
                    "below": names[each.low], "above": names[each.high], "temperature": each.temperature, "spread": each.spread,
                    "members": each.members, "of": each.of,
                }
                for each in self.transitions
            ],
        }  # fmt: skip
        return dict(finite(data))


def formula_of(atoms: Atoms) -> str:
    """Return the formula of a cell."""
    symbols = atoms.get_chemical_symbols()
    return formula_text({symbol: symbols.count(symbol) for symbol in dict.fromkeys(symbols)})


def _polymorph(each: CheckedPolymorph) -> dict[str, Any]:
    """Return the data of one polymorph."""
    p = each.prepared
    return {
        "name": p.name,
        "verdict": each.verdict,
        "formula": formula_of(p.atoms),
        "space_group": p.space_group,
        "space_group_number": p.number,
        "given_space_group": p.given_group,
        "same_crystal": p.same,
        "energy": float(p.energy.mean()),
        "energy_change": 1e3 * p.energy_change,
        "volume": p.atoms.get_volume() / len(p.atoms),
        "volume_change": p.volume_change,
        "fmax": p.fmax,
        "stop": p.stop,
        "phonons": None if each.phonons is None else _phonons(each.phonons, each.polar),
        "elastic": None if each.elastic is None else _elastic(each.elastic),
        "harmonic": None if each.harmonic is None else _curve(each.harmonic),
        "quasi_harmonic": None if each.quasi_harmonic is None else _curve(each.quasi_harmonic),
        "force_error": None
        if each.spot is None
        else {"structures": each.spot.structures, "rmse": each.spot.rmse, "largest": each.spot.largest, "forces": each.spot.forces},
        "leads": [
            {
                "file": str(path), "space_group": lead.space_group, "space_group_number": lead.number, "formula": formula_of(lead.atoms),
                "gain": 1e3 * lead.gain, "spread": None if lead.spread is None else 1e3 * lead.spread, "q": lead.mode.point.tolist(),
            }
            for lead, path in each.leads
        ],
    }  # fmt: skip


def _rounded(values: np.ndarray | None, digits: int = 4) -> Any:
    return None if values is None else np.round(values, digits).tolist()


def _phonons(found: PhononResult, polar: bool) -> dict[str, Any]:
    """Return the data of phonons, frequencies in THz."""
    path = found.path
    return {
        "supercell": found.supercell.tolist(),
        "atoms": found.atoms,
        "displacements": found.displacements,
        "splitting_left_out": polar,
        "zone_centre": _rounded(found.centre.mean[0]),
        "zone_centre_spread": None if found.centre.spread is None else _rounded(found.centre.spread[0]),
        "commensurate": {"q": _rounded(found.points), "frequencies": _rounded(found.commensurate.mean)}
        | {"spread": _rounded(found.commensurate.spread)},
        "change_in_longer_supercell": found.change,
        "imaginary": [
            {
                "q": mode.point.tolist(), "frequency": mode.frequency, "spread": mode.spread, "members": mode.members,
                "degeneracy": len(mode.bands),
            }
            for mode in found.imaginary
        ],
        "path": {
            "distances": _rounded(path.distances), "ticks": _rounded(path.ticks), "labels": path.labels,
            "frequencies": _rounded(path.frequencies.mean), "spread": _rounded(path.frequencies.spread),
        },
        "density_of_states": {"frequencies": _rounded(found.axis), "density": _rounded(found.density)},
    }  # fmt: skip


def _elastic(found: ElasticConstants) -> dict[str, Any]:
    """Return the data of elastic constants, GPa."""
    average = moduli(found.mean)
    return {
        "ions": "clamped" if found.relaxed is None else "relaxed",
        "constants": _rounded(found.mean, 3),
        "spread": _rounded(found.spread, 3),
        "clamped_ions": _rounded(found.clamped.mean(axis=0), 3),
        "eigenvalues": _rounded(found.eigenvalues, 3),
        "stable": found.stable,
        "stable_members": found.stable_members,
        "bulk_modulus": None if average is None else average.bulk,
        "shear_modulus": None if average is None else average.shear,
        "bulk_bounds": None if average is None else list(average.bulk_bounds),
        "shear_bounds": None if average is None else list(average.shear_bounds),
    }


def _curve(found: FreeEnergy) -> dict[str, Any]:
    """Return the data of a free energy, eV/atom and Å³/atom."""
    return {
        "temperatures": found.temperatures.tolist(),
        "free_energy": _rounded(found.mean, 7),
        "spread": _rounded(found.spread, 7),
        "zero_point": found.zero_point,
        "volumes": _rounded(found.volumes),
        "missing": found.missing or None,
    }
