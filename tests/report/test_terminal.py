"""Progress on a terminal and elsewhere."""

import io

from rich.console import Console
from rich.table import Table

from nucleate.csp.events import FolderOpened, LabelDone, PolymorphConfirmed, RoundDone, SearchFinished
from nucleate.csp.records import RoundRecord
from nucleate.progress import Step
from nucleate.report.live_search import SearchView
from nucleate.report.run_text import origin_lines, proof_line
from nucleate.report.terminal import make_console

EVENTS = [
    FolderOpened("Si8", "Si8", "chgnet", True, 9),
    Step("training the committee", 5, 5),
    LabelDone(0, "train", 1, None),
    LabelDone(0, "train", 2, "out of memory [/b]\nmore"),
    PolymorphConfirmed(-5.3, "Fd-3m", 8, 1),
    RoundDone(RoundRecord(1, 9, -5.3, {"converged": 3, "uncertain": 1}, 4, {"coverage": 0.75}, {}, {})),
    SearchFinished("all is known", 9),
]


def shown(terminal, quiet=False):
    stream = io.StringIO()
    with SearchView(Console(file=stream, force_terminal=terminal, width=100), quiet) as view:
        for event in EVENTS:
            view(event)
    assert view.folder == "Si8"
    return stream.getvalue()


def test_plain_lines_without_a_terminal():
    text = shown(False)
    assert "\x1b" not in text
    assert "  calculation failed: out of memory [/b]\n" in text
    assert "  confirmed Fd-3m, -5.3000 eV/atom, after 8 calls\n" in text
    assert "round 1: 9 calls; best -5.3000 eV/atom; 4 clusters; 75 % converged, 25 % uncertain; 75 % of the new labels" in text
    assert "training" not in text


def test_bars_on_a_terminal():
    assert "training the committee" in shown(True)


def test_quiet_is_quiet():
    assert shown(True, quiet=True) == ""


def test_a_proof_in_words():
    proof = {"stop": "converged", "difference": -0.0012, "steps": 6}
    assert "ends 1.20 meV/atom lower after 6 steps" in proof_line(proof)
    assert proof_line({**proof, "difference": -1e-9}).endswith("at the same energy after 6 steps")
    assert proof_line({"stop": "no convergence", "difference": None}) == "proof failed: no convergence"


def test_foreign_text_is_neither_markup_nor_obeyed(capsys):
    console = make_console()
    table = Table()
    table.add_column("[b]name[/b]")
    table.add_row("[/nothing] :smile: \x1b[31m")
    console.print(table)
    console.print("[red]x[/] \x1b]0;title\x07 \x9b31m \u202e", style="yellow")
    with SearchView(console) as view:
        view(SearchFinished("[/b]\x1b[2J", 9))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "[/nothing] :smile: \\x1b[31m" in text
    assert "[b]name[/b]" in text
    assert "[red]x[/]" in text
    assert "ended because [/b]\\x1b[2J" in text


def test_a_phase_is_no_markup():
    stream = io.StringIO()
    with SearchView(Console(file=stream, force_terminal=True, width=100)) as view:
        view(Step("ase:[/x] calculations", 1, 1))
    assert "[/x]" in stream.getvalue()


def test_a_result_from_known_crystals_or_a_teacher_is_named():
    def polymorph(rank, origin):
        return {"rank": rank, "origin": origin}

    data = {"hull": None, "teacher": None, "folder": "run", "polymorphs": [polymorph(1, "symmetric"), polymorph(2, "prototype")]}
    assert origin_lines(data) == []
    (line,) = origin_lines({**data, "polymorphs": [polymorph(1, "prototype")]})
    assert line.startswith("origin prototype (rank 1): a known structure type")
    assert line.endswith("--no-prototypes leaves such candidates out")
    (line,) = origin_lines({**data, "hull": {"phases": [1, 3]}, "polymorphs": [polymorph(1, "wyckoff"), polymorph(3, "wyckoff")]})
    assert line.startswith("origin wyckoff (ranks 1, 3): from the Wyckoff positions of known crystals")
    taught = {**data, "teacher": {}, "polymorphs": [polymorph(1, "known")]}
    assert origin_lines(taught) == ["origin known (rank 1): a minimum of the teacher; its generator is shown by: nucleate show run/teacher"]
