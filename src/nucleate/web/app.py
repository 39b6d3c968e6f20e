"""The web application: routes, static files, compression, and errors as JSON."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from nucleate.errors import NucleateError, quoted
from nucleate.persist.toml import validated
from nucleate.web import jobs
from nucleate.web.endpoints import ENDPOINTS, Endpoint, Hub, Text, Upload
from nucleate.web.openapi import openapi
from nucleate.web.places import Places
from nucleate.web.refused import Refused, status_of
from nucleate.web.runs import Runs
from nucleate.web.searches import Searches
from nucleate.web.security import LARGEST_BODY, REPORT_POLICY, Guard

STATIC = Path(__file__).with_name("static")
LARGEST_JSON = 100_000
"""Largest size of a body in JSON, in bytes."""


def make_app(places: Places, port: int, token: str, optimade: bool = False) -> Guard:
    """Return the application behind its checks.

    Args:
        places: things that were named on the command line.
        port: port of the server.
        token: secret of its address.
        optimade: whether the polymorphs are offered as a database of OPTIMADE, without the token.
    """
    searches = Searches()
    hub = Hub(places, searches, Runs(searches))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        searches.close()

    description = openapi()
    routes: list[BaseRoute] = [
        Route("/", _page, methods=["GET"]),
        Route("/api/openapi.json", lambda request: JSONResponse(description), methods=["GET"]),
        *(Route(endpoint.path, _handler(endpoint, hub), methods=[endpoint.method]) for endpoint in ENDPOINTS),
        Mount("/static/structures", StaticFiles(packages=[("nucleate.report", "static")], follow_symlink=False)),
        Mount("/static", StaticFiles(directory=STATIC, follow_symlink=False)),
    ]
    open_path = None
    if optimade:
        # The package with the grammar of filters is optional.
        from nucleate.web.optimade import BASE, optimade_route

        routes.append(optimade_route(hub))
        open_path = BASE
    app = Starlette(
        routes=routes,
        middleware=[Middleware(GZipMiddleware, minimum_size=1000)],
        exception_handlers={HTTPException: _http_error, NucleateError: _refusal, OSError: _os_error, Exception: _bug},
        lifespan=lifespan,
    )
    return Guard(app, port, token, open_path)


def _page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html", media_type="text/html")


def _handler(endpoint: Endpoint, hub: Hub) -> Any:
    """Return the function that answers one request; what computes or reads files runs in a thread."""

    async def answer(request: Request) -> Response:
        data = await _data(endpoint, request)
        ids = {name: str(value) for name, value in request.path_params.items()}
        if inspect.iscoroutinefunction(endpoint.handle):
            result = await endpoint.handle(hub, ids, data)
        else:
            result = await run_in_threadpool(endpoint.handle, hub, ids, data)
        if not isinstance(result, Text):
            return JSONResponse(result, endpoint.status)
        headers = {} if result.name is None else {"content-disposition": f'attachment; filename="{_file_name(result.name)}"'}
        if result.media == "text/html":
            headers["content-security-policy"] = REPORT_POLICY
        return Response(result.content, endpoint.status, headers, media_type=result.media)

    return answer


async def _data(endpoint: Endpoint, request: Request) -> BaseModel | Upload:
    """Return the validated query, body or file of a request."""
    if endpoint.takes is None:
        # The options are checked before the file is read.
        options = validated(endpoint.options, dict(request.query_params), "query")
        return replace(await _upload(request), options=options)
    if endpoint.method == "GET":
        given: dict[str, Any] = dict(request.query_params)
        # The text of a query is converted to numbers by the model.
        return validated(endpoint.takes, given, "query")
    content = await request.body()
    if len(content) > LARGEST_JSON:
        raise Refused(f"the settings are larger than {LARGEST_JSON // 1000} kB", 413)
    if content and request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused("the Content-Type of the request must be application/json", 415)
    try:
        body = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        raise Refused("the body is not valid JSON") from None
    if not isinstance(body, dict):
        raise Refused("the body must be a JSON object")
    # The settings of a search are checked against the list of allowed names before their values are.
    return validated(endpoint.takes, body, "request")


async def _upload(request: Request) -> Upload:
    """Return the file of a form with the one field `file`."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused("upload the structure as the field `file` of a form (multipart/form-data)", 415)
    try:
        async with request.form(max_files=1, max_fields=1) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile) or len(form) != 1:
                raise Refused("upload the structure as the field `file` of the form, and nothing else")
            suffix = jobs.suffix_of(file.filename)
            content = await file.read()
    except (MultiPartException, HTTPException) as error:
        raise Refused(f"the form cannot be read ({quoted(getattr(error, 'detail', None) or str(error), 100)})") from None
    if len(content) > LARGEST_BODY:
        raise Refused(f"the file is larger than {LARGEST_BODY // 1_000_000} MB", 413)
    if not content:
        raise Refused("the file is empty")
    return Upload(content, suffix)


def _file_name(name: str) -> str:
    """Return a name for the browser's downloads with letters, digits and a few signs only."""
    return "".join(character if character.isascii() and (character.isalnum() or character in "-_.") else "_" for character in name)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = {404: "there is nothing at this address", 405: "this address does not take such requests"}.get(error.status_code, error.detail)
    return JSONResponse({"error": reason}, error.status_code, error.headers)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, NucleateError)
    return JSONResponse({"error": quoted(" ".join(str(error).split()), 500)}, status_of(error))


async def _os_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    return JSONResponse({"error": f"a file cannot be used: {quoted(error.strerror or error, 200)}"}, 500)


async def _bug(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"{type(error).__name__} in the server (a bug; its terminal shows where)"}, 500)
