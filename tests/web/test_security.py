"""Who may ask what: token, cookie, Host header, origin, content policy, ids, and the list of settings."""

import socket

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.csp.run_settings import RunSettings
from nucleate.web.fields import NAMES, all_names, check_fields
from nucleate.web.places import places_of
from nucleate.web.refused import Refused


def test_the_token_is_exchanged_for_a_cookie_that_no_script_and_no_other_site_can_use(server):
    status, headers, _ = server.send("GET", f"/?token={server.token}", authorised=False)
    assert status == 303
    assert headers["location"] == "/"
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert server.token not in cookie
    own = {"Cookie": cookie.partition(";")[0]}
    assert server.get("/api/runs", authorised=False, headers=own)[0] == 200
    # A request that changes something needs more than the cookie, which a browser sends by itself.
    status, _, _ = server.send("POST", "/api/runs/x/stop", "{}", own | {"Content-Type": "application/json"}, authorised=False)
    assert status == 403


@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/openapi.json", "/static/app.js", "/?token=wrong", "/?token="])
def test_nothing_without_the_token(server, path):
    status, headers, _ = server.send("GET", path, authorised=False)
    assert status == 401
    assert "set-cookie" not in headers
    assert server.send("GET", path, authorised=False, headers={"Cookie": f"nucleate-{server.port}=wrong"})[0] == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example"])
def test_a_name_that_was_rebound_to_this_computer_is_refused(server, host):
    status, _, _ = server.send("GET", f"/?token={server.token}", host=host)
    assert status == 400


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}])
def test_requests_of_other_sites_are_refused(server, headers):
    status, answer = server.post("/api/runs", {"settings": {"formula": "Al4"}}, headers=headers)
    assert status == 403
    assert "another site" in answer["error"]
    assert server.send("OPTIONS", "/api/runs", headers={"Origin": "http://evil.example"})[1].get("access-control-allow-origin") is None


def test_headers_of_every_answer(server):
    for path, authorised in (("/", True), ("/api/runs", True), ("/static/vendor/uPlot.min.css", True), ("/api/runs", False), ("/no", True)):
        _, headers, _ = server.send("GET", path, authorised=authorised)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    ["/api/runs/..%2f..%2fetc", "/api/runs/%2e%2e", "/api/runs/../../etc/passwd", "/api/runs/x/polymorphs/..%2f1/structure",
     "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2fapp.py", "/static//etc/passwd", "/api/models/%00"],
)  # fmt: skip
def test_paths_are_no_ids(server, path):
    status, _, content = server.send("GET", path)
    assert status in (404, 405)
    assert b"root:" not in content
    assert b"import" not in content


def test_ids_that_are_unknown_have_no_verbs(server):
    assert server.post("/api/runs/abc/stop", {})[0] == 404
    assert server.post("/api/runs/abc/resume", {"budget": 5})[0] == 404
    assert server.post("/api/runs", {"folder": "/tmp", "settings": {"formula": "Al4"}})[0] == 404
    assert server.post("/api/runs", {"profile": "../aluminium", "settings": {}})[0] == 404


def nested(name, value):
    table, _, key = name.rpartition(".")
    return {table: {key: value}} if table else {key: value}


@pytest.mark.parametrize("name", sorted(all_names() - NAMES))
def test_settings_that_are_not_on_the_list_are_refused_by_name(name):
    with pytest.raises(Refused, match=name) as caught:
        check_fields(nested(name, "x"))
    assert caught.value.status == 403


def test_forbidden_settings_over_http(server):
    for name in ("reference.command", "reference.calculator", "seeds_from", "hull.known", "teacher.labels_from", "molecules.molecule"):
        status, answer = server.post("/api/runs", {"profile": "aluminium", "settings": nested(name, "x")})
        assert status == 403
        assert name in answer["error"]
    assert server.post("/api/runs", {"settings": {"poool": 1}})[0] == 400
    assert not server.folder.exists() or not list(server.folder.glob("*x*"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("reference.engine", "ase"), ("reference.engine", "espresso"), ("reference.engine", "mace:/tmp/x"), ("model.prior", "mace:/tmp/x"),
     ("teacher.name", "ase:os:system"), ("reference.xc", "libxc file"), ("relax.optimiser", "learned:/etc/passwd")],
)  # fmt: skip
def test_values_that_name_programs_or_files_are_refused(name, value):
    with pytest.raises(Refused, match="profile") as caught:
        check_fields(nested(name, value))
    assert caught.value.status == 403


def test_every_text_setting_that_may_be_set_has_a_list_of_values():
    """A new text field on the list would be a way to name a file."""
    for name in NAMES - {"formula"}:
        given = nested(name, "/etc/passwd")
        with pytest.raises((Refused, ValidationError)):
            check_and_validate(given)


def check_and_validate(given):
    check_fields(given)
    RunSettings.model_validate(given)


def test_a_port_in_use_is_one_line(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = CliRunner().invoke(app, ["serve", str(tmp_path), "--port", str(port), "--no-browser"])
    assert result.exit_code == 2
    assert result.stderr == f"error: port {port} on 127.0.0.1 is in use; choose another one with --port\n"


def test_files_that_are_no_models_are_refused_at_the_start(tmp_path, model):
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"\x80\x04pickle")
    for path in (wrong, tmp_path / "missing.safetensors"):
        result = CliRunner().invoke(app, ["serve", str(path), "--no-browser"])
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
    assert list(places_of([model]).models.values()) == [model.resolve()]
