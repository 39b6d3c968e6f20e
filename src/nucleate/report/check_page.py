"""Page of a check: one HTML file without external resources."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms
from markupsafe import Markup

from nucleate.crystals.formula import formula_text
from nucleate.persist.files import write_whole
from nucleate.polymorphs.stability.results import CheckedPolymorph, CheckResult
from nucleate.polymorphs.stability.supercells import composition
from nucleate.report.check import (
    TEXT,
    bands_figure,
    density_figure,
    elastic_cells,
    facts,
    free_energy_figure,
    headline,
    remarks,
    table_of,
    warnings_of,
)
from nucleate.report.pages import environment, subscripts, symbol


def write_check_page(result: CheckResult) -> Path:
    """Write check.html to the folder of a check; return its path.

    Raises:
        StorageFailed: the file could not be written.
    """
    path = result.out / "check.html"
    write_whole(path, render(result))
    return path


def render(result: CheckResult) -> str:
    """Return the page as HTML."""
    groups: dict[tuple[tuple[str, int], ...], list[CheckedPolymorph]] = {}
    for each in result.polymorphs:
        groups.setdefault(composition(each.prepared.atoms), []).append(each)
    curves = [
        {"formula": subscripts(_reduced(own[0].prepared.atoms, dict(key))), "svg": Markup(svg)}
        for key, own in groups.items()
        if (svg := free_energy_figure(own)) is not None
    ]
    columns, rows = table_of(result)
    return (
        environment()
        .get_template("check.html.j2")
        .render(
            name=result.source.name or str(result.source.resolve().name),
            headline=headline(result),
            warnings=warnings_of(result),
            facts=facts(result),
            columns=columns,
            text_columns=TEXT,
            rows=rows,
            remarks=remarks(result),
            curves=curves,
            quasi_harmonic=result.settings.quasi_harmonic,
            polymorphs=[_section(each) for each in result.polymorphs],
            strains=("xx", "yy", "zz", "yz", "xz", "xy"),
            pressure=result.pressure,
        )
    )


def _reduced(atoms: Atoms, counts: dict[str, int]) -> str:
    """Return a reduced formula with the elements in the order of a structure."""
    return formula_text({symbol: counts[symbol] for symbol in dict.fromkeys(atoms.get_chemical_symbols())})


def _section(each: CheckedPolymorph) -> dict[str, object]:
    """Return title, figures and elastic constants of one polymorph."""
    figures = []
    if each.phonons is not None:
        count = each.phonons.displacements
        text = (
            f"Supercell of {each.phonons.atoms} atoms, {count} displacement{'' if count == 1 else 's'}; imaginary frequencies are negative."
        )
        figures = [
            {"title": "Phonons", "words": text, "svg": Markup(bands_figure(each))},
            {"title": "Density of states", "words": "", "svg": Markup(density_figure(each))},
        ]
    return {
        "name": each.prepared.name,
        "symbol": symbol(each.prepared.space_group),
        "verdict": each.verdict,
        "figures": figures,
        "elastic": elastic_cells(each),
        "clamped": each.elastic is not None and each.elastic.relaxed is None,
    }
