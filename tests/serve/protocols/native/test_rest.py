"""Our own API over HTTP, on a server in a process of its own."""

from __future__ import annotations

import base64
import io
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serve.metrics import requests
from tests.serve.protocols.native.texts import LONG, events, offline
from tests.servers import Server


def png(value: int) -> dict[str, str]:
    buffer = io.BytesIO()
    Image.new("L", (20, 10), value).save(buffer, "PNG")
    return {"b64": base64.b64encode(buffer.getvalue()).decode()}


def ask(http: httpx.Client, model: str, verb: str, body: Any, **more: Any) -> Any:
    response = http.post(f"/api/models/{model}/{verb}", json=body, **more)
    assert response.status_code == 200, response.text
    return response.json()


def test_models_are_listed(http: httpx.Client) -> None:
    models = http.get("/api/models").json()["models"]
    verbs = {model["name"]: model["verb"] for model in models}
    assert verbs == {
        "affine": "predict",
        "digits": "predict",
        "pair": "predict",
        "plane": "sample",
        "reviews": "predict",
        "writer": "generate",
    }
    assert all(model["state"] == "AVAILABLE" and model["bytes"] > 0 for model in models)


def test_one_model_tells_its_tensors_and_steps_but_no_word_lists(http: httpx.Client) -> None:
    response = http.get("/api/models/reviews")
    model = response.json()
    assert model["graphs"]["serving_default"]["inputs"] == {"tokens": {"dtype": "int32", "shape": ["batch", 6]}}
    assert model["definition"]["inputs"]["tokens"][0] == {
        "step": "words",
        "vocabulary": "assets/words.json",
        "start": 1,
        "unknown": 2,
    }
    assert model["versions"] == [{"version": 1, "state": "AVAILABLE", "error": ""}]
    assert "film" not in response.text


def test_pictures_are_predicted_in_one_batch(http: httpx.Client) -> None:
    reply = ask(http, "digits", "predict", {"rows": [png(0), png(255), [[9] * 4] * 4]})
    assert (reply["model"], reply["version"]) == ("digits", 2)
    best = [answer["probabilities"][0] for answer in reply["answers"]]
    assert [label["label"] for label in best] == ["dark", "bright", "dark"]
    assert best[0]["score"] == pytest.approx(1 / (1 + np.exp(-8)), abs=1e-4)


def test_an_older_version_answers_when_asked_for(http: httpx.Client) -> None:
    assert ask(http, "digits", "predict", {"rows": [png(0)], "version": 1})["version"] == 1


def test_texts_are_predicted(http: httpx.Client) -> None:
    answers = ask(http, "reviews", "predict", {"rows": ["good good film", "bad film"]})["answers"]
    assert [answer["score"][0]["label"] for answer in answers] == ["negative", "negative"]
    assert answers[0]["score"][1] == {"label": "positive", "score": pytest.approx(2 / 6)}


def test_the_served_text_is_the_offline_text(http: httpx.Client, models: Path) -> None:
    options: dict[str, Any] = {"prompt": "abc", "length": 3000, "temperature": 1.0, "seed": 5}
    text = offline(models, **options)
    assert ask(http, "writer", "generate", options) == {
        "model": "writer",
        "version": 1,
        "text": text,
        "finish": "length",
    }
    body = options | {"stream": True}
    with http.stream("POST", "/api/models/writer/generate", json=body) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        *pieces, last = events(response)
    assert last == {"done": True}
    assert "".join(piece["text"] for piece in pieces) == text
    assert len(pieces[0]["text"]) == 1  # not held back
    assert len(pieces) < 1000  # but later ones are joined


def test_points_become_pictures(http: httpx.Client) -> None:
    reply = ask(http, "plane", "sample", {"latent": [[0, 0], [1, -1]]})
    assert reply["latent"] == [[0, 0], [1, -1]]
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(image["b64"])))) for image in reply["images"]]
    assert [array.shape for array in pixels] == [(4, 4), (4, 4)]
    assert (pixels[0] == 128).all()
    drawn = [ask(http, "plane", "sample", {"n": 3, "seed": seed}) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]["images"]) == 3


def test_a_grid_is_one_picture_where_png_is_accepted(http: httpx.Client) -> None:
    for body, size in (({"grid": 5}, (20, 20)), ({"n": 3}, (8, 8))):
        response = http.post("/api/models/plane/sample", json=body, headers={"accept": "image/png"})
        assert response.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(response.content)).size == size


