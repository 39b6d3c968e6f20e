"""Output files of a search: a CIF file for each polymorph, an extended XYZ file of all, and a CSV table of the ranking."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ase import Atoms

from nucleate.crystals.cif_writing import symmetric_cif
from nucleate.csp.records import Polymorph
from nucleate.csp.run_data import RunData, show_data, structure_name
from nucleate.fingerprints.matching import standard_cell
from nucleate.persist.files import write_whole
from nucleate.units import GPA

COLUMNS = (
    "rank", "formula", "atoms", "space_group", "space_group_number", "energy", "above_best", "volume",
    "sigma", "not_resolved_from", "fmax", "smax", "origin", "found", "calls", "own_calls", "round", "reference", "file",
)  # fmt: skip
HULL_COLUMNS = ("phase", "formation_energy", "reaction", "gain", "known")
"""Further columns for a chemical system."""
MOLECULE_COLUMNS = ("lattice_energy", "compound")
"""Further columns for molecular crystals."""
LAYER_COLUMNS = ("area", "thickness")
"""Further columns for layers."""
CLUSTER_COLUMNS = ("extent",)
"""Further columns for clusters."""
MAGNETIC_COLUMNS = ("magnetic_order", "moment", "net_moment")
"""Further columns for a reference with magnetic moments."""
IDEAL = 1e-3
"""Distance in Å within which the symmetry of an idealised cell holds."""
UNITS = {
    "energy": "eV/atom", "above_best": "meV/atom", "volume": "A^3/atom", "sigma": "meV/atom",
    "fmax": "eV/A", "smax": "GPa", "formation_energy": "meV/atom", "gain": "meV/atom",
    "lattice_energy": "kJ/mol", "area": "A^2/atom", "thickness": "A", "extent": "A",
    "moment": "mu_B", "net_moment": "mu_B/atom",
}  # fmt: skip


def cif_text(atoms: Atoms) -> str:
    """Return a CIF of the idealised conventional cell: a crystal with its space group, a layer or a cluster with all atoms in P 1."""
    standard = standard_cell(atoms)
    text = symmetric_cif(standard, IDEAL) if all(atoms.pbc) else None
    if text is not None:
        return text
    import ase.io

    stream = io.BytesIO()
    ase.io.write(stream, standard, format="cif")
    return stream.getvalue().decode()


def write_structures(run: RunData) -> list[Path]:
    """Write structures/*.cif and structures/all.extxyz in place of earlier files; return their paths."""
    folder = run.path / "structures"
    folder.mkdir(exist_ok=True)
    ranking = run.state.ranking()
    written = []
    for k, polymorph in enumerate(ranking):
        path = folder / f"{structure_name(k + 1, polymorph)}.cif"
        write_whole(path, cif_text(polymorph.atoms))
        written.append(path)
    stream = io.StringIO()
    if ranking:
        import ase.io

        ase.io.write(
            stream,
            [_described(k + 1, polymorph, run) for k, polymorph in enumerate(ranking)],
            format="extxyz",
        )
        write_whole(folder / "all.extxyz", stream.getvalue())
        written.append(folder / "all.extxyz")
    # Files of the previous ranking are removed only after the new ones are complete.
    for old in folder.iterdir():
        if old not in written and old.suffix in (".cif", ".extxyz", ".part"):
            old.unlink()
    return written


def _described(rank: int, polymorph: Polymorph, run: RunData) -> Atoms:
    """Return the relaxed structure of a polymorph, not symmetrised, with its reference energy and data."""
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = polymorph.atoms.copy()
    energy = polymorph.energy * len(atoms) - run.settings.pressure * GPA * atoms.get_volume()
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    atoms.info.update(
        rank=rank,
        space_group=polymorph.space_group,
        enthalpy_per_atom=polymorph.energy,
        pressure_GPa=run.settings.pressure,
        sigma=polymorph.sigma,
        origin=polymorph.origin,
        reference=run.reference,
    )
    return atoms


def write_table(run: RunData) -> Path:
    """Write table.csv with one line per polymorph and units in the heading; return its path."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    data = show_data(run)
    columns = [*COLUMNS]
    for wanted, more in (
        (data["hull"] is not None, HULL_COLUMNS),
        (data["molecules"] is not None, MOLECULE_COLUMNS),
        (data["dimensions"] == 2, LAYER_COLUMNS),
        (data["dimensions"] == 0, CLUSTER_COLUMNS),
        (bool(run.settings.reference.magnetic_moments), MAGNETIC_COLUMNS),
    ):
        columns += more if wanted else ()
    # Under pressure the energies are enthalpies.
    shown = {"energy": "enthalpy"} if run.settings.pressure else {}
    writer.writerow([f"{shown.get(name, name)} ({UNITS[name]})" if name in UNITS else name for name in columns])
    for polymorph in data["polymorphs"]:
        cells = dict(polymorph, reference=run.reference, not_resolved_from=" ".join(map(str, polymorph["not_resolved_from"])))
        if data["hull"] is not None:
            place = polymorph["hull"] or dict.fromkeys(("formula", "formation_energy", "reaction", "gain"))
            cells.update(phase=place["formula"], **{name: place[name] for name in ("formation_energy", "reaction", "gain")})
        writer.writerow([f"{x:.6f}" if isinstance(x, float) else x for x in (cells[name] for name in columns)])
    path = run.path / "table.csv"
    write_whole(path, stream.getvalue())
    return path
