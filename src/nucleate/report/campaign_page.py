"""Page of a campaign: one HTML file that links to the reports of the searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nucleate.csp.systems.phases import Phase
from nucleate.report.hull_figures import hull_of_phases
from nucleate.report.pages import environment


@dataclass(frozen=True)
class HullOfPage:
    """A chemical system on the page.

    Attributes:
        symbols: its elements.
        missing: elements without a polymorph, without which there is no hull.
        phases: phases with their space groups.
    """

    symbols: tuple[str, ...]
    missing: tuple[str, ...]
    phases: tuple[tuple[Phase, str], ...]


def render_campaign(name: str, lines: Sequence[dict[str, Any]], total: dict[str, Any], hulls: Sequence[HullOfPage]) -> str:
    """Return the page as HTML.

    Args:
        name: name of the campaign.
        lines: entries `searches` of campaign.json.
        total: its entry `total`.
        hulls: its chemical systems.
    """
    return environment().get_template("campaign.html.j2").render(name=name, lines=lines, total=total, hulls=[_hull(hull) for hull in hulls])


def _hull(hull: HullOfPage) -> dict[str, Any]:
    shown = sorted(hull.phases, key=lambda item: (item[0].above, item[0].formula))
    figure = hull_of_phases([phase for phase, _ in hull.phases], hull.symbols) if hull.phases else None
    return {
        "name": "-".join(hull.symbols), "missing": hull.missing, "svg": None if figure is None else Markup(figure),
        "phases": [
            {"formula": phase.formula, "group": group, "formation": 1e3 * phase.formation, "above": 1e3 * phase.above}
            for phase, group in shown
        ],
    }  # fmt: skip
