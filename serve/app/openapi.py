"""Builds the OpenAPI document of all HTTP routes from the descriptions of the protocols.

python -m serve.app.openapi [--check]     write docs/openapi.json, or fail if it is out of date
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from serve.protocols.base import Protocol, load_protocols
from serve.protocols.openapi import ApiDescription

_FILE = Path(__file__).parents[2] / "docs/openapi.json"


def openapi_document(protocols: Iterable[Protocol]) -> dict[str, Any]:
    """The document, ready for JSON.

    Raises:
        ValueError: two protocols describe the same path or schema name differently.
    """
    from serve.app import pages

    parts = [*(protocol.openapi() for protocol in protocols), pages.describe()]
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


@click.command()
@click.option("--check", is_flag=True, help="Only check the file; fail if it is out of date.")
def main(check: bool) -> None:
    """Write docs/openapi.json."""
    text = json.dumps(openapi_document(load_protocols()), indent=1, ensure_ascii=False) + "\n"
    if not check:
        _FILE.write_text(text, "utf-8")
    elif not _FILE.exists() or _FILE.read_text("utf-8") != text:
        sys.exit("docs/openapi.json is out of date; write it with: python -m serve.app.openapi")


if __name__ == "__main__":
    main()
