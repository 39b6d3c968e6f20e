"""Requests of the API and what they do; `openapi.py` describes the same table, and `app.py` routes it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import ase.io

from nucleate.csp.result_files import cif_text
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import standard_cell
from nucleate.persist.files import read_lines
from nucleate.polymorphs.landscape_map import landscape_map
from nucleate.report.html import render
from nucleate.training.folder import add_command, read_events
from nucleate.web import bodies, jobs
from nucleate.web.fields import NAMES, described_fields, flat
from nucleate.web.models import ELECTRONS, Kind, model_facts, refuse_model
from nucleate.web.patterns import powder_pattern
from nucleate.web.places import Places, id_of
from nucleate.web.refused import Refused
from nucleate.web.runs import Runs, readable
from nucleate.web.scenes import scene
from nucleate.web.searches import Searches
from nucleate.web.trainings import training_data

MOST_EVENTS = 500
"""Largest number of events in one answer."""


@dataclass(frozen=True)
class Hub:
    """What the requests work on.

    Attributes:
        places: things that were named on the command line.
        searches: searches that this server started.
        runs: reader of run folders.
    """

    places: Places
    searches: Searches
    runs: Runs

    def run(self, key: str) -> Any:
        """Return the path of a run, those included that have not created their folder yet."""
        starting = {id_of(path): path for path in self.searches.paths()}
        return starting[key] if key in starting else self.places.run(key)


@dataclass(frozen=True)
class Upload:
    """An uploaded structure file: its content, the suffix that tells its format, and the options of the query."""

    content: bytes
    suffix: str
    options: bodies.Request = field(default_factory=bodies.Nothing)


@dataclass(frozen=True)
class Text:
    """An answer that is not JSON.

    Attributes:
        content: the text.
        media: media type.
        name: name under which a browser saves it; None: it is shown.
    """

    content: str
    media: str
    name: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """One request of the API.

    Attributes:
        method: GET or POST.
        path: path with its ids in braces.
        handle: called with hub, ids, and the query (GET) or body (POST), or the uploaded file; returns JSON data or `Text`.
        summary: what it does, in one sentence.
        takes: model of the query or body; None: an uploaded file.
        status: status of a successful answer.
        options: model of the query of a request with an uploaded file.
    """

    method: str
    path: str
    handle: Callable[[Hub, dict[str, str], Any], Any] | Callable[[Hub, dict[str, str], Any], Awaitable[Any]]
    summary: str
    takes: type[bodies.Request] | None = bodies.Nothing
    status: int = 200
    options: type[bodies.Request] = bodies.Nothing


def list_runs(hub: Hub, ids: dict[str, str], query: bodies.Nothing) -> dict[str, Any]:
    """List the runs, the newest first, and the folders in which searches can be started."""
    paths = {id_of(path): path for path in hub.searches.paths()} | hub.places.all_runs()
    runs = [(_age(path), hub.runs.summary(path)) for path in paths.values()]
    ordered = [summary for _, summary in sorted(runs, key=lambda item: (-item[0], item[1]["name"]))]
    return {"runs": ordered, "folders": [{"id": key, "name": path.name or str(path)} for key, path in hub.places.folders.items()]}


def _age(path: Any) -> float:
    """Return the time at which a run was started, as far as its files tell; runs that are just starting are the newest."""
    try:
        return float((path / "run.toml").stat().st_mtime)
    except OSError:
        return float("inf")


def show_run(hub: Hub, ids: dict[str, str], query: bodies.Nothing) -> dict[str, Any]:
    """Return the ranking and the figures of a run."""
    return hub.runs.show(hub.run(ids["run"]))


async def events(hub: Hub, ids: dict[str, str], query: bodies.EventsQuery) -> dict[str, Any]:
    """Return the events of a run after those that the client has, and wait for one if there is none."""
    path = hub.run(ids["run"]) / "events.jsonl"
    deadline = asyncio.get_running_loop().time() + query.wait
    seen = -1
    while True:
        size = path.stat().st_size if path.is_file() else 0
        if size != seen:
            seen = size
            lines = await asyncio.to_thread(read_lines, path)
            if len(lines) > query.after:
                chosen = lines[query.after : query.after + MOST_EVENTS]
                return {"events": chosen, "next": query.after + len(chosen), "total": len(lines)}
        if asyncio.get_running_loop().time() >= deadline:
            return {"events": [], "next": query.after, "total": query.after}
        await asyncio.sleep(0.4)


def failures(hub: Hub, ids: dict[str, str], query: bodies.Nothing) -> dict[str, Any]:
    """Return the failed reference calculations of a run."""
    return {"failures": hub.runs.failures(hub.run(ids["run"]))}


def landscape(hub: Hub, ids: dict[str, str], query: bodies.Nothing) -> dict[str, Any]:
    """Return energy and size of all labelled structures and polymorphs of a run."""
    return hub.runs.landscape(hub.run(ids["run"]))


def report(hub: Hub, ids: dict[str, str], query: bodies.Nothing) -> Text:
    """Return the report of a run as it is now, as one HTML page."""
    run = hub.runs.read(hub.run(ids["run"]))
    with readable(run.path):
        return Text(render(run, landscape_map(run)), "text/html")


def structure(hub: Hub, ids: dict[str, str], query: bodies.StructureQuery) -> dict[str, Any] | Text:
    """Return the structure of a polymorph."""
    path, rank = hub.run(ids["run"]), _rank(ids)
    polymorph = hub.runs.polymorph(path, rank)
    name = f"{path.name}-{rank:02d}"
    if query.format == "cif":
        return Text(cif_text(polymorph.atoms), "chemical/x-cif", f"{name}.cif")
    if query.format == "extxyz":
        stream = io.StringIO()
        ase.io.write(stream, polymorph.atoms, format="extxyz")
        return Text(stream.getvalue(), "chemical/x-xyz", f"{name}.extxyz")
    return scene(standard_cell(polymorph.atoms))


def powder(hub: Hub, ids: dict[str, str], query: bodies.PowderQuery) -> dict[str, Any]:
    """Return the calculated X-ray powder pattern of a polymorph."""
    return powder_pattern(hub.runs.polymorph(hub.run(ids["run"]), _rank(ids)).atoms, query.wavelength)


def labelled(hub: Hub, ids: dict[str, str], query: bodies.Nothing) -> dict[str, Any]:
    """Return a labelled structure of a run and its energy."""
    atoms, facts = hub.runs.label(hub.run(ids["run"]), _number(ids["number"], "labelled structure"))
    return {**scene(atoms), **facts}


def _rank(ids: dict[str, str]) -> int:
    return _number(ids["rank"], "polymorph")


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused(f"the number of a {what} is a positive integer", 404)
    return int(text)


def settings(hub: Hub, ids: dict[str, str], query: bodies.Nothing) -> dict[str, Any]:
    """Return the settings that a client may set, with their descriptions, defaults and bounds, and the profiles."""
    profiles = []
    for name, data in hub.places.profiles.items():
        values = flat(data)
        shown = {key: value for key, value in values.items() if key in NAMES}
        profiles.append({"name": name, "settings": shown, "hidden": sorted(set(values) - NAMES)})
    folders = [{"id": key, "name": path.name or str(path)} for key, path in hub.places.folders.items()]
    return {"fields": described_fields(), "profiles": profiles, "folders": folders}


def start(hub: Hub, ids: dict[str, str], body: bodies.StartBody) -> dict[str, Any]:
    """Start a search; its run folder is named after the formula."""
    path = hub.searches.start(hub.places.folder(body.folder), body.settings, hub.places.profile(body.profile))
    return {"run": id_of(path), "name": path.name}


def stop(hub: Hub, ids: dict[str, str], body: bodies.Nothing) -> dict[str, Any]:
    """Interrupt a search that this server started; it writes its results and ends."""
    hub.searches.stop(hub.run(ids["run"]))
    return {"run": ids["run"]}


def resume(hub: Hub, ids: dict[str, str], body: bodies.ResumeBody) -> dict[str, Any]:
    """Resume a search that was stopped, or that used up its budget."""
    path = hub.run(ids["run"])
    if not (path / "run.toml").is_file():
        raise Refused("the search has not started; start it again with other settings", 409)
    if body.budget is not None and body.budget < (now := hub.runs.read(path).settings.search.budget):
        raise Refused(f"budget {body.budget}: the run has a budget of {now}; a budget can only be raised")
    hub.searches.resume(path, body.budget)
    return {"run": ids["run"]}


def list_models(hub: Hub, ids: dict[str, str], query: bodies.Nothing) -> dict[str, Any]:
    """List the models named on the command line, and the potentials of the last round of each run and of each training."""
    listed = []
    for key, path in hub.places.all_models().items():
        owner = path.parent.parent if path.parent.name == "models" else path.parent
        # Models in folders of their own all have the same file name, so their folders tell them apart.
        own = path.parent.name if path.name == ELECTRONS else path.name
        name = own if key in hub.places.models else f"{owner.name}: {path.stem}"
        try:
            listed.append({"id": key, "name": name, **model_facts(path)})
        except Exception as error:
            listed.append({"id": key, "name": name, "message": " ".join(str(error).split())[:300]})
    return {"models": listed, "suffixes": list(jobs.SUFFIXES), "most_atoms": jobs.MOST_ATOMS}


def read_structure(hub: Hub, ids: dict[str, str], upload: Upload) -> dict[str, Any]:
    """Read an uploaded structure file and return its structure and powder pattern."""
    return jobs.compute(upload.content, upload.suffix)


def predict(hub: Hub, ids: dict[str, str], upload: Upload) -> dict[str, Any]:
    """Predict energy, forces, stress and their uncertainty for an uploaded structure with a potential."""
    return _predicted(hub, ids, upload, "potential")


def predict_electrons(hub: Hub, ids: dict[str, str], upload: Upload) -> dict[str, Any]:
    """Predict energies, density of states and density of an uploaded structure with an electron model; forces are optional."""
    return _predicted(hub, ids, upload, "electrons")


def predict_couplings(hub: Hub, ids: dict[str, str], upload: Upload) -> dict[str, Any]:
    """Predict the couplings of the magnetic atoms of an uploaded structure with a coupling model."""
    return _predicted(hub, ids, upload, "couplings")


def _predicted(hub: Hub, ids: dict[str, str], upload: Upload, kind: Kind) -> dict[str, Any]:
    path = hub.places.model(ids["model"])
    try:
        refuse_model(path, kind)
    except BadInput as error:
        # The path of a model is not the client's concern.
        raise Refused(str(error).replace(str(path), path.name)) from None
    return jobs.compute(upload.content, upload.suffix, path, kind, upload.options.model_dump())


def list_trainings(hub: Hub, ids: dict[str, str], query: bodies.Nothing) -> dict[str, Any]:
    """List the trainings of potentials."""
    return {"trainings": [training_data(path, brief=True) for path in hub.places.all_trainings().values()]}


def show_training(hub: Hub, ids: dict[str, str], query: bodies.Nothing) -> dict[str, Any]:
    """Return the evaluations and commands of a training."""
    return training_data(hub.places.training(ids["training"]))


def steer(hub: Hub, ids: dict[str, str], body: bodies.SteerBody) -> dict[str, Any]:
    """Send a command to a running training, which applies it at its next step."""
    wanted = {"lr": "value", "freeze": "what", "unfreeze": "what", "reset": "what"}.get(body.do)
    for name in ("value", "what"):
        if (getattr(body, name) is None) == (name == wanted):
            raise Refused(f"the command {body.do} {'needs' if name == wanted else 'does not take'} `{name}`")
    path = hub.places.training(ids["training"])
    command = body.model_dump(exclude_none=True)
    add_command(path, command)
    return {"sent": command, "events": len(read_events(path))}


ENDPOINTS = (
    Endpoint("GET", "/api/runs", list_runs, "List runs, the newest first."),
    Endpoint("GET", "/api/runs/{run}", show_run, "Ranking, figures and state of a run; keys as of nucleate show --json."),
    Endpoint("GET", "/api/runs/{run}/events", events, "Events of a run; waits for the next one (long polling).", bodies.EventsQuery),
    Endpoint("GET", "/api/runs/{run}/failures", failures, "Failed reference calculations of a run."),
    Endpoint("GET", "/api/runs/{run}/landscape", landscape, "Energies and sizes of all labelled structures and polymorphs."),
    Endpoint("GET", "/api/runs/{run}/report.html", report, "Report of a run as HTML."),
    Endpoint("GET", "/api/runs/{run}/labels/{number}", labelled, "One labelled structure."),
    Endpoint(
        "GET", "/api/runs/{run}/polymorphs/{rank}/structure", structure, "Structure of a polymorph as CIF, extended XYZ or JSON.",
        bodies.StructureQuery,
    ),
    Endpoint("GET", "/api/runs/{run}/polymorphs/{rank}/powder", powder, "X-ray powder pattern of a polymorph.", bodies.PowderQuery),
    Endpoint("GET", "/api/settings", settings, "Settings that a client may set, profiles and folders."),
    Endpoint("POST", "/api/runs", start, "Start a search.", bodies.StartBody, 201),
    Endpoint("POST", "/api/runs/{run}/stop", stop, "Stop a search; its results are kept."),
    Endpoint("POST", "/api/runs/{run}/resume", resume, "Resume a search, with a larger budget if one is given.", bodies.ResumeBody),
    Endpoint("GET", "/api/models", list_models, "List models: potentials, electron models and coupling models."),
    Endpoint("POST", "/api/models/{model}/predict", predict, "Energy, forces, stress and uncertainty of an uploaded structure.", None),
    Endpoint(
        "POST", "/api/models/{model}/electrons", predict_electrons, "Energies, density of states and density of a structure.", None,
        options=bodies.ElectronOptions,
    ),
    Endpoint(
        "POST", "/api/models/{model}/couplings", predict_couplings, "Couplings of the magnetic atoms of an uploaded structure.", None,
        options=bodies.CouplingOptions,
    ),
    Endpoint("POST", "/api/structures", read_structure, "Read an uploaded structure; nothing is kept.", None),
    Endpoint("GET", "/api/trainings", list_trainings, "List trainings of potentials."),
    Endpoint("GET", "/api/trainings/{training}", show_training, "Evaluations and commands of a training."),
    Endpoint("POST", "/api/trainings/{training}/steer", steer, "Send a command to a running training.", bodies.SteerBody),
)  # fmt: skip
"""All requests of the API."""
