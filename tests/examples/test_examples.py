"""The examples run, and find what they say."""

import importlib.util
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_python_api_example_finds_fcc_aluminium_on_top(tmp_path):
    spec = importlib.util.spec_from_file_location("python_api", EXAMPLES / "python_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = module.main(str(tmp_path / "al4"))
    # EMT is fitted to fcc metals: face-centred cubic is its ground state.
    assert result.polymorphs[0].space_group == "Fm-3m"
    assert (tmp_path / "al4" / "report.html").is_file()


def test_demo_settings_are_valid():
    from nucleate.search.run_settings import read_settings, settings_from_dict

    assert settings_from_dict(read_settings(EXAMPLES / "demo.toml")).formula == "Si8"
