"""OpenAPI 3 description of the API, made from the table of requests."""

from __future__ import annotations

import re
from typing import Any

from nucleate.csp.run_data import package_version
from nucleate.web.endpoints import ENDPOINTS, Endpoint
from nucleate.web.fields import described_fields
from nucleate.web.jobs import SUFFIXES
from nucleate.web.security import HEADER

ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string", "description": "What is wrong, in one line."}}}
MEDIA = {
    "/api/runs/{run}/report.html": ("text/html",),
    "/api/runs/{run}/polymorphs/{rank}/structure": ("application/json", "chemical/x-cif", "chemical/x-xyz"),
}
"""Media types of answers that are not JSON alone."""


def openapi() -> dict[str, Any]:
    """Return the description."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nucleate serve",
            "version": package_version(),
            "description": "Searches and trained models on this computer.",
        },
        "paths": paths,
        "security": [{"token": []}, {"cookie": []}],
        "components": {
            "schemas": {"Error": ERROR, "Settings": {"type": "object", "description": _settings_text()}},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Token of the address that nucleate serve prints."},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "nucleate-PORT"},
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    """Return the description of one request."""
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in re.findall(r"\{(\w+)\}", endpoint.path)
    ]
    operation: dict[str, Any] = {
        "operationId": endpoint.handle.__name__,
        "summary": endpoint.summary,
        "description": endpoint.handle.__doc__,
    }
    query = endpoint.options if endpoint.takes is None else endpoint.takes if endpoint.method == "GET" else None
    if query is not None:
        for name, schema in query.model_json_schema()["properties"].items() if query.model_fields else ():
            parameters.append(
                {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.get("description", "")}
            )
    if endpoint.takes is None:
        what = f"Structure file of one structure: {', '.join(SUFFIXES)}."
        file = {"type": "string", "format": "binary", "description": what}
        schema = {"type": "object", "required": ["file"], "properties": {"file": file}}
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    elif endpoint.method != "GET":
        operation["requestBody"] = {"content": {"application/json": {"schema": endpoint.takes.model_json_schema()}}}
    if endpoint.method == "POST":
        parameters.append({"name": HEADER, "in": "header", "required": True, "schema": {"type": "string"}})
    content = {media: {"schema": {"type": "object"} if "json" in media else {"type": "string"}} for media in _media(endpoint)}
    error = {"description": "The request is refused.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    operation |= {
        "parameters": parameters,
        "responses": {str(endpoint.status): {"description": "Done.", "content": content}, "default": error},
    }
    return operation


def _media(endpoint: Endpoint) -> tuple[str, ...]:
    return MEDIA.get(endpoint.path, ("application/json",))


def _settings_text() -> str:
    return "Settings that a client may set: " + ", ".join(field["name"] for field in described_fields())
