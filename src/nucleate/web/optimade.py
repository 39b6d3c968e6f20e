"""The polymorphs of all runs as a database of OPTIMADE: a read-only route without the token, for `nucleate serve --optimade`.

Answers contain what `nucleate export --to optimade` writes, and nothing else of a run.
"""

from __future__ import annotations

import datetime
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from nucleate.csp.run_data import RunData, package_version
from nucleate.errors import NucleateError, quoted
from nucleate.export.optimade import API_VERSION, PREFIX, PROPERTIES, PROVIDER, SORTABLE, base_info, structures, structures_info
from nucleate.web.endpoints import Hub
from nucleate.web.optimade_filter import Filter
from nucleate.web.refused import Refused, status_of
from nucleate.web.runs import readable

BASE = "/optimade"
"""Path of the route; the address of the database for clients is the server's with this path."""
PAGE, LARGEST_PAGE = 20, 500
"""Default and largest number of entries in one answer."""
UNKNOWN = {
    "assemblies": "list",
    "immutable_id": "string",
    "space_group_symmetry_operations_xyz": "list",
    "space_group_symbol_hall": "string",
    "space_group_symbol_hermann_mauguin": "string",
    "space_group_symbol_hermann_mauguin_extended": "string",
    "space_group_it_number": "integer",
}
"""Properties of the specification that no entry has. The space group that was found is a property of nucleate, because the coordinates have
its symmetry only within a tolerance."""
TYPES = {name: value.type for name, value in PROPERTIES.items()} | UNKNOWN
TOP = ("id", "type")
"""Properties outside `attributes`."""
ALWAYS = ("response_format", "email_address", "api_hint")
PARAMETERS = {
    "structures": ("filter", "page_limit", "page_offset", "sort", "include", "response_fields", *ALWAYS),
    "single": ("include", "response_fields", *ALWAYS),
    "other": ALWAYS,
}


class JsonApi(JSONResponse):
    """JSON with the media type of JSON:API."""

    media_type = "application/vnd.api+json"


