"""Code samples in the pages: settings validate, command lines parse, names of Python samples exist. Nothing is run.

Every fenced block names its language. A comment directly above a block changes how it is checked:

    <!-- settings: couple -->     the command that reads a TOML block, if its tables do not show it
    <!-- unchecked: reason -->    the block cannot be checked

Pages that are only read on the site may write `% settings: couple` instead.
"""

import ast
import importlib
import inspect
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from pydantic import BaseModel

from nucleate.cli.app import app
from nucleate.csp.run_settings import RunSettings, settings_from_dict
from nucleate.electrons.data.sampling import SampleSettings
from nucleate.electrons.emulator.emulator import EmulatorTraining
from nucleate.electrons.model.training import ElectronTraining
from nucleate.errors import BadInput
from nucleate.lattice.compute import LatticeSettings
from nucleate.persist.toml import validated
from nucleate.potentials.families import family_settings
from nucleate.reference.cluster.settings import cluster_settings
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.learned.settings import MoveSettings
from nucleate.spins.dft.espresso_tb2j import WannierSettings
from nucleate.spins.dft.mapping import MappingSettings
from nucleate.spins.dft.response_settings import LiechtensteinSettings
from nucleate.spins.models.training import PairTraining
from nucleate.spins.simulate.settings import SimulationSettings
from nucleate.training.run import resolve
from nucleate.training.settings import FitSettings

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("docs/_build/", "docs/reference/generated/")
PATTERNS = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "benchmarks/**/*.md")
PAGES = [
    name
    for pattern in PATTERNS
    for name in sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))
    if not name.startswith(GENERATED)
]

FENCE = re.compile(
    r"(?:^<!-- *(?P<html>[^\n]+?) *-->\n|^% *(?P<myst>[^\n]+)\n)?^(?P<mark>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=mark) *$",
    re.M | re.S,
)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
SHELL = ("bash", "console")
PYTHON = ("python", "{code-cell}", "{code-cell} ipython3", "{code-cell} python3")


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int
    language: str
    comment: str
    text: str


def blocks_of(text: str) -> list[Block]:
    """Fenced blocks with the comment above each."""
    return [
        Block(text.count("\n", 0, match.start("mark")) + 1, match["language"].strip(), match["html"] or match["myst"] or "", match["text"])
        for match in FENCE.finditer(text)
    ]


# Settings


def couple(data: dict[str, Any], source: str) -> None:
    """Settings of `nucleate spins couple`."""
    tables = {"reference": ReferenceSettings, "mapping": MappingSettings, "liechtenstein": LiechtensteinSettings, "tb2j": WannierSettings}
    for name, values in data.items():
        if name not in tables:
            raise BadInput(f"{source}: unknown table {name}")
        # The command line gives the moments of the elements.
        given = values if name == "reference" else {"moments": {"Fe": 2.0}, **values}
        validated(tables[name], given, source)


def lattice(data: dict[str, Any], source: str) -> None:
    """Settings of `nucleate lattice compute`."""
    tables = {"reference": ReferenceSettings, "lattice": LatticeSettings}
    for name, values in data.items():
        if name not in tables:
            raise BadInput(f"{source}: unknown table {name}")
        validated(tables[name], values, source)


def train(data: dict[str, Any], source: str) -> None:
    """Settings of `nucleate train` with the options of the family."""
    settings = resolve(data)
    family_settings(settings.model, settings.options)


def sample(data: dict[str, Any], source: str) -> None:
    """Settings of `nucleate electrons sample`, whose options give material, temperature and snapshots."""
    dynamics = {"material": "Al", "temperature": 300.0, "snapshots": 1, **data.get("dynamics", {})}
    validated(SampleSettings, {**data, "dynamics": dynamics}, source)


SETTINGS = {
    "run": settings_from_dict,
    "train": train,
    "couple": couple,
    "lattice": lattice,
    "sample": sample,
    "electrons-train": lambda data, source: validated(ElectronTraining, data, source),
    "fit-start": lambda data, source: validated(EmulatorTraining, data, source),
    "simulate": lambda data, source: validated(SimulationSettings, data, source),
    "pairs": lambda data, source: validated(PairTraining, data, source),
    "executor": cluster_settings,
    "moves": lambda data, source: validated(MoveSettings, data, source),
}
SIGNS = {
    "run": {"formula", "search", "generate", "training", "relax", "reference"},
    "couple": {"mapping", "liechtenstein", "tb2j"},
    "lattice": {"lattice"},
    "electrons-train": {"descriptor", "messages"},
    "sample": {"dynamics", "ground_state"},
    "simulate": {"temperatures", "sizes"},
    "executor": {"provider", "block", "connection"},
}
"""Tables and keys of each command; [reference] alone is taken as that of a search."""


