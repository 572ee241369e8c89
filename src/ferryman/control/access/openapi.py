"""The OpenAPI document of the control plane, made of the structs that requests are read into."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ferryman import __version__
from ferryman.control.access.desk import operations
from ferryman.control.access.operation import Operation
from ferryman.control.access.reading import fields_of

PATH = "/openapi.json"

_REFERENCE = "#/components/schemas/{name}"
_ERROR = {
    "type": "object",
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
        "request_id": {"type": "string"},
    },
}


def documented(routes: Sequence[Route]) -> list[BaseRoute]:
    """`routes`, and the path on which their document is served."""
    document: list[bytes] = []

    async def answer(_request: Request) -> Response:
        """The OpenAPI document of the control plane."""
        return Response(document[0], media_type="application/json")

    every = [*routes, Route(PATH, answer, methods=["GET"])]
    document.append(msgspec.json.encode(document_of(every)))
    return list(every)


def document_of(routes: Sequence[Route]) -> dict[str, Any]:
    """The document of these routes; those of `operations` with all their fields."""
    known = {(one.method, one.path): one for one in operations()}
    shapes = sorted({one.asks for one in known.values()}, key=lambda shape: shape.__name__)
    _, components = msgspec.json.schema_components(shapes, ref_template=_REFERENCE)
    components = _with_numbers(components)
    components = _with_numbers(components)
    components["Error"] = _ERROR
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operation = known.get((method, route.path))
            told = _of_operation(operation) if operation is not None else _of_route(route)
            paths.setdefault(route.path, {})[method.lower()] = {
                "operationId": _id(method, route.path),
                "tags": [route.path.split("/")[1]],
                **told,
                "responses": _responses(operation),
            }
    credential = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ferryman", "version": __version__},
        "security": [{"key": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {"key": credential},
        },
    }


def _of_operation(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {"summary": operation.summary}
    in_path = re.findall(r"\{(\w+)\}", operation.path)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path
    ]
    if operation.method == "GET":
        for name, field in fields_of(operation.asks).items():
            schema = msgspec.json.schema_components([field.kind], ref_template=_REFERENCE)[0][0]
            parameters.append({"name": name, "in": "query", "required": field.required, "schema": schema})
    else:
        schema = {"$ref": _REFERENCE.format(name=operation.asks.__name__)}
        told["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return told | ({"parameters": parameters} if parameters else {})


def _of_route(route: Route) -> dict[str, Any]:
    """What can be told of a route that reads its parameters itself."""
    words = (inspect.getdoc(route.endpoint) or "").partition("\n")[0]
    return {"summary": words or f"See `{route.path}` in the documentation."}


def _responses(operation: Operation | None) -> dict[str, Any]:
    answer = operation.answer if operation is not None else "As LiteLLM answers."
    error = {"content": {"application/json": {"schema": {"$ref": _REFERENCE.format(name="Error")}}}}
    return {
        "200": {"description": answer, "content": {"application/json": {}}},
        "default": {"description": "An error in Anthropic's shape.", **error},
    }


def _with_numbers(schema: Any) -> Any:  # noqa: ANN401  # JSON
    """`schema` with numbers for what msgspec reads of numbers and texts and tells as texts: dollars."""
    if isinstance(schema, list):
        return [_with_numbers(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        return {**schema, "type": "number", "minimum": 0}
    return {name: _with_numbers(one) for name, one in schema.items()}


def _id(method: str, path: str) -> str:
    words = re.findall(r"\w+", path)
    return "_".join([method.lower(), *words])
