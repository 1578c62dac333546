"""Builds the OpenAPI document of all HTTP routes from the descriptions of the protocols and the pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.protocols.openapi import ApiDescription


def openapi_document(parts: Sequence[ApiDescription]) -> dict[str, Any]:
    """The document of these parts, ready for JSON.

    Raises:
        ValueError: two parts describe the same path or schema name differently.
    """
    paths: dict[str, Any] = {}
    components: dict[str, dict[str, Any]] = {"parameters": {}, "responses": {}, "schemas": {}}
    for part in parts:
        _merge(paths, {path: _tagged(item, part) for path, item in part.paths.items()})
        _merge(components["parameters"], part.parameters)
        _merge(components["responses"], part.responses)
        _merge(components["schemas"], part.schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bookserve",
            "version": "1",
            "summary": "Every model of Deep Learning with R, over the protocols of TensorFlow Serving, Triton, OpenAI "
            "and bookserve.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": part.tag} | ({"description": part.description} if part.description else {})
            for part in parts
            if part.tag
        ],
        "paths": paths,
        "components": components,
    }


def _tagged(item: dict[str, Any], part: ApiDescription) -> dict[str, Any]:
    return {key: value if key == "parameters" else {"tags": [part.tag], **value} for key, value in item.items()}


def _merge(into: dict[str, Any], more: Any) -> None:
    for name, value in more.items():
        if into.setdefault(name, value) != value:
            raise ValueError(f"two protocols describe '{name}' differently.")