@dataclass
class Database:
    """Entries of the runs that the server shows.

    Attributes:
        hub: what the server shows.
    """

    hub: Hub
    _cache: dict[Path, tuple[RunData, list[dict[str, Any]]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def entries(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Return all entries sorted by id, and warnings; a copy of a run adds no entries."""
        found: dict[str, dict[str, Any]] = {}
        unread = 0
        for path in self.hub.places.all_runs().values():
            try:
                for entry in self._of_run(path):
                    found.setdefault(entry["id"], entry)
            except NucleateError:
                unread += 1
        warnings = [f"{unread} run{'s' if unread > 1 else ''} cannot be read now"] if unread else []
        return sorted(found.values(), key=lambda entry: str(entry["id"])), warnings

    def _of_run(self, path: Path) -> list[dict[str, Any]]:
        run = self.hub.runs.read(path)
        with self._lock:
            known = self._cache.get(path)
        if known is not None and known[0] is run:
            return known[1]
        with readable(path):
            made = structures(run)
        with self._lock:
            self._cache[path] = (run, made)
        return made


def optimade_route(hub: Hub) -> Mount:
    """Return the route; the versioned address is `BASE` with `/v1`, and the unversioned one answers as well."""
    database = Database(hub)

    async def answered(request: Request) -> Response:
        return await run_in_threadpool(_answered, request, database)

    return Mount(BASE, routes=[Route("/{path:path}", answered, methods=["GET"])])


def _answered(request: Request, database: Database) -> Response:
    """Answer a request, errors included."""
    path = request.path_params["path"].strip("/")
    try:
        if path == "versions":
            return Response("version\n1\n", media_type="text/csv; header=present")
        first, _, rest = path.partition("/")
        if first in ("v1", "v1.1", f"v{API_VERSION}"):
            path = rest
        elif re.match(r"v[0-9]", first):
            raise Refused(f"version {quoted(first, 20)} is not supported; use v1", 553)
        query = dict(parse_qsl(request.url.query, keep_blank_values=True, max_num_fields=50))
        return JsonApi(_content(path, query, f"http://{request.headers['host']}{BASE}", database))
    except ValueError:
        return _failed(path, 400, "the query has too many parameters")
    except NucleateError as error:
        return _failed(path, status_of(error), " ".join(str(error).split()))


def _failed(path: str, status: int, detail: str) -> Response:
    title = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 501: "Not Implemented", 553: "Version Not Supported"}.get(
        status, "Error"
    )
    error = {"status": str(status), "title": title, "detail": quoted(detail, 500)}
    return JsonApi({"meta": _meta(path, {}, []), "errors": [error]}, status)


def _content(path: str, query: dict[str, str], base: str, database: Database) -> dict[str, Any]:
    """Return the answer to a request below the versioned address."""
    what = "structures" if path == "structures" else "single" if path.startswith("structures/") else "other"
    warnings = _check(query, PARAMETERS[what])
    if path == "info":
        return {"meta": _meta(path, query, warnings), "data": base_info(f"{base}/v1")}
    if path == "info/structures":
        return {"meta": _meta(path, query, warnings), "data": structures_info()}
    if path == "links":
        return {"meta": _meta(path, query, warnings, returned=1, available=1), "data": [_link(base)]}
    if what == "other":
        raise Refused("there is nothing at this address; the endpoints are info, info/structures, links, structures and versions", 404)
    entries, more = database.entries()
    fields, foreign = _fields(query.get("response_fields"))
    warnings += more + foreign
    if what == "single":
        key = path.removeprefix("structures/")
        found = [entry for entry in entries if entry["id"] == key]
        # JSON:API gives null for an entry that does not exist.
        data = _shown(found[0], fields) if found else None
        return {"meta": _meta(path, query, warnings, returned=len(found), available=len(entries)), "data": data}
    filtered, more = _filtered(entries, query.get("filter", ""))
    warnings += more
    limit, offset = _number(query, "page_limit", PAGE), _number(query, "page_offset", 0)
    if limit > LARGEST_PAGE:
        raise Refused(f"page_limit is at most {LARGEST_PAGE}", 403)
    ordered = _sorted(filtered, query.get("sort", ""))
    shown = ordered[offset : offset + limit]
    follows = offset + limit < len(ordered) and limit > 0
    link = f"{base}/v1/structures?{urlencode(query | {'page_offset': str(offset + limit), 'page_limit': str(limit)})}" if follows else None
    meta = _meta(path, query, warnings, follows, len(filtered), len(entries))
    return {"meta": meta, "links": {"next": link}, "data": [_shown(entry, fields) for entry in shown]}


def _check(query: dict[str, str], known: tuple[str, ...]) -> list[str]:
    """Refuse parameters that do not exist or cannot be followed; return warnings about those of other databases."""
    warnings = []
    for name in query:
        if name in known:
            continue
        if name.startswith(PREFIX) or not re.match(r"_[a-z0-9]+_", name):
            raise Refused(f"there is no parameter '{quoted(name, 40)}' here; choose from {', '.join(known)}")
        warnings.append(f"the parameter {quoted(name, 40)} is of another database and has no effect")
    if query.get("response_format", "json") != "json":
        raise Refused("response_format must be json")
    if query.get("include", "references") not in ("references", ""):
        raise Refused("include must be references or empty; there are no related entries")
    return warnings


def _fields(text: str | None) -> tuple[set[str], list[str]]:
    """Return the names of the wanted properties, and warnings about those of other databases."""
    if text is None:
        return set(PROPERTIES), []
    names = {name.strip() for name in text.split(",")} - {""}
    warnings = []
    for name in sorted(names - set(TYPES)):
        if name.startswith(PREFIX) or not re.match(r"_[a-z0-9]+_", name):
            raise Refused(f"response_fields: there is no property '{quoted(name, 60)}'; the properties are listed in info/structures")
        warnings.append(f"the property {quoted(name, 60)} is of another database and unknown")
    return names, warnings


def _shown(entry: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    attributes = {name: entry["attributes"].get(name) for name in sorted(fields) if name not in TOP}
    return {"type": entry["type"], "id": entry["id"], "attributes": attributes}


def _filtered(entries: list[dict[str, Any]], text: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the entries that match a filter, and warnings."""
    if not text.strip():
        return entries, []
    chosen = Filter(text, TYPES, PREFIX)
    warnings = [f"the property {quoted(name, 60)} is of another database and unknown" for name in sorted(chosen.foreign)]
    return [entry for entry in entries if chosen.matches({"id": entry["id"], "type": entry["type"], **entry["attributes"]})], warnings


def _sorted(entries: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return entries sorted by properties, the first one named first; unknown values come last."""
    for word in reversed([word.strip() for word in text.split(",") if word.strip()]):
        name, down = word.removeprefix("-"), word.startswith("-")
        if name not in PROPERTIES or TYPES[name] not in SORTABLE:
            raise Refused(f"sort: there is no property '{quoted(name, 60)}' by which entries can be sorted")
        values = [(entry[name] if name in TOP else entry["attributes"][name], entry) for entry in entries]
        known = sorted((pair for pair in values if pair[0] is not None), key=lambda pair: pair[0], reverse=down)
        entries = [entry for _, entry in known] + [entry for value, entry in values if value is None]
    return entries


def _number(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused(f"{name} must be a number, 0 or more")
    return int(text)


def _meta(
    path: str, query: dict[str, str], warnings: list[str], more: bool = False, returned: int | None = None, available: int | None = None
) -> dict[str, Any]:
    """Return the meta object of an answer."""
    meta: dict[str, Any] = {
        "query": {"representation": quoted(f"/{path}{'?' if query else ''}{urlencode(query)}", 5000)},
        "api_version": API_VERSION,
        "schema": "https://schemas.optimade.org/openapi/v1.1/optimade.json",
        "time_stamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "more_data_available": more,
        "provider": PROVIDER,
        "implementation": {"name": "nucleate", "version": package_version()},
    }
    if returned is not None:
        meta |= {"data_returned": returned, "data_available": available}
    if warnings:
        meta["warnings"] = [{"type": "warning", "id": str(number), "detail": text} for number, text in enumerate(warnings)]
    return meta


def _link(base: str) -> dict[str, Any]:
    """Return the entry of this database."""
    about = {"name": PROVIDER["name"], "description": PROVIDER["description"], "base_url": base, "homepage": None, "link_type": "root"}
    return {"type": "links", "id": PROVIDER["prefix"], "attributes": about}
