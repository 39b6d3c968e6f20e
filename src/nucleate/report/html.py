"""Report page of a search: one HTML file without external resources."""

from __future__ import annotations

import base64
import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from nucleate.csp.result_files import cif_text
from nucleate.csp.run_data import RunData, lower_label_text, not_resolved_text, read_run, show_data, structure_name, wall_seconds
from nucleate.persist.files import write_whole
from nucleate.polymorphs.landscape_map import LandscapeMap, landscape_map
from nucleate.reference.ledger import MAGNETIC
from nucleate.report.drawing import draw_crystal, gradients
from nucleate.report.figures import PHASES, SIZES, all_figures, energy_name
from nucleate.report.hull_figures import hull_diagram
from nucleate.report.pages import environment, scripts
from nucleate.report.run_text import accurate_line, magnetic_line, minima_line, origin_lines, proof_line, surrogate_warning, teacher_lines

PICTURES = 24
"""Largest number of polymorphs with a picture."""


def write_report(path: Path | str | os.PathLike[str], running: bool | None = None) -> Path:
    """Write report.html of a run folder, read without its lock.

    Args:
        path: path of the folder.
        running: whether a process is working on the run; None checks its lock.

    Returns:
        The path of report.html.

    Raises:
        RunFolderError: the folder is not a run folder, was written by a newer version, or is damaged.
    """
    run = read_run(path, running)
    return write_page(run, landscape_map(run))


def write_page(run: RunData, charted: LandscapeMap | None) -> Path:
    """Write report.html of a run with its map, if it has one; return its path."""
    target = run.path / "report.html"
    write_whole(target, render(run, charted))
    return target


def render(run: RunData, charted: LandscapeMap | None) -> str:
    """Return the page of a run with its map as HTML."""
    data = show_data(run)
    ranking = run.state.ranking()
    polymorphs = []
    for k, polymorph in enumerate(ranking):
        entry = data["polymorphs"][k]
        cif = cif_text(polymorph.atoms)
        polymorphs.append(
            {
                **entry,
                "note": not_resolved_text(entry["not_resolved_from"], k + 1),
                "picture": Markup(draw_crystal(polymorph.atoms, molecular=bool(run.settings.molecules.molecule))) if k < PICTURES else "",
                "cif_name": f"{structure_name(k + 1, polymorph)}.cif",
                "cif": "data:chemical/x-cif;base64," + base64.b64encode(cif.encode()).decode(),
            }
        )
    couplings, coupling_figure = _couplings(run)
    numbers = {int(z) for polymorph in ranking for z in polymorph.atoms.numbers}
    return environment().get_template("report.html.j2").render(
        run=data,
        known_given=bool(run.settings.hull.known),
        diagram=Markup((hull_diagram(run) if run.settings.system is not None else None) or ""),
        polymorphs=polymorphs,
        energy=energy_name(run),
        size=SIZES[run.settings.dimensions],
        group={3: "Space", 2: "Layer", 0: "Point"}[run.settings.dimensions],
        gradients=Markup(gradients(numbers)),
        # The library is half a megabyte; a page without structures does not need it.
        scripts=scripts() if polymorphs else (),
        figures=[{**figure, "svg": Markup(figure["svg"])} for figure in all_figures(run, charted)],
        failures=failures(run),
        purposes=purposes(run),
        warning=surrogate_warning(run.reference) if run.surrogate else None,
        accurate=accurate_line(run.state.accurate) if run.state.accurate else None,
        magnetic=magnetic_line(run.state.magnetic) if run.state.magnetic else None,
        coupled=couplings,
        coupling_figure=coupling_figure,
        has_moments=any(entry["magnetic_order"] is not None for entry in polymorphs),
        origins=origin_lines(data),
        teacher=teacher_lines(run.teacher, run.state.base),
        proof=proof_line(run.state.proof) if run.state.proof else None,
        proof_settings=run.settings.search,
        lower=lower_label_text(data),
        minima=None if data["minima"] is None else minima_line(data["minima"]),
        toml=run.toml,
        toml_link="data:text/plain;base64," + base64.b64encode(run.toml.encode()).decode(),
        wall=wall_seconds(run.state),
        phases=PHASES,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )  # fmt: skip


def _couplings(run: RunData) -> tuple[list[dict[str, Any]], Markup | None]:
    """Return the couplings of magnetic polymorphs and their figure; none without a folder of them."""
    if not (run.path / "couplings").is_dir():
        return [], None
    # Spins need packages that a search does not.
    from nucleate.polymorphs.magnets import read_coupled
    from nucleate.report.coupling_figure import coupling_figure
    from nucleate.report.spins import polymorph_data

    coupled = read_coupled(run)
    return polymorph_data(coupled), Markup(coupling_figure(coupled)) if coupled else None


def failures(run: RunData) -> list[tuple[str, str, int]]:
    """Return (kind, message, count) of failed calculations, the most frequent first."""
    counts = Counter(
        (row.status, (row.reason or "no reason given").strip().splitlines()[0][:300])
        for row in run.rows
        if row.label is None and row.status not in ("running", "interrupted")
    )
    return [(kind, reason, count) for (kind, reason), count in counts.most_common(12)]


def purposes(run: RunData) -> list[dict[str, Any]]:
    """Return number and cost of the reference calls for each purpose."""
    names = {
        "known": "relaxing known phases",
        "molecule": "isolated molecules",
        "train": "first training set",
        "explore": "relaxed candidates of the pool",
        "confirm": "confirming polymorphs",
        "check": "softest-mode check",
        MAGNETIC: "magnetic orders",
        "proof": "proof of the best polymorph",
    }
    order = [*names, *sorted({row.purpose for row in run.rows} - set(names))]
    table = []
    for purpose in order:
        rows = [row for row in run.rows if row.purpose == purpose]
        if rows:
            failed = sum(row.label is None and row.status not in ("running", "interrupted") for row in rows)
            core = sum(row.core_seconds for row in rows)
            table.append({"name": names.get(purpose, purpose), "calls": len(rows), "failed": failed, "core": core})
    return table
