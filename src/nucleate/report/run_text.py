"""A search as text: the ranking as a table, and a line for each other result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nucleate.csp.run_data import lower_label_text, not_resolved_text
from nucleate.errors import quoted
from nucleate.pretrained import shown_name, title_of
from nucleate.report.terminal import plain


def surrogate_warning(engine: str) -> str:
    """Return the warning that results of a surrogate carry."""
    return f"{quoted(title_of(engine))} is a surrogate, not a reference: these results are not from first principles"


def ranking_table(data: dict[str, Any], top: int | None = None) -> Table:
    """Return a table of the polymorphs of `show_data`, lowest first, with sigma in meV/atom and the calls until confirmation."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    group = {3: "space group", 2: "layer group", 0: "point group"}[data["dimensions"]]
    size, unit = {3: ("volume", "Å³/atom"), 2: ("area", "Å²/atom"), 0: ("extent", "extent, Å")}[data["dimensions"]]
    above = "meV/atom" if data["hull"] is None else "above hull, meV/atom"
    for name, right in (
        ("#", True), ("formula", False), ("atoms", True), (group, False), (above, True),
        (unit, True), ("sigma", True), ("check", False), ("origin", False), ("calls", True),
    ):  # fmt: skip
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    magnetic = any(p["magnetic_order"] is not None for p in data["polymorphs"])
    if magnetic:
        table.add_column("order")
        table.add_column("moment, μB", justify="right")
    winners = winning_ranks(data)
    for p in data["polymorphs"][:top]:
        cells = (
            p["rank"], p["formula"], p["atoms"], named_group(p), f"{p['above_best']:.1f}",
            f"{p[size]:.2f}", "" if p["sigma"] is None else f"{p['sigma']:.1f}", p["check"], p["origin"], p["calls"],
            *((p["magnetic_order"] or "", "" if p["moment"] is None else f"{p['moment']:.2f}") if magnetic else ()),
        )  # fmt: skip
        table.add_row(
            *(Text(plain(cell)) for cell in cells),
            style="green" if p["rank"] in winners else None,
        )  # fmt: skip
    return table


def winning_ranks(data: dict[str, Any]) -> list[int]:
    """Return the ranks of the result of `show_data`: the lowest polymorph, or the phases on the hull."""
    return [1] if data["hull"] is None else list(data["hull"]["phases"])


ORIGINS = {
    "prototype": "a known structure type with these elements; --no-prototypes leaves such candidates out",
    "wyckoff": "from the Wyckoff positions of known crystals; --no-prototypes leaves such candidates out",
}
"""Meaning of the origins of candidates from known crystals."""


def origin_lines(data: dict[str, Any]) -> list[str]:
    """Return lines on the result of a search as far as it comes from known crystals or from a teacher."""
    meanings = dict(ORIGINS)
    if data["teacher"] is not None:
        meanings["known"] = f"a minimum of the teacher; its generator is shown by: nucleate show {Path(data['folder']) / 'teacher'}"
    winners = winning_ranks(data)
    lines = []
    for origin, meaning in meanings.items():
        ranks = [p["rank"] for p in data["polymorphs"] if p["rank"] in winners and p["origin"] == origin]
        if ranks:
            lines.append(f"origin {origin} (rank{'' if len(ranks) == 1 else 's'} {', '.join(map(str, ranks))}): {meaning}")
    return lines


def named_group(polymorph: dict[str, Any]) -> str:
    """Return symbol and number of the space or layer group of a polymorph, or the symbol of its point group."""
    symbol = str(polymorph["space_group"])
    return symbol if polymorph["extent"] is not None else f"{symbol} ({polymorph['space_group_number']})"


