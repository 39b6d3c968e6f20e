"""Terminal output: the ranking as a table, and the progress of a search."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from nucleate.csp.events import (
    FolderOpened,
    LabelDone,
    MagneticDone,
    MoleculeFitted,
    PolymorphChecked,
    PolymorphConfirmed,
    ProofDone,
    RankedAccurately,
    RoundDone,
    SearchFinished,
    SearchResumed,
    TeacherBegins,
    TeacherDone,
    TeacherJudged,
)
from nucleate.csp.run_data import lower_label_text, not_resolved_text
from nucleate.errors import quoted
from nucleate.pretrained import shown_name, title_of
from nucleate.processes.interrupts import check
from nucleate.progress import Event, Note, Step


def surrogate_warning(engine: str) -> str:
    """Return the warning that results of a surrogate carry."""
    return f"{quoted(title_of(engine))} is a surrogate, not a reference: these results are not from first principles"


def plain(text: object) -> str:
    """Return external text without control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in str(text))


class PlainConsole(Console):
    """Console without markup, emoji and control characters; colours are given as `style`.

    It raises `BrokenPipeError` if the reader has closed the stream, as other streams do, and never ends the program itself.
    """

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Remove control characters from every string that is printed, including cells of tables."""
        return super().render_str(plain(text), **options)

    def on_broken_pipe(self) -> None:
        """Raise `BrokenPipeError`."""
        raise BrokenPipeError


def make_console(stderr: bool = False) -> Console:
    """Return a console that does not truncate tables in a pipe and interprets no markup."""
    console = PlainConsole(stderr=stderr)
    return console if console.is_terminal else PlainConsole(stderr=stderr, width=200)


class Bar:
    """Progress bars, one for each phase, shown on a terminal only."""

    def __init__(self, console: Console, quiet: bool):
        self._show = console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=28), TextColumn("{task.percentage:.0f} %"),
            TimeElapsedColumn(), console=console, transient=True,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Bar:
        if self._show:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._show:
            self._progress.stop()

    def __call__(self, event: Event, /) -> None:
        """Update the bar of the phase of a `Step`; print a `Note` to stderr; raise an interrupt that has been discarded on the way."""
        check()
        if isinstance(event, Note):
            print(plain(event.text), file=sys.stderr)
        elif isinstance(event, Step) and self._show:
            task = self._tasks.get(event.phase)
            if task is None:
                task = self._tasks[event.phase] = self._progress.add_task(plain(event.phase), total=event.total)
            self._progress.update(task, completed=event.done)


def ranking_table(data: dict[str, Any], top: int | None = None) -> Table:
    """Return a table of the polymorphs of `show_data`, lowest first, with sigma in meV/atom and the calls until confirmation."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    group = {3: "space group", 2: "layer group", 0: "point group"}[data["dimensions"]]
    size, unit = {3: ("volume", "Å³/atom"), 2: ("area", "Å²/atom"), 0: ("extent", "extent, Å")}[data["dimensions"]]
    above = "meV/atom" if data["hull"] is None else "above hull"
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


class SearchView:
    """Progress of a search on a console: bars on a terminal, lines elsewhere, nothing when quiet.

    Use as a context, and pass the view itself as `progress` of the search.
    """

    def __init__(self, console: Console, quiet: bool = False):
        self.console = console
        self.quiet = quiet
        self.folder: str | None = None
        self._live = console.is_terminal and not quiet
        self._bar: Progress | None = None
        self._task: Any = None
        self._phase: str | None = None
        self._shown = 0.0

    def __enter__(self) -> SearchView:
        if self._live:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(bar_width=28), MofNCompleteColumn(),
                TimeElapsedColumn(), console=self.console, transient=True,
            )  # fmt: skip
            self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, event: Event, /) -> None:
        """Show one event of the search."""
        if isinstance(event, FolderOpened):
            self.folder = event.path
        if self.quiet:
            return
        if isinstance(event, Step):
            self._update(event)
        else:
            text, style = event_line(event)
            if text:
                self.console.print(plain(text), style=style, highlight=False, markup=False, soft_wrap=True)

    def _update(self, step: Step) -> None:
        if self._bar is None:
            return
        if step.phase != self._phase:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._phase = self._bar.add_task(plain(step.phase), total=step.total), step.phase
        now = time.monotonic()
        # Redrawing the bar at each of a thousand training steps would cost time.
        if step.done >= step.total or now - self._shown > 0.1:
            self._shown = now
            self._bar.update(self._task, completed=step.done, total=step.total)


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


def event_line(event: Event) -> tuple[str, str | None]:
    """Return the line that reports an event of a search, empty for none, and its style."""
    match event:
        case FolderOpened():
            text = f"searching {event.formula} on {shown_name(event.reference)}, at most {event.budget} calls, in {event.path}"
            return (f"{text}\n{surrogate_warning(event.reference)}" if event.surrogate else text), None
        case Note():
            return event.text, "yellow"
        case TeacherBegins():
            return f"first searching {event.name}, at most {event.budget} evaluations, which are not reference calls", None
        case TeacherDone():
            return teacher_lines(event.facts(), None)[0], None
        case TeacherJudged():
            return teacher_lines(None, event.facts())[0], None if event.kept else "yellow"
        case MoleculeFitted():
            how = "relaxed alone" if event.relaxed else "alone"
            text = f"{event.formula} {how}: {event.energy:.4f} eV, bonds and angles fitted to {event.error:.2f} eV/Å, {event.calls} calls"
            return text, None
        case SearchResumed():
            return f"resumed after round {event.round}, {event.calls} calls", None
        case LabelDone(failed=str(failed)):
            reason = failed.strip().splitlines() or ["no reason given"]
            return f"  calculation failed: {reason[0]}", "yellow"
        case PolymorphConfirmed():
            return f"  confirmed {event.space_group}, {event.energy:.4f} eV/atom, after {event.calls} calls", "green"
        case PolymorphChecked(check="saddle"):
            return f"  {event.space_group}, {event.energy:.4f} eV/atom, is a saddle: the search continues below it", "yellow"
        case PolymorphChecked():
            return f"  checked {event.space_group}, {event.energy:.4f} eV/atom: {event.check}", None
        case RoundDone():
            return round_line(event.facts()), None
        case SearchFinished():
            return f"ended because {event.why}", None
        case MagneticDone():
            return magnetic_line(event.facts()), None
        case RankedAccurately():
            return accurate_line(event.facts()), None
        case ProofDone():
            return proof_line(event.facts()), None
    return "", None
