"""What a user can do wrong: one line on stderr, exit code 2, no traceback, nothing left behind."""

import ast
import re
import shutil
import sqlite3
import sys
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk
from typer.testing import CliRunner

import nucleate
from nucleate.cli.app import app

run = CliRunner()


def refusal(*command):
    result = run.invoke(app, [str(part) for part in command])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("error: ").strip()


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("Xx4", "'Xx' is not an element"),
        ("Si0", "zero"),
        ("Si1.5", "whole positive numbers"),
        ("Ca(OH", "is not closed"),
        ("", "the formula is empty"),
    ],
)
def test_formulas(formula, said, tmp_path):
    assert said in refusal("search", formula, "--reference", "chgnet", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[search]\npoool = 3\n", "unknown key search.poool; did you mean pool?"),
        ("[serach]\npool = 3\n", "unknown key serach; did you mean search?"),
        ("[search]\npool = 'many'\n", "search.pool"),
        ("[search]\npool = \n", "cannot be read as TOML"),
        ("reference = 3\n", "reference must be a table"),
    ],
)
def test_settings_files(toml, said, tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(toml)
    message = refusal("search", "Cu2", "--settings", path, "--reference", "ase", "--out", tmp_path / "run")
    assert said in message
    assert str(path) in message


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_that_are_none(value, tmp_path):
    path = tmp_path / "cu.cif"
    ase.io.write(path, bulk("Cu"))
    assert "pressure" in refusal("search", "Cu2", "--reference", "chgnet", "--pressure", value, "--out", tmp_path / "run")
    assert "pressure" in refusal("relax", path, "--reference", "chgnet", "--pressure", value)
    settings = tmp_path / "s.toml"
    settings.write_text(f"[search]\nresolution = {value}\n")
    assert "search.resolution" in refusal("search", "Cu2", "--settings", settings, "--out", tmp_path / "run")


def test_moments_of_no_element(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text("[reference]\nmagnetic_moments = { Fee = 2.0 }\n")
    assert "Fee" in refusal("search", "Fe2", "--settings", path, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("engine", "setting", "said"),
    [
        ("gpaw", "hubbard_u = { O = 4.0 }", "O has no d or f shell for U; allowed are the transition metals"),
        ("gpaw", "hubbard_u = { Mn = 40.0 }", "reference.hubbard_u"),
        ("chgnet", "hubbard_u = { Mn = 4.0 }", "reference.hubbard_u has no effect on engine 'chgnet'"),
        ("chgnet", "magnetic_moments = { Mn = 5.0 }", "reference.magnetic_moments has no effect on engine 'chgnet'"),
        ("gpaw", "xc = 'vdW-DF'", "GPAW has no stress for the nonlocal functional 'vdW-DF'"),
    ],
)
def test_magnets_and_functionals(engine, setting, said, tmp_path):
    pytest.importorskip(engine)
    path = tmp_path / "s.toml"
    path.write_text(f"[reference]\n{setting}\n")
    assert said in refusal("search", "Mn2O2", "--settings", path, "--reference", engine, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("engine", "setting"), [("gpaw", "pseudo_dir = 'x'"), ("chgnet", "cutoff = 300"), ("sevennet", "xc = 'LDA'")])
def test_settings_an_engine_would_not_obey(engine, setting, tmp_path):
    pytest.importorskip({"gpaw": "gpaw", "chgnet": "chgnet", "sevennet": "sevenn"}[engine])
    path = tmp_path / "s.toml"
    path.write_text(f"[reference]\n{setting}\n")
    message = refusal("search", "Cu2", "--settings", path, "--reference", engine, "--out", tmp_path / "run")
    assert f"reference.{setting.split()[0]} has no effect" in message


def test_a_search_s_database_is_no_ledger_for_others(tmp_path, tiny, finished):
    path = tmp_path / "cu.cif"
    ase.io.write(path, bulk("Cu"))
    copy = shutil.copytree(finished, tmp_path / "copy")
    assert "is the database of a search" in refusal("relax", path, "--settings", tiny, "--ledger", copy / "run.db")


def test_more_structures_than_the_pool(tmp_path, tiny):
    path = tmp_path / "many.extxyz"
    ase.io.write(path, [bulk("Cu", a=3.5 + 0.02 * k) for k in range(9)])
    message = refusal("search", "Cu2", "--settings", tiny, "--seeds-from", path, "--out", tmp_path / "run")
    assert "search.pool" in message


def test_a_settings_file_that_is_not_there():
    assert "no such settings file" in refusal("search", "Cu2", "--settings", "nowhere.toml")


def test_no_formula_at_all():
    assert "no formula" in refusal("search")


def test_options_out_of_range(tiny):
    assert "search.budget" in refusal("search", "Cu2", "--settings", tiny, "--budget", 0)
    assert "reference.engine" in refusal("search", "Cu2", "--reference", "gpaww")


@pytest.mark.parametrize("option", ["--reference", "--prior"])
def test_unknown_pretrained_potentials(option, tmp_path, tiny):
    out = tmp_path / "run"
    message = refusal("search", "Cu2", "--settings", tiny, option, "7net-1", "--out", out)
    assert "7net-l3i5" in message
    assert not out.exists()


def test_elements_that_a_pretrained_potential_was_not_trained_for(tmp_path, tiny):
    pytest.importorskip("sevenn")
    out, path = tmp_path / "run", tmp_path / "po.cif"
    assert "Po" in refusal("search", "Po2", "--reference", "7net-0", "--out", out)
    assert "Yb" in refusal("search", "Yb2", "--settings", tiny, "--prior", "7net-mf-0:R2SCAN", "--out", out)
    assert not out.exists()
    ase.io.write(path, bulk("Po", "sc", a=3.35))
    assert "Po" in refusal("relax", path, "--reference", "7net-l3i5")
    benchmark = ("benchmark", "search", "--system", "Si8", "--baseline-cells", 1)
    assert "choose another" in refusal(*benchmark, "--reference", "SEVENNET", "--pretrained", "7net-0")
    assert "7net-l3i5" in refusal(*benchmark, "--reference", "7net-0", "--pretrained", "gpaw")


def test_an_unknown_option_is_named():
    result = run.invoke(app, ["search", "Cu2", "--poool", "3"])
    assert result.exit_code == 2
    assert "--poool" in result.stderr


@pytest.mark.parametrize("text", ["", "data_x\n_cell_length_a 3.9\n", "not a structure at all"])
def test_structure_files(text, tmp_path, tiny):
    path = tmp_path / "bad.cif"
    path.write_text(text)
    assert str(path) in refusal("relax", path, "--settings", tiny)
    out = tmp_path / "run"
    assert str(path) in refusal("search", "Cu2", "--settings", tiny, "--seeds-from", path, "--out", out)
    assert not out.exists()


def test_relax_refuses_what_it_cannot_write(tmp_path, tiny):
    path = tmp_path / "cu.cif"
    ase.io.write(path, bulk("Cu", "fcc", a=3.7))
    assert "output format" in refusal("relax", path, "--settings", tiny, "--out", tmp_path / "x.what")
    assert "would be overwritten" in refusal("relax", path, "--settings", tiny, "--out", path)
    assert "does not exist" in refusal("relax", path, "--settings", tiny, "--out", tmp_path / "no" / "x.cif")
    assert "fmax" in refusal("relax", path, "--settings", tiny, "--fmax", -1)


def test_folders_that_hold_something_else(finished, tiny, tmp_path):
    assert "run with other settings" in refusal("search", "Cu4", "--settings", tiny, "--out", finished)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("dear")
    assert "not a run folder" in refusal("search", "Cu2", "--settings", tiny, "--out", tmp_path / "mine")
    for verb in ("resume", "show"):
        assert "run.toml is missing" in refusal(verb, tmp_path / "mine")
        assert "run.toml is missing" in refusal(verb, tmp_path / "nowhere")


def test_a_folder_another_process_works_on(finished):
    from nucleate.csp.run_folder import RunFolder

    with RunFolder.open(finished):
        assert "another process" in refusal("resume", finished)
        result = run.invoke(app, ["show", str(finished)])
    assert result.exit_code == 0


def test_a_folder_from_a_newer_program(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "newer")
    database = sqlite3.connect(copy / "run.db")
    database.execute("PRAGMA user_version=99")
    database.close()
    (copy / "run.toml").write_text((copy / "run.toml").read_text() + "\n[invented]\nlater = true\n")
    for verb in ("resume", "show"):
        assert "written by a newer nucleate" in refusal(verb, copy)


def test_a_damaged_database(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "damaged")
    (copy / "run.db").write_bytes(b"this was a database once" * 100)
    for verb in ("resume", "show"):
        assert "run.db" in refusal(verb, copy)


def test_references_are_not_mixed(finished, tmp_path):
    from nucleate import api
    from nucleate.errors import RunFolderError

    class Other:
        name = "other"
        surrogate = True

        def settings(self):
            return {}

    with pytest.raises(RunFolderError, match="cannot be mixed"):
        api.resume(shutil.copytree(finished, tmp_path / "copy"), reference=Other())


def test_a_bug_is_one_line_unless_asked_for(monkeypatch):
    def broken(folder):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("nucleate.csp.run_data.read_run", broken)
    result = run.invoke(app, ["show", "x"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ZeroDivisionError: a bug (a bug: NUCLEATE_DEBUG=1")
    monkeypatch.setenv("NUCLEATE_DEBUG", "1")
    assert isinstance(run.invoke(app, ["show", "x"]).exception, ZeroDivisionError)


def test_no_help_loses_words_in_brackets():
    """Rich takes words in square brackets as markup and drops them."""
    for path in (Path(nucleate.__file__).parent / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            texts = [ast.get_docstring(node) or ""] if isinstance(node, ast.FunctionDef) else []
            if isinstance(node, ast.keyword) and node.arg == "help":
                texts = [str(part.value) for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            for text in texts:
                assert not re.search(r"\[[a-z]", text), (path.name, text)


def test_help_loads_nothing_heavy():
    import subprocess

    code = "import nucleate.cli.app, nucleate, sys; print([m for m in ('torch', 'ase', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["show", "RUN"], ["settings"], ["export", "RUN", "--to", "res", "--out", "OUT"]])
def test_verbs_that_only_read_start_without_torch(finished, tmp_path, words):
    import subprocess

    words = [{"RUN": str(finished), "OUT": str(tmp_path / "out")}.get(word, word) for word in words]
    run = f"from nucleate.cli.app import app; app({words!r}, standalone_mode=False)"
    code = f"import sys; {run}; print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.split()[-1] == "False"


def test_calculations_of_other_settings_are_not_mixed(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    path = copy / "run.toml"
    path.write_text(path.read_text().replace("[reference.parameters]", "[reference.parameters]\nasap_cutoff = true"))
    message = refusal("resume", copy)
    assert "another parameters" in message
    assert "cannot be mixed" in message


def test_relax_settings_that_belong_to_the_search(tiny, tmp_path):
    for line, said in (("pressure = 20", "`pressure` at the top"), ("sigma_stop = 0.1", "`sigma_stop` in [search]")):
        path = tmp_path / "s.toml"
        path.write_text(tiny.read_text().replace("[relax]", f"[relax]\n{line}"))
        assert said in refusal("search", "Cu2", "--settings", path, "--out", tmp_path / "run")


def test_several_structures_need_a_file_that_holds_several(tmp_path, tiny):
    path = tmp_path / "two.extxyz"
    ase.io.write(path, [bulk("Cu", a=3.6), bulk("Cu", a=3.7)])
    assert "holds one structure" in refusal("relax", path, "--settings", tiny, "--out", tmp_path / "x.vasp")
