"""The OPTIMADE route passes the validator of the consortium, needs no token, and opens nothing else."""

import contextlib
import io
import json
import shutil
import sys
from urllib.parse import quote, urlsplit

import pytest
from typer.testing import CliRunner

from nucleate import api
from nucleate.cli.app import app
from nucleate.crystals.io import read_structures
from nucleate.csp.run_data import read_run
from nucleate.fingerprints.matching import same_crystal

pytest.importorskip("optimade", reason="the extra optimade is not installed")

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = {
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
    "search": {"pool": 16, "first_batch": 4, "batch": 3, "max_rounds": 4},
    "generate": {"workers": 1, "prototype_share": 0.0},
    "model": {"members": 2, "radial": 6, "channels": 4, "hidden": 8},
    "training": {"steps": 24, "warm_steps": 12},
    "relax": {"max_steps": 40, "workers": 1},
}
V1 = "/optimade/v1"


@pytest.fixture(scope="module")
def folder(made_once):
    """Runs of two formulas, a copy of one of them, and a damaged one."""

    def make(place):
        # The alloy has no polymorph after fewer steps.
        longer = {"training": {"steps": 60, "warm_steps": 30}, "relax": {"max_steps": 60, "workers": 1}}
        longer["search"] = {**SETTINGS["search"], "max_rounds": 5}
        for formula, more in (("Cu2", {}), ("Al2Cu2", longer)):
            api.search(formula, settings={**SETTINGS, **more}, seed=3, out=place / formula)
        shutil.copytree(place / "Cu2", place / "copy")
        shutil.copytree(place / "Cu2", place / "damaged")
        (place / "damaged" / "run.db").write_bytes(b"SQLite format 3\0damaged")

    return made_once("optimade", make)


@pytest.fixture(scope="module")
def database(folder, serve):
    with serve([folder, "--optimade"]) as client:
        yield client


def ask(database, path, **parameters):
    query = "&".join(f"{name}={quote(str(value))}" for name, value in parameters.items())
    status, _, content = database.send("GET", f"{V1}/{path}{'?' if query else ''}{query}", authorised=False)
    return status, json.loads(content)


def ids(database, **parameters):
    status, answer = ask(database, "structures", page_limit=100, **parameters)
    assert status == 200, answer
    return [entry["id"] for entry in answer["data"]]


# The validator uses pydantic in a way that pydantic discourages.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("base", ["/optimade", V1])
def test_the_validator_of_the_consortium_finds_no_failure(database, base):
    from optimade.validator import ImplementationValidator

    validator = ImplementationValidator(base_url=f"http://127.0.0.1:{database.port}{base}", respond_json=True)
    with contextlib.redirect_stdout(io.StringIO()):
        validator.validate_implementation()
    results = validator.results
    messages = results.failure_messages + results.internal_failure_messages + results.optional_failure_messages
    assert messages == []
    assert validator.valid
    assert results.success_count > 30


def test_polymorphs_of_all_runs_are_there_once(database, folder):
    status, answer = ask(database, "structures", page_limit=100)
    expected = [len(read_run(folder / name).state.ranking()) for name in ("Cu2", "Al2Cu2")]
    assert status == 200
    assert len(answer["data"]) == answer["meta"]["data_available"] == sum(expected)
    assert answer["meta"]["warnings"][0]["detail"] == "1 run cannot be read now"
    # Nothing says where the runs are.
    assert str(folder) not in json.dumps(answer)