MODELS: dict[str, type[BaseModel]] = {
    "run": RunSettings,
    "train": FitSettings,
    "sample": SampleSettings,
    "electrons-train": ElectronTraining,
    "fit-start": EmulatorTraining,
    "simulate": SimulationSettings,
    "pairs": PairTraining,
}
"""Settings models of the functions that take `settings=` and single settings as further keywords."""


def settings_kind(data: dict[str, Any]) -> str | None:
    """The command that reads these settings, by their tables."""
    if "stages" in data or isinstance(data.get("model"), str):
        return "train"
    if isinstance(data.get("model"), dict):
        return "run"
    for kind in ("couple", "lattice", "run", "electrons-train", "sample", "simulate", "executor"):
        if SIGNS[kind] & set(data):
            return kind
    return None


def settings_problems(block: Block) -> list[str]:
    """What is wrong with a TOML block."""
    try:
        data = tomllib.loads(block.text)
        kind = block.comment.removeprefix("settings:").strip() if block.comment.startswith("settings:") else settings_kind(data)
        if kind not in SETTINGS:
            return [f"settings of which command? write <!-- settings: NAME --> above it, NAME one of {', '.join(SETTINGS)}"]
        SETTINGS[kind](data, kind)
    except (ValueError, BadInput) as error:
        return [str(error)]
    return []


# Command lines


@cache
def root() -> Any:
    """The command tree of `nucleate`."""
    return typer.main.get_command(app)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The verb that the words after `nucleate` name, and its arguments."""
    command, words = root(), list(words)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        found = command.commands.get(words[0])
        if found is None:
            raise ValueError(f"no verb {words[0]!r} in {command.name or 'nucleate'}: {', '.join(sorted(command.commands))}")
        command, words = found, words[1:]
    return command, words


def line_problem(line: str, whole: bool = True) -> str | None:
    """What is wrong with a command line; `whole`: arguments and types count, not only verbs and options."""
    try:
        words = shlex.split(line, comments=True)
        for stop in ("|", ">", "&&", "<", "&", ";"):
            words = words[: words.index(stop)] if stop in words else words
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if not words:
            return None
        if words[0] == "nucleate":
            command, rest = command_of(words[1:])
            if whole:
                command.make_context(command.name, rest)
            else:
                verbs = [command, *getattr(command, "commands", {}).values()]  # "nucleate spins ... --json" means any verb of spins.
                options = {name for verb in verbs for parameter in verb.params for name in (*parameter.opts, *parameter.secondary_opts)}
                for word in rest:
                    if word.startswith("-") and not re.fullmatch(r"-[\d.].*", word) and word.partition("=")[0] not in options:
                        return f"no option {word} of {command.name}"
        elif words[0] == "make":
            targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
            missing = [word for word in words[1:] if not word.startswith("-") and "=" not in word and word not in targets]
            return f"no target {missing[0]} in the Makefile" if missing else None
        elif re.fullmatch(r"(\S*/)?python3?", words[0]) and len(words) > 1 and words[1].endswith(".py"):
            return None if (ROOT / words[1]).is_file() else f"no such file: {words[1]}"
    except typer.Exit:
        return None  # --version and --help end here.
    except Exception as error:
        return getattr(error, "message", "") or str(error)
    return None


def shell_problems(block: Block) -> list[str]:
    """What is wrong with the command lines of a block."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [f"{line.strip()}: {problem}" for line in lines if (problem := line_problem(line))]


# Python


def resolved(dotted: str) -> Any:
    """The object of a dotted name, importing modules on the way; raises `AttributeError` or `ImportError`."""
    parts = dotted.split(".")
    found = importlib.import_module(parts[0])
    for k, part in enumerate(parts[1:], 2):
        if not hasattr(found, part) and inspect.ismodule(found):
            importlib.import_module(".".join(parts[:k]))
        found = getattr(found, part)
    return found


