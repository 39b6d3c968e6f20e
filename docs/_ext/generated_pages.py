"""Reference pages of settings and of the command line, written from the code before each build."""

import importlib
import re
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel

from nucleate.csp.run_settings import OF_THE_SEARCH, RunSettings
from nucleate.persist.toml import described

SETTINGS = [
    ("A search", "`run.toml`", "`nucleate search --settings run.toml`", [("", "nucleate.csp.run_settings:RunSettings")]),
    ("Training of potentials", "`train.toml`", "`nucleate train --settings train.toml`", [("", "nucleate.training.settings:FitSettings")]),
    (
        "Families of potentials",
        "Tables of options of each family",
        "`[model.options]` of a search, `[options]` of a training",
        [
            ("manybody, in a search the table `[model]` itself", "nucleate.potentials.settings:ModelSettings"),
            ("a2a", "nucleate.potentials.networks.a2a:A2ASettings"),
            ("molcnn", "nucleate.potentials.networks.molcnn:MolCNNSettings"),
            ("schnet", "nucleate.potentials.networks.schnet:SchNetSettings"),
            ("painn", "nucleate.potentials.networks.painn:PaiNNSettings"),
            ("soap-krr", "nucleate.potentials.soap_krr:SoapKrrSettings"),
        ],
    ),
    ("Executor file", "Where labels run", "`--executor slurm.toml`", [("", "nucleate.reference.cluster.settings:ExecutorSettings")]),
    (
        "Alloys on a lattice",
        "Table `[lattice]` beside `[reference]`",
        "`nucleate lattice compute --settings lattice.toml`",
        [("", "nucleate.lattice.compute:LatticeSettings")],
    ),
    (
        "Learned moves",
        "Training of a policy",
        "`nucleate train-moves --settings moves.toml`",
        [("", "nucleate.relax.learned.settings:MoveSettings")],
    ),
    (
        "Electrons",
        "Sampling and training",
        "`nucleate electrons sample`, `train`, `fit-start`",
        [
            ("Sampling", "nucleate.electrons.data.sampling:SampleSettings"),
            ("Training of the local density of states", "nucleate.electrons.model.training:ElectronTraining"),
            ("Training of the emulator", "nucleate.electrons.emulator.emulator:EmulatorTraining"),
        ],
    ),
    (
        "Spins",
        "Couplings, simulation and models of pairs",
        "`nucleate spins couple`, `simulate`, `train`",
        [
            ("Mapping of energies", "nucleate.spins.dft.mapping:MappingSettings"),
            ("Liechtenstein's formula", "nucleate.spins.dft.gpaw_liechtenstein:LiechtensteinSettings"),
            ("TB2J", "nucleate.spins.dft.espresso_tb2j:WannierSettings"),
            ("Simulation", "nucleate.spins.simulate.settings:SimulationSettings"),
            ("Models of pairs", "nucleate.spins.models.training:PairTraining"),
        ],
    ),
]


def plain(text: str) -> str:
    """Text in which Markdown changes nothing but `code`."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(part.replace("|", "\\|") if k % 2 else re.sub(r"([\\|<>*_\[\]$~{}])", r"\\\1", part) for k, part in enumerate(parts))


def code(text: str) -> str:
    """Code inside a cell of a table."""
    text = " ".join(text.split()).replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def required_fields(model: type[BaseModel], prefix: str = "") -> dict[str, tuple[str, str]]:
    """Dotted names of fields without a default, with type and description."""
    rows = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows |= required_fields(field.annotation, f"{prefix}{name}.")
        elif field.is_required():
            kind = field.annotation
            rows[prefix + name] = (kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind), field.description or "")
    return rows


def settings_page() -> str:
    """Every field of every settings model: name, type, default, description."""
    lines = ["# Settings", "", "Generated from the settings models. Every field is optional unless its default is `required`.", ""]
    for title, file, where, models in SETTINGS:
        lines += [f"## {title}", "", f"{file}: {where}.", ""]
        for heading, path in models:
            module, _, name = path.partition(":")
            model = getattr(importlib.import_module(module), name)
            required = required_fields(model)
            rows = [(name, shown, "required", text) for name, (shown, text) in required.items()]
            rows += described(model, left_out={*required, *(OF_THE_SEARCH if model is RunSettings else ())})
            if heading:
                lines += [f"### {heading}", ""]
            section = None
            for field, kind, default, text in rows:
                table, _, key = field.rpartition(".")
                if section != table:
                    lines += ["", f"**`[{table}]`**", ""] if table else [""]
                    lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
                    section = table
                shown = kind.replace("typing.", "").replace("nucleate.", "")
                lines.append(f"| {code(key)} | {code(shown)} | {code(default)} | {plain(text)} |")
            lines.append("")
    return "\n".join(lines) + "\n"


def verb_lines(command: Any, path: list[str]) -> list[str]:
    """Help of one verb and of the verbs below it."""
    lines = [f"{'#' * min(len(path), 4)} {' '.join(path)}", "", plain(command.help or ""), ""] if len(path) > 1 else []
    children = getattr(command, "commands", None)
    if children:
        for name in children:
            lines += verb_lines(children[name], [*path, name])
        return lines
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([*path, *((p.metavar or (p.name or "").upper()) for p in arguments), "[OPTIONS]"])
    lines += ["```text", usage, "```", ""]
    rows = [(p.metavar or (p.name or "").upper(), "", getattr(p, "help", None) or "") for p in arguments]
    for option in options:
        default = option.default
        shown = "" if default is None or default == () or callable(default) or "Sentinel" in repr(default) else str(default)
        rows.append((", ".join([*option.opts, *option.secondary_opts]), shown, option.help or ""))
    if rows:
        lines += ["| argument or option | default | meaning |", "|---|---|---|"]
        lines += [f"| {code(name)} | {code(shown) if shown else ''} | {plain(text)} |" for name, shown, text in rows]
    return [*lines, ""]


def cli_page() -> str:
    """Help of every verb."""
    app = importlib.import_module("nucleate.cli.app").app
    intro = "Generated from the program itself; `nucleate VERB --help` prints the same."
    return "\n".join(["# Command line", "", intro, "", *verb_lines(typer.main.get_command(app), ["nucleate"])]) + "\n"


def write(app: Any) -> None:
    """Write the pages where they changed."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("settings.md", settings_page()), ("cli.md", cli_page())):
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Register the hook with Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