DEEP = b'{"rows": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}"
WRONG = [
    ("POST", "nothing/predict", b'{"rows": [1]}', 404, "not_found", "digits"),
    ("POST", "..%2fdigits/predict", b'{"rows": [1]}', 404, "not_found", ""),
    ("GET", "%2e%2e/digits", b"", 404, "not_found", ""),
    ("GET", "digits%00", b"", 404, "not_found", ""),
    ("POST", "affine/predict", b'{"rows": [[1, 2, 3]], "version": 9}', 404, "not_found", "1"),
    ("GET", "nothing", b"", 404, "not_found", "digits"),
    ("GET", "affine/nothing", b"", 404, "not_found", "/api/models"),
    ("GET", "affine/predict", b"", 405, "invalid_input", "POST"),
    ("DELETE", "affine", b"", 405, "invalid_input", "GET"),
    ("POST", "affine/predict", b"", 400, "invalid_input", ""),
    ("POST", "affine/predict", b"{", 400, "invalid_input", "rows"),
    ("POST", "affine/predict", b'{"rows": "\xff"}', 400, "invalid_input", ""),
    ("POST", "affine/predict", b"[1]", 400, "invalid_input", "float32[3]"),
    ("POST", "affine/predict", b"1,2,3", 400, "invalid_input", "text/csv"),
    ("POST", "affine/predict", DEEP, 400, "invalid_input", "deep"),
    ("POST", "affine/predict", b'{"rows": [' + b"[" * 200 + b"1" + b"]" * 200 + b"]}", 400, "invalid_input", ""),
    ("POST", "affine/predict", b'{"rows": [[1, 2, 3]], "row": 1}', 400, "invalid_input", "row"),
    ("POST", "affine/predict", b'{"rows": [[1, 2, 3], [1]]}', 400, "invalid_input", ""),
    ("POST", "affine/predict", b'{"rows": ["x"]}', 400, "invalid_input", "float32"),
    ("POST", "affine/predict", b'{"rows": [null]}', 400, "invalid_input", "float32"),
    ("POST", "digits/predict", b'{"rows": [{"b64": "bm8gcGljdHVyZQ=="}]}', 400, "invalid_input", "picture"),
    ("POST", "digits/predict", b'{"rows": [{"b64": "_-_-"}]}', 400, "invalid_input", "base64"),
    ("POST", "digits/predict", b'{"rows": [[1, 2]]}', 400, "invalid_input", "[4, 4, 1]"),
    ("POST", "pair/predict", b'{"rows": [{"a": [1]}]}', 400, "invalid_input", "'b'"),
    ("POST", "writer/predict", b'{"rows": ["a"]}', 400, "invalid_input", "generate"),
    ("POST", "digits/generate", b"{}", 400, "invalid_input", "predict"),
    ("POST", "digits/sample", b"{}", 400, "invalid_input", "predict"),
    ("POST", "writer/generate", b'{"prompt": "xyz"}', 400, "invalid_input", "'x'"),
    ("POST", "writer/generate", b'{"temperature": -1}', 400, "invalid_input", "temperature"),
    ("POST", "writer/generate", b'{"length": 1000000}', 400, "invalid_input", "length"),
    ("POST", "writer/generate", b'{"stream": true, "prompt": "xyz"}', 400, "invalid_input", "'x'"),
    ("POST", "plane/sample", b'{"latent": [[1, 2, 3]]}', 400, "invalid_input", "2 finite"),
    ("POST", "plane/sample", b'{"n": 1, "grid": 2}', 400, "invalid_input", "one of"),
    ("POST", "plane/sample", b'{"n": 1000000}', 400, "invalid_input", "4096"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code", "said"), WRONG)
def test_what_is_wrong_is_told_in_a_sentence(
    http: httpx.Client, method: str, path: str, body: bytes, status: int, code: str, said: str
) -> None:
    response = http.request(method, f"/api/models/{path}", content=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert error.keys() == {"code", "message", "hint"}
    assert error["code"] == code
    assert said in f"{error['message']} {error['hint']}"
    assert "Traceback" not in response.text
    assert http.get("/readyz").status_code == 200


def test_paths_of_no_door_are_told_too(http: httpx.Client) -> None:
    for path in ("/nothing", "/api", "/api/models/", "/favicon.ico"):
        response = http.get(path)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "not_found"


def test_bodies_beyond_the_limit_are_refused_declared_or_not(server: Server, server_http: httpx.Client) -> None:
    address = urlsplit(server.http)
    with socket.create_connection((address.hostname, address.port)) as raw:
        raw.sendall(b"POST /api/models/affine/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert raw.recv(65_536).startswith(b"HTTP/1.1 413 ")
    chunk = b" " * 2**20
    response = server_http.post("/api/models/affine/predict", content=(chunk for _ in range(65)))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "invalid_input"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_stops_the_generation(server: Server, server_http: httpx.Client, stream: bool) -> None:
    before = requests(server_http, model="writer", code="cancelled")
    body = json.dumps(LONG | {"stream": stream, "prompt": "a"}).encode()
    address = urlsplit(server.http)
    with socket.create_connection((address.hostname, address.port)) as raw:
        head = f"POST /api/models/writer/generate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        running = _runs(server_http)
        raw.sendall(head.encode() + body)
        while _runs(server_http) == running:
            pass  # not begun yet
    while requests(server_http, model="writer", code="cancelled") == before:
        pass  # pytest's timeout ends this if the server writes on for nobody
    assert requests(server_http, model="writer", code="cancelled") == before + 1


def _runs(http: httpx.Client) -> float:
    return requests(http, name="bookserve_batch_rows_count", model="writer")


def test_a_request_broken_off_leaves_the_server_as_it_was(server: Server, server_http: httpx.Client) -> None:
    address = urlsplit(server.http)
    for head in (
        b"POST /api/models/affine/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
        b"\x00\xff\r\n\r\n",
    ):
        with socket.create_connection((address.hostname, address.port)) as raw:
            raw.sendall(head)
    assert ask(server_http, "affine", "predict", {"rows": [[0, 0, 0]]})["answers"] == [{"y": [1.0, 1.0, 1.0]}]
