"""Building blocks of the OpenAPI 3.1 document: each protocol describes its HTTP routes with them.

Source: https://spec.openapis.org/oas/v3.1.0. Bodies that are ``msgspec`` structures are described by the structures
themselves (``struct_schema``), so that the document and the server cannot disagree about them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

#: A JSON Schema, or another object of the document.
Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
#: A whole number that is not negative.
COUNT: Schema = {"type": "integer", "minimum": 0}
BYTES: Schema = {"type": "string", "format": "binary"}
#: Bytes inside JSON.
BASE64: Schema = {
    "type": "object",
    "properties": {"b64": {"type": "string", "format": "byte"}},
    "required": ["b64"],
}
_REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True, kw_only=True)
class ApiDescription:
    """What one protocol adds to the document."""

    #: Title and explanation of the group in which the routes are shown.
    tag: str = ""
    description: str = ""
    #: By path; ``{name}`` marks a part of the path that varies.
    paths: Mapping[str, Schema] = field(default_factory=dict)
    #: By name; names are shared by all protocols, so one name must mean one thing.
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    parameters: Mapping[str, Schema] = field(default_factory=dict)
    responses: Mapping[str, Schema] = field(default_factory=dict)


def reference(name: str) -> Schema:
    """A reference to the schema of that name."""
    return {"$ref": _REFERENCE.format(name=name)}


def record(required: str = "", /, **properties: Schema) -> Schema:
    """An object with these properties; ``required`` names those that are always there, separated by spaces."""
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def array(items: Schema | None = None, **bounds: int) -> Schema:
    """A list of ``items``; ``bounds`` are ``minItems`` and ``maxItems``."""
    return {"type": "array", **({"items": items} if items is not None else {}), **bounds}


def enum(*values: Any) -> Schema:
    """One of these values."""
    return {"enum": list(values)}


def struct_schemas(*kinds: type) -> dict[str, Schema]:
    """The schemas of ``msgspec`` structures and of those within them, by name."""
    return dict(msgspec.json.schema_components(kinds, ref_template=_REFERENCE)[1])


def json_body(schema: Schema, example: Any = None, *, required: bool = True, **more: Any) -> Schema:
    """A request's body in JSON; ``more`` are further fields of the body, such as ``description``."""
    media = {"schema": schema} | ({"example": example} if example is not None else {})
    return {"required": required, "content": {"application/json": media}, **more}


def response(description: str, content: Mapping[str, Schema], **more: Any) -> Schema:
    """A response with a schema for each content type."""
    media = {kind: {"schema": schema} if schema else {} for kind, schema in content.items()}
    return {"description": description, "content": media, **more}


def json_response(description: str, schema: Schema) -> Schema:
    """A response in JSON."""
    return response(description, {"application/json": schema})


class ErrorResponses:
    """The error responses of one protocol: one schema, and a sentence for each status."""

    def __init__(self, name: str, schema: Schema, sentences: Mapping[int, str]) -> None:
        """``name`` is that of the schema, and begins those of the responses."""
        self._name = name
        self.schemas = {name: schema}
        self.responses = {
            f"{name}{status}": json_response(sentence, reference(name)) for status, sentence in sentences.items()
        }

    def __call__(self, *statuses: int) -> dict[str, Schema]:
        """References to the responses of these statuses."""
        return {str(status): {"$ref": f"#/components/responses/{self._name}{status}"} for status in statuses}


def operation(
    id: str, summary: str, responses: Mapping[str, Schema], body: Schema | None = None, **more: Any
) -> Schema:
    """One method of a path. ``id`` is unique in the document."""
    parts: Schema = {"operationId": id, "summary": summary, **more}
    if body:
        parts["requestBody"] = body
    return parts | {"responses": dict(responses)}


def parameter(name: str, place: str, schema: Schema, description: str = "") -> Schema:
    """A parameter in the ``path``, the ``query`` or the ``header``."""
    required = {"required": True} if place == "path" else {}
    told = {"description": description} if description else {}
    return {"name": name, "in": place, **required, **told, "schema": schema}


def parameters(*names: str) -> list[Schema]:
    """References to the parameters of these names."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


#: ``{model}`` in the paths of every protocol.
MODEL = {"model": parameter("model", "path", {"type": "string", "minLength": 1}, "Name of a model.")}

#: What statuses mean where a protocol has no words of its own.
STATUS_DESCRIPTIONS = {
    400: "The request cannot be used; the message says why.",
    403: "The operator does not allow this.",
    404: "There is no such model or version.",
    413: "The body is larger than the server accepts.",
    422: "The request cannot be used; the message says why.",
    424: "The text could not be generated.",
    429: "The queue is full; retry later.",
    500: "The request was accepted, but running it failed.",
    501: "The protocol does not carry this.",
    503: "The model is not ready, or the queue is full; retry later.",
}


def status_descriptions(*statuses: int) -> dict[int, str]:
    """The usual sentences of these statuses."""
    return {status: STATUS_DESCRIPTIONS[status] for status in statuses}
