"""Results of benchmarks as text."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from nucleate.pretrained import shown_name
from nucleate.report.terminal import make_console


def span_text(ends: list[float | None] | None) -> str:
    """Return an interval as text; None means infinite."""
    if ends is None or ends[0] is None:
        return ""
    return f"{ends[0]:.0f}-{ends[1]:.0f}" if ends[1] is not None else f"above {ends[0]:.0f}"


def benchmark_cells(result: dict[str, Any]) -> tuple[str, str, str]:
    """Return expected calls to a hit, their interval and the ratio to those of nucleate as text."""
    ert = result.get("ert_at_least", result["ert"])
    least = "at least " if result["ert"] is None else ""
    ratio = f"{result['ratio']:.1f}" if result.get("ratio") else ""
    return "no hit" if ert is None else f"{least}{ert:.0f}", span_text(result.get("interval")), ratio


def show_benchmark(report: dict[str, Any]) -> None:
    """Print the results of `nucleate benchmark search`; see docs/json.md."""
    console = make_console()
    aim = report["target"]
    console.print(
        f"{report['system']} on {shown_name(report['reference'])}, {aim['space_group']}; lowest known energy {aim['lowest']:.4f} eV/atom"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "hit", "hits", "expected calls to a hit", "95 % interval", "times nucleate's"):
        table.add_column(name, justify="left" if name in ("", "hit") else "right")
    for name, summary in report.items():
        if not isinstance(summary, dict) or "ert" not in summary:
            continue
        trials = summary.get("seeds", summary.get("confirmed", summary.get("cells")))
        for definition, result in (("named crystal", summary), ("lowest energy", summary.get("low"))):
            if result is not None:
                first = name.replace("_", " ") if definition == "named crystal" else ""
                table.add_row(first, definition, f"{result['hits']} of {trials}", *benchmark_cells(result))
    console.print(table)
    for limit, success in report["nucleate"]["success"].items():
        low, high = (100 * bound for bound in success["interval"])
        text = f"named crystal within {limit} calls: {100 * success['share']:.0f} % of seeds (95 % interval {low:.0f}-{high:.0f} %)"
        console.print(text, highlight=False)
