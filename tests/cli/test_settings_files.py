"""Settings files as somebody else may have written them: read within bounds, or refused in one short line."""

import time

import pytest

from nucleate.csp.resolve import resolve_settings
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import BadInput, MissingDependency
from nucleate.persist.toml import DEEPEST, LARGEST, read_settings
from nucleate.reference.build import make_reference
from nucleate.reference.cluster.settings import read_cluster
from nucleate.reference.settings import ReferenceSettings


def refusal(call, *arguments, error=BadInput):
    began = time.monotonic()
    with pytest.raises(error) as caught:
        call(*arguments)
    message = str(caught.value)
    assert time.monotonic() - began < 5
    assert message.isprintable()
    assert len(message) <= 300
    return message


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a = " + "{a=" * 5000,
        "[" * 5000,
        "a" + ".a" * 90_000 + " = 1",
        "a" + '."a"' * 30_000 + " = 1",
        "[a" + ".a" * 90_000 + "]",
    ],
)
def test_nesting_is_refused_before_it_is_parsed(text, tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(text)
    assert "nested" in refusal(read_settings, path)


def test_brackets_in_text_do_not_nest(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(f'a = \'{"[" * 99}\'\nb = """\n{"{" * 99}\n""" # {"[" * 99}\nc = [[1.5, 2.5], [3.5]]\n')
    assert read_settings(path)["c"] == [[1.5, 2.5], [3.5]]


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "s.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\nb = 2\r\n")
    assert read_settings(path) == {"a": 1, "b": 2}


@pytest.mark.parametrize("content", [b"a = " + b"9" * 5000, b"a = '\xff'", b"\x00", b"a = 1979-99-99"])
def test_what_is_no_toml(content, tmp_path):
    path = tmp_path / "s.toml"
    path.write_bytes(content)
    assert "TOML" in refusal(read_settings, path)


def test_a_file_that_is_no_settings_file(tmp_path):
    path = tmp_path / "s.toml"
    path.write_bytes(b"#" * (LARGEST + 1))
    assert "larger" in refusal(read_settings, path)
    assert "cannot be read" in refusal(read_settings, tmp_path)


@pytest.mark.parametrize("character", ["\\u0000", "\\u001b", "\\u007f"])
def test_control_characters(character, tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(f'[reference]\nparameters = {{ x = "a{character}b" }}\n')
    assert "control character" in refusal(read_settings, path)
    path.write_text(f'"a{character}b" = 1\n')
    assert "name of a setting" in refusal(read_settings, path)


@pytest.mark.parametrize("field", ["pseudo_dir", "command", "calculator", "xc"])
def test_a_path_or_command_is_one_line(field):
    assert field in refusal(settings_from_dict, {"formula": "Si2", "reference": {field: "a\nb"}})


def test_an_engine_s_input_may_have_lines():
    given = {"formula": "Si2", "reference": {"engine": "cp2k", "parameters": {"inp": "&FORCE_EVAL\n\t&END\r\n"}}}
    assert settings_from_dict(given).reference.parameters["inp"].count("\n") == 2


def test_a_dictionary_is_bounded_too():
    data = inner = {"formula": "Si2"}
    for _ in range(DEEPEST + 5):
        inner["model"] = {}
        inner = inner["model"]
    assert "nested" in refusal(settings_from_dict, data)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("search", "pool", 10**12),
        ("search", "budget", 10**30),
        ("search", "batch", 10**9),
        ("search", "max_rounds", 10**9),
        ("search", "train_units", [10**9]),
        ("search", "train_units", [2] * 1000),
        ("search", "resolution", 1e300),
        ("generate", "try_seconds", 1e9),
        ("generate", "workers", 10**6),
        ("generate", "min_distance", {"Si-" + "S" * 999: 2.0}),
        ("reference", "k_spacing", 1e-9),
        ("reference", "cutoff", 1e12),
        ("reference", "timeout", 1e300),
        ("reference", "workers", 10**6),
        ("reference", "command", "pw.x '"),
        ("reference", "command", " "),
        ("reference", "magnetic_moments", {"Fe": 1e9}),
        ("training", "steps", 10**12),
        ("relax", "max_steps", 10**12),
        ("relax", "volume_range", [2.0, 1.0]),
        ("search", "score", "x" * 10_000),
    ],
)
def test_values_beyond_reason(section, field, value):
    assert f"{section}.{field}" in refusal(settings_from_dict, {"formula": "Si2", section: {field: value}})


def test_many_mistakes_are_one_short_line():
    data = {"formula": "Si2", "search": {f"wrong{k}" * 50: k for k in range(1000)}}
    assert "more" in refusal(settings_from_dict, data)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print 'python 2'", "SyntaxError"),
        ("raise ValueError('x' * 9999)", "ValueError"),
        ("import sys; sys.exit()", "SystemExit"),
        ("1 / 0", "ZeroDivisionError"),
        ("class Calculator(BaseException): pass\nraise RuntimeError('two\\nlines \\x1b[31m')", "RuntimeError"),
        ("Other = 3", "Calculator"),
        ("Calculator = 3", "no class"),
        ("class Calculator:\n    implemented_properties = ['energy']", "no stress"),
    ],
)
def test_a_calculator_s_module_that_cannot_be_used(code, said, tmp_path, monkeypatch, request):
    name = f"odd_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    message = refusal(make_reference, ReferenceSettings(engine="ase", calculator=f"{name}:Calculator"))
    assert said in message
    assert name in message


def test_a_calculator_s_module_that_needs_another(tmp_path, monkeypatch):
    (tmp_path / "needs_another.py").write_text("import nowhere_at_all.inner")
    monkeypatch.syspath_prepend(tmp_path)
    given = ReferenceSettings(engine="ase", calculator="needs_another:Calculator")
    assert "nowhere_at_all" in refusal(make_reference, given, error=MissingDependency)


def test_a_command_of_the_environment_is_checked_as_well(monkeypatch):
    monkeypatch.setenv("ASE_CP2K_COMMAND", "cp2k '")
    assert "command" in refusal(make_reference, ReferenceSettings(engine="cp2k"))


@pytest.mark.parametrize(
    "model",
    [
        {"family": "x" * 5000},
        {"prior": "x" * 5000},
        {"prior": "x" * 4000},
        {"family": "a2a", "options": {"hidden": [10**9]}},
        {"family": "a2a", "options": {"hidden": [8] * 1000}},
        {"family": "a2a", "options": {"x" * 5000: 1}},
        {"options": {"x" * 5000: 1}},
    ],
)
def test_models_beyond_reason(model):
    refusal(settings_from_dict, {"formula": "Si2", "model": model})


def test_a_rule_between_settings_is_said_in_its_own_words(tmp_path):
    path = tmp_path / "slurm.toml"
    path.write_text("[connection]\ninterface = 'lo'\n[label]\nmemory = 4.0\n")
    said = refusal(read_cluster, path)
    assert said.startswith(f"{path}: label.memory needs")
    assert "{" not in said
    nested = refusal(settings_from_dict, {"formula": "Si2", "relax": {"optimiser": "fire", "curvature": 30.0}})
    assert nested == "settings: relax: curvature has an effect on the optimiser lbfgs only; remove it"


def test_options_are_not_blamed_on_the_file(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('formula = "Si2"\n')
    assert refusal(lambda: resolve_settings("Si2", path, search__pool=1)).startswith(f"{path} and options: search.pool")
    path.write_text('formula = "Si2"\n[search]\npool = 1\n')
    assert refusal(lambda: resolve_settings(None, path)).startswith(f"{path}: search.pool")