def show_run(data: dict[str, Any], console: Console, top: int | None = None, watched: bool = False) -> None:
    """Print the ranking and state of a run; `watched`: leave out the lines that `SearchView` printed during the search."""

    def say(text: str, style: str | None = None) -> None:
        console.print(plain(text), style=style, soft_wrap=True, highlight=False, markup=False)

    reference = data["reference"]
    state = {"finished": "finished", "running": "running now", "stopped": "stopped"}[data["status"]]
    failed = sum(n for status, n in data["calls_by_status"].items() if status not in ("ok", "running", "interrupted"))
    line = f"{data['formula']} on {shown_name(reference['name'])}"
    if data["pressure"]:
        line += f" at {data['pressure']:g} GPa"
    line += f": {state}, {data['calls']} of {data['budget']} reference calls"
    if failed:
        line += f" ({failed} failed)"
    if data["found_labels"]:
        line += f", {data['found_labels']} more found in the shared ledger"
    if data["round"]:
        line += f", {data['round']} round{'' if data['round'] == 1 else 's'}"
    say(line)
    if data["blocks"] is not None:
        say(blocks_line(data["blocks"]))
    if not watched:
        for text in teacher_lines(data["teacher"], data["teacher_error"]):
            say(text)
    if data["finished"] and not watched:
        say(f"ended because {data['finished']}")
    if reference["surrogate"]:
        say(surrogate_warning(reference["name"]), "yellow")
    if data["polymorphs"]:
        best = data["polymorphs"][0]
        kind = "enthalpy" if data["pressure"] else "energy"
        console.print()
        console.print(ranking_table(data, top))
        left = len(data["polymorphs"]) - (top or len(data["polymorphs"]))
        if left > 0:
            say(f"and {left} more: nucleate show {data['folder']}")
        if data["hull"] is None:
            say(f"\n{kind} of rank 1: {best['energy']:.6f} eV/atom")
            if best["lattice_energy"] is not None:
                say(f"lattice energy of rank 1: {best['lattice_energy']:.1f} kJ/mol of formula units, without vibrations")
        else:
            say("")
            for text in hull_lines(data):
                say(text)
        for text in origin_lines(data):
            say(text)
        if data["minima"] is not None:
            say(minima_line(data["minima"]))
        for p in data["polymorphs"][:top]:
            if p["compound"] is not None:
                say(f"rank {p['rank']} is another compound: it consists of {p['compound']}", "yellow")
            for text in order_lines(p):
                say(text)
            text = not_resolved_text(p["not_resolved_from"], p["rank"])
            if text:
                line = f"rank {p['rank']} is {text}: closer than {data['resolution']:g} meV/atom"
                say(line)
        lower = lower_label_text(data)
        if lower:
            say(lower, "yellow")
    else:
        say("no polymorph is confirmed yet")
    if data["magnetic"] is not None and not watched:
        say(magnetic_line(data["magnetic"]))
    for text in data["warnings"] if data["hull"] is None and not watched else ():
        say(text, "yellow")
    if data["accurate"] is not None and not watched:
        say(accurate_line(data["accurate"]))
    for p in data["confirmed_in_this_round"]:
        say(f"confirmed in the current round: {p['space_group']} {p['energy']:.6f} eV/atom")
    proof = data["proof"]
    if proof is not None and not watched:
        say(proof_line(proof))
    if data["status"] == "stopped":
        say(f"resume with: nucleate resume {data['folder']}")


def order_lines(polymorph: dict[str, Any]) -> list[str]:
    """Return a line with the energies of the magnetic orders of a polymorph, lowest first, none if no order was tried."""
    orders = sorted(polymorph["magnetic_orders"], key=lambda order: (order["energy"] is None, order["energy"]))
    parts = []
    for order in orders:
        if order["energy"] is None:
            parts.append(f"{order['name']} not calculated ({order['failure']})")
            continue
        ended = "" if order["ended"] in (order["name"], None) else f", ended as {order['ended']}"
        parts.append(f"{order['name']} +{order['above_lowest']:.1f}{ended}")
    return [f"rank {polymorph['rank']}, magnetic orders in meV/atom: {'; '.join(parts)}"] if parts else []


def magnetic_line(magnetic: dict[str, Any]) -> str:
    """Return a line with the cost of the magnetic orders."""
    if not magnetic["tried"]:
        return "no magnetic orders beside that of the search were tried"
    number, changed = magnetic["tried"], magnetic["changed"]
    text = f"magnetic orders of {number} polymorph{'' if number == 1 else 's'}, {magnetic['calls']} calls"
    text += f" ({magnetic['failed']} failed)" if magnetic["failed"] else ""
    if not changed:
        return f"{text}; no relaxed order is below that of the search"
    return f"{text}; another order than that of the search is lower for {changed}"