def test_filters_select_what_the_entries_say(database):
    _, answer = ask(database, "structures", page_limit=100)
    entries = {entry["id"]: entry["attributes"] for entry in answer["data"]}
    enthalpy = sorted(data["_nucleate_enthalpy_per_atom"] for data in entries.values())[len(entries) // 2]
    one = next(iter(entries))
    cases = {
        "nelements = 2": lambda data: data["nelements"] == 2,
        'elements HAS "Al" OR nsites < 2': lambda data: "Al" in data["elements"] or data["nsites"] < 2,
        'NOT elements HAS "Al"': lambda data: "Al" not in data["elements"],
        'elements HAS ALL "Al","Cu" AND elements LENGTH 2': lambda data: data["elements"] == ["Al", "Cu"],
        'elements HAS ANY "Ag","Cu" AND NOT (nelements > 1)': lambda data: data["elements"] == ["Cu"],
        'elements HAS ONLY "Cu"': lambda data: data["elements"] == ["Cu"],
        'chemical_formula_reduced STARTS WITH "Al"': lambda data: data["chemical_formula_reduced"].startswith("Al"),
        f"_nucleate_enthalpy_per_atom <= {enthalpy!r}": lambda data: data["_nucleate_enthalpy_per_atom"] <= enthalpy,
        f"{enthalpy!r} >= _nucleate_enthalpy_per_atom": lambda data: data["_nucleate_enthalpy_per_atom"] <= enthalpy,
        "_nucleate_confirmed = TRUE": lambda data: data["_nucleate_confirmed"],
        "_nucleate_confirmed != TRUE": lambda data: not data["_nucleate_confirmed"],
        "_nucleate_surrogate = FALSE": lambda data: not data["_nucleate_surrogate"],
        'last_modified > "2020-01-01T00:00:00Z"': lambda data: True,
        'last_modified < "2020-01-01T00:00:00+01:00"': lambda data: False,
        "_nucleate_k_points IS UNKNOWN": lambda data: data["_nucleate_k_points"] is None,
        # Comparisons with unknown values do not match, and their negation neither.
        '_nucleate_known = "x"': lambda data: False,
        'NOT _nucleate_known = "x"': lambda data: False,
        'NOT (_nucleate_known = "x" AND nelements = 3)': lambda data: data["nelements"] != 3,
        "space_group_it_number IS KNOWN": lambda data: False,
        "_exmpl_band_gap > 1 OR nelements = 1": lambda data: data["nelements"] == 1,
    }
    for text, wanted in cases.items():
        assert ids(database, filter=text) == sorted(key for key, data in entries.items() if wanted(data)), text
    assert ids(database, filter=f'id = "{one}"') == [one]
    assert ask(database, "structures", filter="_exmpl_band_gap > 1")[1]["meta"]["warnings"][-1]["type"] == "warning"


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"filter": "nelements ="}, 400, "cannot be read"),
        ({"filter": "nsite = 2"}, 400, "no property 'nsite'"),
        ({"filter": "_nucleate_x = 2"}, 400, "no property"),
        ({"filter": 'nelements = "2"'}, 501, "nelements has the type integer"),
        ({"filter": "elements = 2"}, 501, "lists have HAS"),
        ({"filter": "nelements HAS 2"}, 501, "works on lists"),
        ({"filter": "1 < 2"}, 501, "two constants"),
        ({"filter": "nsites = nelements"}, 501, "two properties"),
        ({"filter": 'species.name HAS "Cu"'}, 501, "nested"),
        ({"filter": 'elements:elements_ratios HAS "Cu":0.5'}, 501, "correlated"),
        ({"filter": 'last_modified > "yesterday"'}, 400, "no time"),
        ({"filter": "(" * 1500 + "nsites=1" + ")" * 1500}, 400, "parentheses"),
        ({"filter": "x" * 5000}, 400, "5000 characters"),
        ({"page_limit": 501}, 403, "at most 500"),
        ({"page_limit": "-1"}, 400, "page_limit"),
        ({"page_offset": "1e3"}, 400, "page_offset"),
        ({"sort": "elements"}, 400, "sort"),
        ({"response_fields": "nsites,nsite"}, 400, "nsite"),
        ({"response_format": "xml"}, 400, "json"),
        ({"include": "calculations"}, 400, "include"),
        ({"filtre": "nsites=1"}, 400, "no parameter"),
    ],
)
def test_what_cannot_be_answered_is_one_line(database, query, status, says):
    given, answer = ask(database, "structures", **query)
    assert given == status
    assert "data" not in answer
    (error,) = answer["errors"]
    assert says in error["detail"]
    assert "\n" not in error["detail"]


