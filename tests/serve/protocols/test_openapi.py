"""The OpenAPI document: well formed, of every route and no other, and honest when schemathesis holds us to it.

A longer search by hand: ``BOOKSERVE_SEARCH=300 python -m pytest tests/serve/protocols/test_openapi.py`` (examples an
operation).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from serve.app.http_app import http_application
from serve.app.openapi import openapi_document
from serve.app.pages import describe
from serve.engine import Engine
from serve.models.repository import Repository
from serve.observability.metrics import Metrics
from serve.protocols.base import load_protocols
from tests.servers import start

DOCUMENT: dict[str, Any] = openapi_document([*(protocol.openapi() for protocol in load_protocols()), describe()])
EXAMPLES = os.environ.get("BOOKSERVE_SEARCH", "8")
#: What a server of the tiny bundles must keep, whatever it is sent.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,missing_required_header,negative_data_rejection"
)


def test_it_is_well_formed() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    calls = [call["operationId"] for item in DOCUMENT["paths"].values() for call in methods(item).values()]
    assert len(set(calls)) == len(calls)


def methods(item: dict[str, Any]) -> dict[str, Any]:
    return {method: call for method, call in item.items() if method != "parameters"}


def without_names(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def test_it_tells_of_every_route_and_no_other(models: Path) -> None:
    """Routes that take every path know their own grammar; TensorFlow Serving's paths are tried below."""
    metrics = Metrics()
    repository = Repository(models, metrics)
    app = http_application(Engine(repository, metrics), metrics)
    served = {
        (without_names(route.path), method.lower())
        for route in app.routes
        if isinstance(route, Route) and route.include_in_schema and not route.path.lower().startswith("/v1/")
        for method in (route.methods or set()) - {"HEAD"}
    }
    told = {
        (without_names(path), method)
        for path, item in DOCUMENT["paths"].items()
        if not path.startswith("/v1/")
        for method in methods(item)
    }
    assert told == served


@pytest.mark.parametrize("path", [path for path in DOCUMENT["paths"] if path.startswith("/v1/")])
def test_paths_of_tensorflow_serving_are_what_its_grammar_takes(http: httpx.Client, path: str) -> None:
    (method,) = methods(DOCUMENT["paths"][path])
    real = path.replace("{model}", "affine").replace("{version}", "1").replace("{label}", "x")
    reply = http.request(method, real, content=b"{}" if method == "post" else None)
    assert "Malformed request" not in reply.text


def test_it_is_served_with_a_page_that_needs_nothing_from_elsewhere(http: httpx.Client) -> None:
    assert http.get("/openapi.json").json() == DOCUMENT
    page = http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page.text)
    assert '"/openapi.json"' in http.get("/static/docs.js").text


@pytest.mark.slow
@pytest.mark.timeout(3600)  # for the longer search
@pytest.mark.parametrize(("options", "paths"), [((), "."), (("--model-control",), "/v2/repository")])
def test_schemathesis_finds_nothing(models: Path, tmp_path: Path, options: tuple[str, ...], paths: str) -> None:
    """Calls with names of real models, and everything that the schema forbids; no 500, no answer that is not told."""
    document = json.loads(json.dumps(DOCUMENT))
    document["components"]["parameters"]["model"]["schema"] = {
        "enum": ["affine", "digits", "pair", "plane", "reviews", "writer", "nothing"]
    }
    for path in document["paths"].values():  # with a length of 0, any bytes may be a tensor, those of wrong JSON too
        path["parameters"] = [item for item in path.get("parameters", []) if not item["$ref"].endswith("jsonLength")]
    document["components"]["parameters"]["v2Version"]["schema"] = {"enum": ["1", "2", "9"]}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    with start(models, *options) as server:
        command = [Path(sys.executable).with_name("st"), "run", "openapi.json", "--url", server.http]
        command += ["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "-n", EXAMPLES, "--seed", "1"]
        command += ["--request-timeout", "20", "--continue-on-failure", "--warnings", "off"]
        # The page of a model is the same for every name.
        command += ["--include-path-regex", paths, "--exclude-path-regex", "^/models/"]
        environment = os.environ | {"NO_PROXY": "*", "no_proxy": "*"}
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=3000, env=environment
        )
        assert done.returncode == 0, done.stdout[-8000:]
        assert httpx.get(f"{server.http}/readyz", trust_env=False).status_code == 200
