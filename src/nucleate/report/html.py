"""Report page of a search: one HTML file without external resources."""

from __future__ import annotations

import base64
import os
import re
from collections import Counter
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from nucleate.csp.result_files import cif_text
from nucleate.csp.run_data import RunData, lower_label_text, not_resolved_text, read_run, show_data, structure_name, wall_seconds
from nucleate.persist.files import write_whole
from nucleate.reference.ledger import MAGNETIC
from nucleate.report.drawing import draw_crystal, gradients
from nucleate.report.figures import PHASES, SIZES, all_figures, energy_name
from nucleate.report.hull_figures import hull_diagram
from nucleate.report.terminal import accurate_line, magnetic_line, minima_line, proof_line, surrogate_warning, teacher_lines

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
    target = run.path / "report.html"
    write_whole(target, render(run))
    return target


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return the jinja2 environment of the page."""
    environment = Environment(
        loader=PackageLoader("nucleate", "report"),
        autoescape=select_autoescape(["html", "j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    environment.filters["minus"] = lambda text: text.replace("-", "\N{MINUS SIGN}")
    environment.filters["symbol"] = symbol
    environment.filters["subscripts"] = subscripts
    environment.filters["subscripts_of_reaction"] = subscripts_of_reaction
    return environment


def render(run: RunData) -> str:
    """Return the page as HTML."""
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
    numbers = {int(z) for polymorph in ranking for z in polymorph.atoms.numbers}
    return _environment().get_template("report.html.j2").render(
        run=data,
        known_given=bool(run.settings.hull.known),
        diagram=Markup((hull_diagram(run) if run.settings.system is not None else None) or ""),
        polymorphs=polymorphs,
        energy=energy_name(run),
        size=SIZES[run.settings.dimensions],
        group={3: "Space", 2: "Layer", 0: "Point"}[run.settings.dimensions],
        gradients=Markup(gradients(numbers)),
        figures=[{**figure, "svg": Markup(figure["svg"])} for figure in all_figures(run)],
        failures=failures(run),
        purposes=purposes(run),
        warning=surrogate_warning(run.reference) if run.surrogate else None,
        accurate=accurate_line(run.state.accurate) if run.state.accurate else None,
        magnetic=magnetic_line(run.state.magnetic) if run.state.magnetic else None,
        has_moments=any(entry["magnetic_order"] is not None for entry in polymorphs),
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


def symbol(text: str) -> Markup:
    """Return the symbol of a space group as HTML, with bars for minus signs and subscripts for screw axes."""
    barred = re.sub(r"-(\d)", r'<span class="bar">\1</span>', str(escape(text)))
    return Markup(re.sub(r"_(\d)", r"<sub>\1</sub>", barred))


def subscripts(formula: str) -> Markup:
    """Return a formula as HTML with subscripts."""
    return Markup(re.sub(r"(\d+)", r"<sub>\1</sub>", str(escape(formula))))


def subscripts_of_reaction(text: str) -> Markup:
    """Return a reaction as HTML; numbers after a letter or parenthesis are subscripts, others are amounts."""
    return Markup(re.sub(r"(?<=[A-Za-z)])(\d+)", r"<sub>\1</sub>", str(escape(text))))


def duration(seconds: float) -> str:
    """Return a duration in s as text with a suitable unit."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