def test_pages_and_order(database):
    everything = ids(database, sort="-_nucleate_enthalpy_per_atom,id")
    status, answer = ask(
        database, "structures", sort="-_nucleate_enthalpy_per_atom,id", page_limit=2, response_fields="_nucleate_enthalpy_per_atom"
    )
    seen, last = [], float("inf")
    while True:
        assert status == 200
        for entry in answer["data"]:
            assert list(entry["attributes"]) == ["_nucleate_enthalpy_per_atom"]
            assert entry["attributes"]["_nucleate_enthalpy_per_atom"] <= last
            last = entry["attributes"]["_nucleate_enthalpy_per_atom"]
            seen.append(entry["id"])
        following = answer["links"]["next"]
        assert answer["meta"]["more_data_available"] == (following is not None)
        if following is None:
            break
        parts = urlsplit(following)
        status, _, content = database.send("GET", f"{parts.path}?{parts.query}", authorised=False)
        answer = json.loads(content)
    assert seen == everything


def test_saved_answers_are_known_phases(database, folder, tmp_path):
    status, answer = ask(database, "structures", page_limit=100, filter='elements HAS "Al"', sort="_nucleate_rank")
    assert status == 200
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    found = read_structures(tmp_path / "answer.json")
    ranking = read_run(folder / "Al2Cu2").state.ranking()
    assert len(found) == len(ranking)
    assert all(same_crystal(atoms, polymorph.atoms) for atoms, polymorph in zip(found, ranking, strict=True))
    from optimade.adapters import Structure

    for entry, polymorph in zip(answer["data"], ranking, strict=True):
        assert Structure(entry).as_pymatgen.volume == pytest.approx(polymorph.atoms.get_volume())


def test_only_reading_the_database_needs_no_token(database):
    status, headers, _ = database.send("GET", f"{V1}/info", authorised=False)
    assert status == 200
    assert headers["content-type"] == "application/vnd.api+json"
    assert "set-cookie" not in headers
    assert headers.get("access-control-allow-origin") is None
    assert headers["content-security-policy"].startswith("default-src 'none'")
    for path in ("/", "/api/runs", "/static/app.js", "/optimadex", "/api/optimade"):
        assert database.send("GET", path, authorised=False)[0] == 401
    for path in (
        "/optimade/../api/runs",
        "/optimade/%2e%2e/api/runs",
        "/optimade/..%2fapi%2fruns",
        "/optimade//api/runs",
        f"{V1}/../../api/runs",
    ):
        status, _, content = database.send("GET", path, authorised=False)
        assert status in (401, 404)
        assert b"polymorph_count" not in content
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert database.send(method, f"{V1}/structures", authorised=False)[0] in (401, 403, 405)


@pytest.mark.parametrize(
    ("more", "status"),
    [({"host": "evil.example"}, 400), ({"host": "127.0.0.1"}, 400), ({"headers": {"Origin": "http://evil.example"}}, 403),
     ({"headers": {"Origin": "null"}}, 403), ({"headers": {"Sec-Fetch-Site": "cross-site"}}, 403)],
)  # fmt: skip
def test_other_sites_and_rebound_names_are_refused(database, more, status):
    assert database.send("GET", f"{V1}/structures", authorised=False, **more)[0] == status


def test_without_the_option_there_is_no_database(server):
    for path in ("/optimade/versions", f"{V1}/info", f"{V1}/structures"):
        assert server.send("GET", path, authorised=False)[0] == 401
        assert server.send("GET", path)[0] == 404


def test_without_the_package_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optimade", None)
    result = CliRunner().invoke(app, ["serve", str(tmp_path), "--optimade", "--no-browser"])
    assert result.exit_code == 2
    assert result.stderr == "error: nucleate serve --optimade needs optimade; install it with: pip install 'nucleate[serve,optimade]'\n"
