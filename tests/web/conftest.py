"""A server in its own process, as a user starts it, and a client that sends exactly the requests it is told to."""

import http.client
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from nucleate.potentials.files import save_committee
from nucleate.potentials.registry import family_settings, make_model

PROFILE = Path(__file__).resolve().parents[2] / "examples" / "aluminium.toml"


class Client:
    """Requests to one server; headers that browsers or curl would add are only sent if they are given."""

    def __init__(self, port, token):
        self.port, self.token = port, token
        self.address = f"http://127.0.0.1:{port}/?token={token}"

    def send(self, method, path, body=None, headers=None, authorised=True, host=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=150)
        sent = {"Host": host or f"127.0.0.1:{self.port}"}
        if authorised:
            sent["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, body, sent | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path, **more):
        status, _, content = self.send("GET", path, **more)
        return status, json.loads(content)

    def post(self, path, data, **more):
        headers = {"X-Nucleate": "1", "Content-Type": "application/json"} | more.pop("headers", {})
        status, _, content = self.send("POST", path, json.dumps(data), headers, **more)
        return status, json.loads(content)

    def upload(self, path, name, content):
        body = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n--edge--\r\n"
        headers = {"X-Nucleate": "1", "Content-Type": "multipart/form-data; boundary=edge"}
        status, _, answer = self.send("POST", path, body, headers)
        return status, json.loads(answer)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A model file of a committee for aluminium, with random weights."""
    path = tmp_path_factory.mktemp("models") / "al.safetensors"
    options = family_settings("manybody", {"members": 2, "channels": 4, "hidden": 8, "radial": 4})
    save_committee(path, make_model("manybody", (13,), options, 0, torch.float32))
    return path


@pytest.fixture(scope="session")
def server(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("serve")
    text = PROFILE.read_text().replace("max_rounds = 4", "max_rounds = 6\nlead_fmax = 5.0\nlead_steps = 8")
    profile = folder / "aluminium.toml"
    profile.write_text(text)
    command = [sys.executable, "-m", "nucleate", "serve", folder / "runs", model, "--port", "0", "--profile", profile, "--no-browser"]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", line)
    assert found, line
    client = Client(int(found[1]), found[2])
    client.folder = folder / "runs"
    yield client
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(20) in (0, 130)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
