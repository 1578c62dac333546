"""Functions that build parts of an OpenAPI 3.1 document. Each protocol describes its HTTP routes with them.

Source: https://spec.openapis.org/oas/v3.1.0. The schemas of bodies that are ``msgspec`` structures are generated from
the structures (``struct_schemas``), so that the document and the server cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

#: A JSON Schema or another object of the document.
Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
#: A non-negative integer.
COUNT: Schema = {"type": "integer", "minimum": 0}
BYTES: Schema = {"type": "string", "format": "binary"}
#: Bytes within JSON.
BASE64: Schema = {
    "type": "object",
    "properties": {"b64": {"type": "string", "format": "byte"}},
    "required": ["b64"],
}
_REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True, kw_only=True)
class ApiDescription:
    """One protocol's part of the document."""

    #: Title and description of the group that the routes belong to.
    tag: str = ""
    description: str = ""
    #: Path items by path; ``{name}`` is a path parameter.
    paths: Mapping[str, Schema] = field(default_factory=dict)
    #: Schemas by name. All protocols share the names, so two protocols may use one only for equal schemas.
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    parameters: Mapping[str, Schema] = field(default_factory=dict)
    responses: Mapping[str, Schema] = field(default_factory=dict)


def reference(name: str) -> Schema:
    """A reference to the schema of that name."""
    return {"$ref": _REFERENCE.format(name=name)}


def record(required: str = "", /, **properties: Schema) -> Schema:
    """An object with these properties; ``required`` lists the names of the required ones, separated by spaces."""
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def array(items: Schema | None = None, **bounds: int) -> Schema:
    """A list of ``items``; ``bounds`` may be ``minItems`` and ``maxItems``."""
    return {"type": "array", **({"items": items} if items is not None else {}), **bounds}


def enum(*values: Any) -> Schema:
    """One of these values."""
    return {"enum": list(values)}


def struct_schemas(*kinds: type) -> dict[str, Schema]:
    """The schemas of ``msgspec`` structures and of the structures in their fields, by name."""
    return dict(msgspec.json.schema_components(kinds, ref_template=_REFERENCE)[1])


def json_body(schema: Schema, example: Any = None, *, required: bool = True, **more: Any) -> Schema:
    """A JSON request body; ``more`` are further fields, such as ``description``."""
    media = {"schema": schema} | ({"example": example} if example is not None else {})
    return {"required": required, "content": {"application/json": media}, **more}


def response(description: str, content: Mapping[str, Schema], **more: Any) -> Schema:
    """A response with a schema for each content type."""
    media = {kind: {"schema": schema} if schema else {} for kind, schema in content.items()}
    return {"description": description, "content": media, **more}


def json_response(description: str, schema: Schema) -> Schema:
    """A JSON response."""
    return response(description, {"application/json": schema})


class ErrorResponses:
    """The error responses of one protocol: one schema, and a description for each status."""

    def __init__(self, name: str, schema: Schema, descriptions: Mapping[int, str]) -> None:
        """``name`` names the schema; each response is named ``name`` followed by its status."""
        self._name = name
        self.schemas = {name: schema}
        self.responses = {
            f"{name}{status}": json_response(text, reference(name)) for status, text in descriptions.items()
        }

    def __call__(self, *statuses: int) -> dict[str, Schema]:
        """References to the responses of these statuses."""
        return {str(status): {"$ref": f"#/components/responses/{self._name}{status}"} for status in statuses}


def operation(
    id: str, summary: str, responses: Mapping[str, Schema], body: Schema | None = None, **more: Any
) -> Schema:
    """One method of a path. ``id`` must be unique in the document."""
    parts: Schema = {"operationId": id, "summary": summary, **more}
    if body:
        parts["requestBody"] = body
    return parts | {"responses": dict(responses)}


def parameter(name: str, location: str, schema: Schema, description: str = "") -> Schema:
    """A parameter; ``location`` is ``path``, ``query`` or ``header``."""
    required = {"required": True} if location == "path" else {}
    described = {"description": description} if description else {}
    return {"name": name, "in": location, **required, **described, "schema": schema}


def parameters(*names: str) -> list[Schema]:
    """References to the parameters of these names."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


#: ``{model}`` in the paths of every protocol.
MODEL = {"model": parameter("model", "path", {"type": "string", "minLength": 1}, "Name of a model.")}

#: Default descriptions of error statuses.
STATUS_DESCRIPTIONS = {
    400: "The request is invalid; the message says why.",
    403: "The operator of this server does not allow this request.",
    404: "There is no such model or version.",
    413: "The body is larger than the server accepts.",
    422: "The request is invalid; the message says why.",
    424: "The text could not be generated.",
    429: "The queue is full; retry later.",
    500: "The request was accepted, but running it failed.",
    501: "The protocol does not support this.",
    503: "The model is not ready, or the queue is full; retry later.",
}


def status_descriptions(*statuses: int) -> dict[int, str]:
    """The default descriptions of these statuses."""
    return {status: STATUS_DESCRIPTIONS[status] for status in statuses}
