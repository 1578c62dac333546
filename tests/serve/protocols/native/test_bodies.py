"""Files sent as they are, and rows as R and browsers write them: ``/api`` takes what the Content-Type says."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from bookserve.errors import InvalidInput
from serve.transport.http.multipart import parse_form
from tests.servers import Server

CURL = "application/x-www-form-urlencoded"


def picture(value: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (20, 10), value).save(buffer, kind)
    return buffer.getvalue()


def predict(http: httpx.Client, model: str, body: bytes | str, kind: str | None, path: str = "predict") -> Any:
    headers = {} if kind is None else {"content-type": kind}
    reply = http.post(f"/api/models/{model}/{path}", content=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def labels(reply: Any) -> list[str]:
    return [answer["probabilities"][0]["label"] for answer in reply["answers"]]


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", CURL, None, "application/octet-stream", "image/png; q=1"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_picture_as_it_is(http: httpx.Client, kind: str | None, form: str) -> None:
    assert labels(predict(http, "digits", picture(255, form), kind)) == ["bright"]


def test_pictures_in_a_form(http: httpx.Client) -> None:
    files = [
        ("file", ("a.png", picture(0), "image/png")),
        ("file", ("b.bin", picture(255), "application/octet-stream")),
    ]
    reply = http.post("/api/models/digits/predict", files=files)
    assert labels(reply.json()) == ["dark", "bright"]
    old = http.post("/api/models/digits/predict", files=files[:1], data={"version": "1"})
    assert (old.json()["version"], labels(old.json())) == (1, ["dark"])
    assert predict(http, "digits", picture(0), "image/png", "predict?version=1")["version"] == 1


def test_a_form_names_the_inputs_of_a_model(http: httpx.Client) -> None:
    reply = http.post("/api/models/pair/predict", files={"a": (None, "[1, 2, 3]"), "b": (None, "5")})
    assert reply.json()["answers"] == [{"sum": 6.0, "next": 6}]
    reply = http.post("/api/models/affine/predict", files={"x": (None, "[0, 1, 2]")})
    assert reply.json()["answers"] == [{"y": [1.0, 3.0, 5.0]}]
    reply = http.post("/api/models/affine/predict", files={"rows": (None, "[[0, 1, 2], [0, 0, 0]]")})
    assert reply.json()["answers"] == [{"y": [1.0, 3.0, 5.0]}, {"y": [1.0, 1.0, 1.0]}]
    reply = http.post("/api/models/reviews/predict", files={"text": (None, "good good film")})
    assert reply.json()["answers"][0]["score"][1]["score"] == pytest.approx(2 / 6)
    reply = http.post("/api/models/affine/predict", files={"t": ("t.csv", b"a,b,c\n0,1,2\n", "text/csv")})
    assert reply.json()["answers"] == [{"y": [1.0, 3.0, 5.0]}]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"a": (None, "[1]")}, "the model takes a, b"),
        ({"a": (None, "one"), "b": (None, "5")}, "'a' is 'one'; expected numbers"),
        ({"version": (None, "x"), "a": (None, "1")}, "'version' is not a number"),
        ({"rows": (None, "[1")}, "not JSON"),
    ],
)
def test_forms_that_do_not_fit(http: httpx.Client, fields: dict[str, Any], complaint: str) -> None:
    reply = http.post("/api/models/pair/predict", files=fields)
    assert reply.status_code == 400
    assert complaint in reply.json()["error"]["message"]


TABLE = "p,q,r\n0,1,2\n-1,0,0.5\n"
ANSWERS = [{"y": [1.0, 3.0, 5.0]}, {"y": [-1.0, 1.0, 2.0]}]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/csv", TABLE),
        ("text/csv; charset=utf-8", TABLE.replace(",", ";").replace(".", ",")),
        ("application/x-ndjson", "[0, 1, 2]\n[-1, 0, 0.5]\n"),
        ("application/json", json.dumps([{"p": 0, "q": 1, "r": 2}, {"p": -1, "q": 0, "r": 0.5}])),
        ("application/json", json.dumps({"rows": [{"p": 0, "q": 1, "r": 2}, {"p": -1, "q": 0, "r": 0.5}]})),
        ("application/json", json.dumps({"rows": {"p": [0, -1], "q": [1, 0], "r": [2, 0.5]}})),
        (CURL, json.dumps({"p": [0, -1], "q": [1, 0], "r": [2, 0.5]})),
        ("text/plain;charset=UTF-8", json.dumps({"rows": [[0, 1, 2], [-1, 0, 0.5]]})),
        (None, json.dumps([[0, 1, 2], [-1, 0, 0.5]])),
    ],
)
def test_tables_and_data_frames(http: httpx.Client, kind: str | None, body: str) -> None:
    assert predict(http, "affine", body, kind)["answers"] == ANSWERS


@pytest.mark.parametrize(
    "body", [{"rows": [0, 1, 2]}, [0, 1, 2], {"rows": {"p": 0, "q": 1, "r": 2}}, {"p": 0, "q": 1, "r": 2}]
)
def test_one_row_that_is_not_in_a_list(http: httpx.Client, body: Any) -> None:
    assert predict(http, "affine", json.dumps(body), "application/json")["answers"] == ANSWERS[:1]


def test_texts(http: httpx.Client) -> None:
    good = predict(http, "reviews", "good good film", "text/plain")["answers"]
    assert predict(http, "reviews", json.dumps({"rows": "good good film"}), "application/json")["answers"] == good
    assert predict(http, "reviews", 'review\n"good good film"\n', "text/csv")["answers"] == good
    body = {"prompt": "abc", "length": 400, "temperature": 0}
    drawn = predict(http, "writer", "abc", "text/plain", "generate")["text"]  # no seed: any of the model's letters
    assert (len(drawn), set(drawn) - set("abcde")) == (400, set())
    unknown = http.post("/api/models/writer/generate", content="abx", headers={"content-type": "text/plain"})
    assert (unknown.status_code, "'x'" in unknown.json()["error"]["message"]) == (400, True)
    assert predict(http, "writer", json.dumps(body), "text/plain", "generate")["text"] == "deabc" * 80


@pytest.mark.parametrize(
    ("kind", "body", "complaint"),
    [
        ("text/csv", "p,q,r\n1,2,x\n3,4,5\n", "holds 'x'"),
        ("text/csv", "p,q\n1,2\n", "float32[3]"),
        ("text/csv", "", "no rows"),
        ("text/csv", b"\xff", "UTF-8"),
        ("application/x-ndjson", "[1, 2, 3]\n[1", "line 2"),
        ("application/json", "p,q,r\n", "not JSON"),
        ("application/json", '{"instances": [[0, 1, 2]]}', "rows"),
        ("application/json", '{"version": 1}', "rows"),
        ("image/png", "no picture", "expected float32"),
        ("multipart/form-data", "x", "boundary"),
        ("multipart/form-data; boundary=b", "--b\r\n\r\n", "incomplete"),
    ],
)
def test_errors_say_what_to_send(http: httpx.Client, kind: str, body: Any, complaint: str) -> None:
    reply = http.post("/api/models/affine/predict", content=body, headers={"content-type": kind})
    assert reply.status_code == 400, reply.text
    assert complaint in f"{reply.json()['error']['message']} {reply.json()['error']['hint']}"


def test_a_form_is_taken_apart_byte_by_byte() -> None:
    data = bytes(range(256)) + b"\r\n--not the boundary\r\n" + b"\n\r\n"
    body = b'--x\r\nContent-Disposition: form-data; name="a\\"b"; filename="c.png"\r\n'
    body += b"content-type: Image/PNG\r\n\r\n%b\r\n"
    body += b'--x\r\ncontent-disposition: form-data; name="e"\r\n\r\n\r\n--x--\r\n'
    first, second = parse_form('multipart/form-data; boundary="x"', body % data)
    assert first == ('a"b', "c.png", "image/png", data)
    assert second == ("e", "", "", b"")
    with pytest.raises(InvalidInput, match="more than 4096 parts"):
        parse_form("multipart/form-data; boundary=x", b"--x\r\na:b\r\n\r\n\r\n" * 5000 + b"--x--")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("options", [["-F", "file=@x.png"], ["--data-binary", "@x.png"], ["-T", "x.png", "-X", "POST"]])
def test_curl(server: Server, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "x.png").write_bytes(picture(255))
    command = ["curl", "-sS", "--noproxy", "*", *options, f"{server.http}/api/models/digits/predict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30)
    assert labels(json.loads(done.stdout)) == ["bright"]