def hull_lines(data: dict[str, Any]) -> list[str]:
    """Return lines on the phases of a chemical system: formation energies, reactions, and what must be known about them."""
    hull = data["hull"]
    missing = hull["missing"]
    lines = (
        [f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not confirmed yet: the hull is not complete"] if missing else []
    )
    for rank in hull["phases"]:
        p = data["polymorphs"][rank - 1]
        phase = p["hull"]
        text = f"{phase['formula']} ({p['space_group']}) is on the hull"
        if phase["gain"] is not None:
            text += f": formation {phase['formation_energy']:.1f} meV/atom, {phase['gain']:.1f} +- {phase['error']:.1f} meV/atom against "
            text += phase["reaction"].partition(" -> ")[2]
        lines.append(text + (f"; known: {p['known']}" if p["known"] else ""))
    lines += [
        f"too large for the search (at most {hull['max_atoms']} atoms), but on the hull diagram: {name}" for name in hull["too_large"]
    ]
    lines += [f"known phase left out: {text}" for text in hull["left_out"]]
    return lines + hull["warnings"]


def show_runs(data: dict[str, Any], console: Console) -> None:
    """Print the polymorphs of several searches side by side; `data` is the result of `side_by_side`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("space group", "atoms"):
        table.add_column(name, justify="right" if name == "atoms" else "left")
    for run in data["runs"]:
        table.add_column(plain(f"{Path(run['folder']).name}: {shown_name(run['reference'])}"), justify="right")
    for row in data["polymorphs"]:
        cells = ["" if above is None else f"{above:.1f} (#{rank})" for above, rank in zip(row["above"], row["ranks"], strict=True)]
        table.add_row(*(Text(plain(cell)) for cell in (row["space_group"], str(row["atoms"]), *cells)))
    console.print(table)
    text = "meV/atom above the lowest polymorph of each search, with its rank there; empty: not found"
    console.print(plain(text), soft_wrap=True, highlight=False, markup=False)


def minima_line(minima: dict[str, Any]) -> str:
    """Return how complete the minima within the window are."""
    counts = f"random candidates have ended in them {sum(minima['met'])} times"
    return (
        f"{minima['found']} minima within {minima['window']:g} meV/atom; {counts}; probability that the next one is in an unseen minimum: "
        f"{100 * minima['unseen']:.0f} %; expected number of minima: at least {minima['expected']:.1f}"
    )


def teacher_lines(teacher: dict[str, Any] | None, judged: dict[str, Any] | None) -> list[str]:
    """Return lines on the teacher: the cost of its search, and its deviation from the first labels of the reference."""
    lines = []
    if teacher is not None:
        lowest = ", ".join(f"{group}" for group, _ in teacher["minima"][:5]) or "none"
        lines.append(
            f"teacher {shown_name(teacher['name'])}: {teacher['evaluations']} evaluations ({teacher['core_seconds']:.0f} core-s, "
            f"{teacher['seconds']:.0f} s in all), which are not reference calls; its lowest minima: {lowest}"
        )
    if judged is not None:
        text = f"{shown_name(judged['source'])} deviates from {judged['labels']} labels by {1e3 * judged['energy']:.0f} meV/atom "
        text += f"(after a shift) and {judged['force']:.2f} eV/Å"
        lines.append(text + ("" if judged["kept"] else "; the search goes on without it"))
    return lines


def blocks_line(blocks: dict[str, Any]) -> str:
    """Return how much core time the jobs of a cluster took, and how much of it labels used."""
    count = blocks["count"]
    text = f"{count} block{'' if count == 1 else 's'} on the cluster"
    now = [f"{blocks[state]} {state}" for state in ("running", "waiting") if blocks[state]]
    if now:
        text += f" ({', '.join(now)})"
    text += f": {blocks['core_seconds'] / 3600:.2f} core-hours, of them {blocks['label_core_seconds'] / 3600:.2f} in labels"
    return text if blocks["idle_share"] is None else f"{text} ({100 * blocks['idle_share']:.0f} % idle)"


def accurate_line(accurate: dict[str, Any]) -> str:
    """Return a line with the cost of the accurate energies."""
    if not accurate.get("ranked", True):
        return f"{accurate['failed']} of {accurate['calls']} calculations with the preset accurate failed: the order is that of the search"
    text = f"order of the lowest polymorphs from {accurate['calls']} calculations with the preset accurate"
    if accurate["relaxed"]:
        text += f", {accurate['relaxed']} polymorphs relaxed again"
    return text + (f" ({accurate['failed']} failed)" if accurate["failed"] else "")


def proof_line(proof: dict[str, Any]) -> str:
    """Return a line with the result of the relaxation of the lowest polymorph on the reference alone."""
    if proof.get("difference") is None:
        return f"proof failed: {proof['stop']}"
    how = "" if proof["stop"] == "converged" else f" ({proof['stop']})"
    difference = round(1e3 * proof["difference"], 2)
    phases = proof.get("phases", 1)
    where = f"{abs(difference):.2f} meV/atom {'lower' if difference < 0 else 'higher'}" if difference else "at the same energy"
    if phases > 1:
        most = "all at the same energy" if not difference else f"the least well confirmed {where}"
        return f"proof: relaxed on the reference alone, {phases} phases of the hull end {most} after {proof['steps']} steps in all{how}"
    return f"proof: relaxed on the reference alone, the lowest polymorph ends {where} after {proof['steps']} steps{how}"


def round_line(record: dict[str, Any]) -> str:
    """Return one line that summarises a round."""
    parts = [f"round {record['round']}: {record['calls']} calls"]
    if record["phases"] is not None:
        parts.append("an end member is not confirmed" if not record["phases"] else f"{record['phases']} phases on the hull")
    else:
        parts.append("none confirmed" if record["best"] is None else f"best {record['best']:.4f} eV/atom")
    if record["clusters"]:
        parts.append(f"{record['clusters']} clusters")
    total = sum(record["stops"].values())
    if total:
        stops = sorted(record["stops"].items(), key=lambda item: -item[1])
        parts.append(", ".join(f"{100 * n / total:.0f} % {stop}" for stop, n in stops))
    coverage = record["calibration"].get("coverage")
    if coverage is not None:
        parts.append(f"{100 * coverage:.0f} % of the new labels within the 90 % interval")
    return "; ".join(parts)
