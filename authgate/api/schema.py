"""The OpenAPI document: each view says in one line for each method what it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from drf_spectacular.openapi import AutoSchema

Schema = dict[str, Any]


class Parameter(NamedTuple):
    name: str  # of the query
    schema: Schema
    words: str


class Operation(NamedTuple):
    """`takes` and `gives` are names of components; an empty one stands for no body."""

    words: str
    gives: str = ""
    takes: str = ""
    parameters: tuple[Parameter, ...] = ()
    statuses: tuple[int, ...] = (200,)
    has_tag: bool = False  # the answer has an ETag, and a change honours If-Match
    is_list: bool = False
    is_trial: bool = False  # or answers what it would have done


class FieldError(msgspec.Struct, frozen=True):
    field: str  # a path such as when.claim; empty: all of it
    message: str


class ProblemDetails(msgspec.Struct):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


class Refusal(msgspec.Struct):
    """docs/reasons.md"""

    error: str
    message: str
    reason: str
    request_id: str


class ApiSchema(AutoSchema):
    def get_operation(self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any) -> Any:
        view: Any = self.view
        operation: Operation | None = view.operations.get(method.lower())
        if operation is None:
            return None
        resource, _, rest = path.partition("/v1/")[2].partition("/")
        verbs = {"get": "read", "put": "put", "patch": "change", "post": "post", "delete": "delete"}
        verb = "list" if operation.is_list else verbs[method.lower()]
        words = [part.strip("{}").replace("-", "_") for part in rest.split("/") if part]
        document: dict[str, Any] = {
            "operationId": "_".join([verb, resource.replace("-", "_"), *words]),
            "summary": operation.words,
            "tags": [resource],
            "parameters": [*_path_parameters(path, view), *_query(operation), *_conditions(operation, method)],
            "responses": _responses(operation),
        }
        if operation.takes:
            content = {"application/json": {"schema": _ref(operation.takes)}}
            document["requestBody"] = {"required": True, "content": content}
        return document


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _responses(operation: Operation) -> Schema:
    found: Schema = {}
    for status in operation.statuses:
        found[str(status)] = {"description": "Done." if status != 201 else "Created."}
        if operation.gives and status != 204:
            schema = _page_of(operation.gives) if operation.is_list else _ref(operation.gives)
            if status == 200 and operation.is_trial:
                schema = {"anyOf": [schema, _ref("Publication")]}
            found[str(status)]["content"] = {"application/json": {"schema": schema}}
        if operation.has_tag and status != 204:
            found[str(status)]["headers"] = {"ETag": {"schema": {"type": "string"}}}
    if operation.has_tag and operation.statuses == (200,) and not operation.takes:
        found["304"] = {"description": "It is what If-None-Match names."}
    content = {
        "application/problem+json": {"schema": _ref("ProblemDetails")},
        "application/json": {"schema": _ref("Refusal")},
    }
    words = "A problem (RFC 9457), or a refusal of the gateway before the API saw the request."
    return {**found, "default": {"description": words, "content": content}}


def _page_of(name: str) -> Schema:
    link = {"type": ["string", "null"]}
    return {
        "type": "object",
        "properties": {
            "count": {"type": "integer"}, "next": link, "previous": link,
            "results": {"type": "array", "items": _ref(name)},
        },
        "required": ["count", "next", "previous", "results"],
    }  # fmt: skip


def _path_parameters(path: str, view: Any) -> list[Schema]:
    names = [piece.partition("}")[0] for piece in path.split("{")[1:]]
    schemas: Mapping[str, Schema] = view.path_schemas
    return [{"name": name, "in": "path", "required": True, "schema": schemas[name]} for name in names]


def _query(operation: Operation) -> list[Schema]:
    return [
        {"name": name, "in": "query", "description": words, "schema": schema}
        for name, schema, words in operation.parameters
    ]


def _conditions(operation: Operation, method: str) -> list[Schema]:
    if not operation.has_tag or method.upper() == "POST":
        return []
    names = ["If-None-Match"] if method.upper() == "GET" else ["If-Match", "If-None-Match"]
    return [{"name": name, "in": "header", "schema": {"type": "string"}} for name in names]