def chain(node: ast.AST) -> list[str]:
    """`a.b.c` as its parts, or nothing for other expressions."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts, node = [node.attr, *parts], node.value
    return [node.id, *parts] if isinstance(node, ast.Name) else []


def field_names(model: type[BaseModel]) -> set[str]:
    """Names of the settings of a model and of its tables."""
    tables = [field.annotation for field in model.model_fields.values()]
    return set(model.model_fields).union(
        *(field_names(table) for table in tables if inspect.isclass(table) and issubclass(table, BaseModel))
    )


def literal(node: ast.AST | None, values: dict[str, Any]) -> Any:
    """The value of a literal, or of a name to which the page assigned one; None if it is neither."""
    if isinstance(node, ast.Name):
        return values.get(node.id)
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def call_problems(node: ast.Call, function: Any, values: dict[str, Any]) -> list[str]:
    """What is wrong with the arguments of a call: their names, the single settings among them, and settings given as a dictionary."""
    if any(isinstance(arg, ast.Starred) for arg in node.args):
        return []
    signature = inspect.signature(function)
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg is not None}
    try:
        bound = signature.bind(*node.args, **given).arguments
    except TypeError as error:
        return [str(error)]
    if "settings" not in signature.parameters:
        return []
    annotation = str(signature.parameters["settings"].annotation)
    kind = next((kind for kind, model in MODELS.items() if re.search(rf"\b{model.__name__}\b", annotation)), None)
    if kind is None:
        return []
    rest = next((name for name, parameter in signature.parameters.items() if parameter.kind is parameter.VAR_KEYWORD), None)
    single = {name.split("__")[-1] for name in bound.get(rest, {})} if rest else set()
    problems = [f"no argument or setting {name}" for name in sorted(single - field_names(MODELS[kind]))]
    data = literal(bound.get("settings"), values)
    if isinstance(data, dict):
        try:
            SETTINGS[kind](data, "settings")
        except BadInput as error:
            problems.append(str(error))
    return problems


def python_problems(block: Block, names: dict[str, str], values: dict[str, Any]) -> list[str]:
    """What is wrong with a Python block.

    `names` are those that earlier blocks of the page imported, with what they stand for; `values` the literals they assigned to names.
    """
    # Options of an executed cell are YAML between lines of dashes, or lines that begin with a colon.
    code = re.sub(r"\A---\n.*?^---\n|^:[\w-]+:[^\n]*\n", lambda match: "\n" * match[0].count("\n"), block.text, flags=re.M | re.S)
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        return [f"line {error.lineno}: {error.msg}"]
    problems = []
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    targets = [target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)]
    for node in assigned:
        for target in node.targets:
            # A name assigned twice in a block has a value that depends on the line.
            if isinstance(target, ast.Name):
                values[target.id] = literal(node.value, {}) if targets.count(target.id) == 1 else None
    for node in ast.walk(tree):
        try:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == "nucleate":
                        importlib.import_module(alias.name)
                        names[alias.asname or "nucleate"] = alias.name if alias.asname else "nucleate"
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nucleate":
                for alias in node.names:
                    resolved(f"{node.module}.{alias.name}")
                    names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        except (ImportError, AttributeError) as error:
            problems.append(str(error))
    for node in ast.walk(tree):
        parts = chain(node.func if isinstance(node, ast.Call) else node)
        if not parts or parts[0] not in names:
            continue
        dotted = ".".join([names[parts[0]], *parts[1:]])
        try:
            found = resolved(dotted)
            bad = call_problems(node, found, values) if isinstance(node, ast.Call) else []
        except (ImportError, AttributeError) as error:
            bad = [str(error)]
        problems += [f"{dotted}: {problem}" for problem in bad]
    return list(dict.fromkeys(problems))


# Pages


def page_problems(name: str, text: str) -> list[str]:
    """What is wrong with the samples of a page, each with its line."""
    problems, names, values = [], {}, {}
    for block in blocks_of(text):
        if block.comment.startswith("unchecked:"):
            if len(block.comment.split()) < 4:
                problems.append(f"{name}:{block.line}: say why the block is unchecked")
            continue
        if block.language == "toml":
            bad = settings_problems(block)
        elif block.language in SHELL:
            bad = shell_problems(block)
        elif block.language in PYTHON:
            bad = python_problems(block, names, values)
        elif block.language.startswith("{") or block.language == "text":  # other directives of the site hold no sample
            bad = []
        else:
            bad = [f"no check for blocks of language {block.language!r}; write text for output and formulas, or say why it is unchecked"]
        problems += [f"{name}:{block.line}: {problem}" for problem in bad]
    prose = FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    for number, line in enumerate(prose.splitlines(), 1):
        for span in INLINE.findall(line):
            bad = None
            if re.match(r"nucleate [a-z]", span):
                words = [word for word in re.sub(r"\[[^\]]*\]", " ", span).split() if word != "..."]
                bad = line_problem(" ".join(words), whole=False)
            elif match := re.match(r"nucleate(\.\w+)+", span):
                try:
                    resolved(match[0])
                except (ImportError, AttributeError) as error:
                    bad = str(error)
            if bad:
                problems.append(f"{name}:{number}: `{span}`: {bad}")
    indented = re.compile(r"(?:^|\n)\n((?: {4}(?:(?:nucleate|make|pip|python) |\[+[a-z]).*(?:\n|$))+)")
    problems += [
        f"{name}:{prose.count(chr(10), 0, match.start(1)) + 1}: put it into a ```bash or ```toml block, where it is checked"
        for match in indented.finditer(prose)
    ]
    return problems


def test_every_fence_of_a_page_belongs_to_one_block():
    text = (
        "An error of 2 % of\nthe largest.\n```text\na\n```\n<!-- note --> and more\n```bash\nmake test\n```\nA line.\n```toml\n[x]\n```\n"
    )
    assert [(block.language, block.line, block.comment) for block in blocks_of(text)] == [
        ("text", 3, ""),
        ("bash", 7, ""),
        ("toml", 11, ""),
    ]


@pytest.mark.parametrize("name", PAGES)
def test_samples_of_the_page_agree_with_the_code(name):
    assert page_problems(name, (ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("```bash\nnucleate search Si8 --polymorphs 3\n```\n", "--polymorphs"),
        ("```bash\nnucleate serach Si8\n```\n", "serach"),
        ("```bash\nnucleate search Si8 --budget many\n```\n", "many"),
        ("```bash\nnucleate spins lattice fe.cif fe.csv --shell 20\n```\n", "moment"),
        ("```bash\nmake everything\n```\n", "everything"),
        ("```bash\npython examples/nothing.py\n```\n", "nothing.py"),
        ("```console\n$ nucleate show\n```\n", "Missing"),
        ("`nucleate show DIR --picture`\n", "--picture"),
        ("`nucleate.spins.nothing`\n", "nothing"),
        ("text\n\n    nucleate show DIR\n", "bash"),
        ("text\n\n    [reference]\n    engine = 'gpaw'\n", "toml"),
        ("```toml\nformula = 'Si8'\n[search]\npools = 3\n```\n", "did you mean pool"),
        ("```toml\nmodel = 'a2a'\n[options]\nhiden = [3]\n```\n", "hid"),
        ("```toml\nmethod = 'metropolis'\n```\n", "which command"),
        ("<!-- settings: simulate -->\n```toml\nmethod = 'nothing'\n```\n", "method"),
        ("% settings: simulate\n```toml\nmethod = 'nothing'\n```\n", "method"),
        ("```python\nfrom nucleate.training.run import fitt\n```\n", "fitt"),
        ("```python\nimport nucleate\nnucleate.find('Si8')\n```\n", "find"),
        ("```python\nimport nucleate\nnucleate.search('Si8', calls=3)\n```\n", "calls"),
        ("```python\nfrom nucleate.training.run import fit\nfit('a.xyz', 'fit', modl='a2a')\n```\n", "modl"),
        ("```python\nfrom nucleate.training.run import fit\nfit('a.xyz', 'fit', on_event=print)\n```\n", "on_event"),
        ("```python\nfrom nucleate.electrons import api\napi.sample('al', cutof=300)\n```\n", "cutof"),
        ("```python\nimport nucleate\nnucleate.search('Si8', settings={'search': {'pools': 3}})\n```\n", "did you mean pool"),
        (
            "```python\nfrom nucleate.training.run import fit\nhow = {'stepz': 3}\n```\nThen:\n```python\nfit('a.xyz', 'fit', how)\n```\n",
            "stepz",
        ),
        ("```python\nif True\n```\n", "expected ':'"),
        ("```{code-cell} ipython3\n:tags: [hide-input]\n\nimport nucleate\nnucleate.find('Si8')\n```\n", "find"),
        ("```{code-cell} ipython3\n---\ntags: [hide-input]\n---\nimport nucleate\nnucleate.find('Si8')\n```\n", "find"),
        ("```\nnothing\n```\n", "language"),
        ("<!-- unchecked: later -->\n```toml\n[x]\n```\n", "say why"),
    ],
)
def test_a_wrong_sample_is_reported(sample, expected):
    (problem,) = page_problems("page.md", sample)
    assert expected in problem


def test_right_samples_pass():
    text = (
        "```bash\nnucleate search Si8 --top 3  # three polymorphs\nOMP_NUM_THREADS=1 nucleate show si8 --json | head\n```\n"
        "```toml\n[reference]\nengine = 'gpaw'\n```\n```python\nimport nucleate\nnucleate.search('Si8', budget=3)\n```\n"
        "`nucleate relax FILE --json` and `nucleate.relax_file`\n"
        "<!-- unchecked: output of another program -->\n```yaml\na: 1\n```\n"
    )
    assert page_problems("page.md", text) == []
