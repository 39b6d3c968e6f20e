"""A server in its own process, as a user starts it, and a client that sends exactly the requests it is told to."""

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from nucleate.potentials.families import family_settings
from nucleate.potentials.files import save_committee
from nucleate.potentials.registry import make_model

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
def electron_model(tmp_path_factory):
    """The folder of an electron model for aluminium, trained for a moment on local densities of states that are written down."""
    pytest.importorskip("zarr", reason="the extra electrons is not installed")
    from nucleate.electrons.data.ground_state import Snapshot
    from nucleate.electrons.data.store import write_snapshot
    from nucleate.electrons.model.training import ElectronTraining, train
    from nucleate.electrons.species import Ion

    folder = tmp_path_factory.mktemp("electrons")
    (folder / "data" / "snapshots").mkdir(parents=True)
    engine = {"engine": "gpaw", "functional": "LDA", "pseudopotential": "hgh", "cutoff": 200.0}
    energies = np.arange(-12.0, 20.0, 0.25)
    # Free electrons from -11 eV on, as many in 12 eV as aluminium has.
    states = 3 * 1.5 * np.sqrt(np.clip(energies + 11, 0, None)) / 12**1.5
    for number in range(2):
        atoms = bulk("Al", cubic=True, a=4.05)
        atoms.rattle(0.1, seed=number)
        grid = np.stack(np.meshgrid(*[np.arange(12) / 12] * 3, indexing="ij"), -1).reshape(-1, 3)
        apart = grid[:, None] - atoms.get_scaled_positions()[None]
        lengths = np.linalg.norm((apart - apart.round()) @ atoms.cell.array, axis=-1)
        near = (0.2 + np.exp(-((lengths - 1.2) ** 2))).sum(1).reshape(12, 12, 12)
        near *= len(atoms) / (near.sum() * atoms.get_volume() / near.size)
        ldos = (near[..., None] * states).astype(np.float32)
        snapshot = Snapshot(atoms, energies, ldos, 3 * near, 0.5, 933.0, 1.0, {}, {"Al": Ion("Al", 3.0, 0.3)}, engine, {})
        write_snapshot(folder / "data" / "snapshots" / f"{number:04d}.zarr", snapshot)
    settings = ElectronTraining(steps=100, points=600, hidden=(12, 12), descriptor={"radial": 4, "degree": 2, "cutoff": 4.0})
    train([folder / "data"], folder / "al-electrons", settings)
    return folder / "al-electrons"


@pytest.fixture(scope="session")
def coupling_model(tmp_path_factory):
    """The folder of a coupling model of iron and manganese, trained on elements and distances."""
    from nucleate.spins.models.data import Pairs
    from nucleate.spins.models.training import PairTraining, train_pairs

    path = tmp_path_factory.mktemp("couplings") / "fe-mn"
    elements = [(a, b) for a in ("Fe", "Mn") for b in ("Fe", "Mn") for _ in range(6)]
    lengths = np.tile(np.linspace(2.4, 6.0, 6), 4)
    signs = np.array([1.0 if a == b == "Fe" else -1.0 for a, b in elements])
    train_pairs(Pairs.of_elements(elements, 20 * signs * np.exp(2.4 - lengths), lengths), path, PairTraining(restarts=1))
    return path


@pytest.fixture
def iron(tmp_path):
    """A file of bcc iron."""
    ase.io.write(tmp_path / "iron.cif", bulk("Fe", cubic=True))
    return tmp_path / "iron.cif"


@contextlib.contextmanager
def served(arguments):
    """A client of a server that is started with these arguments."""
    command = [sys.executable, "-m", "nucleate", "serve", *arguments, "--port", "0", "--no-browser"]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    lines = [process.stdout.readline()]
    found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", lines[0])
    assert found, lines
    try:
        yield Client(int(found[1]), found[2])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def serve():
    """Starts a server with the given arguments; a context with its client."""
    return served


@pytest.fixture(scope="session")
def server(tmp_path_factory, model, electron_model, coupling_model):
    folder = tmp_path_factory.mktemp("serve")
    text = PROFILE.read_text().replace("max_rounds = 10", "max_rounds = 6\nlead_fmax = 5.0\nlead_steps = 8")
    text = text.replace("steps = 200", "steps = 60").replace("warm_steps = 80", "warm_steps = 30").replace("members = 3", "members = 2")
    profile = folder / "aluminium.toml"
    profile.write_text(text)
    with served([folder / "runs", model, electron_model, coupling_model, "--profile", profile]) as client:
        client.folder = folder / "runs"
        yield client
