"""The life of ``bookserve serve``: ready, asked, told to stop, gone; and the ways in which it never begins."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path

import grpc
import httpx
import pytest

from bookserve.api import native_pb2 as pb
from tests.serve.processes import FREE, read, refused, started, wait_for
from tests.serve.protocols.native.texts import LONG, events
from tests.servers import GRPC_SERVERS

pytestmark = pytest.mark.slow  # starts servers


def test_it_says_where_it_is_and_what_it_serves(models: Path) -> None:
    with started(models) as process:
        assert process.stdout
        http, rpc, names = (process.stdout.readline().strip() for _ in range(3))
        assert names == "models: affine, digits, pair, plane, reviews, writer"
        assert httpx.get(f"{http}/healthz", trust_env=False).status_code == 200
        assert httpx.get(f"{http}/readyz", trust_env=False).status_code == 200
        with grpc.insecure_channel(rpc.removeprefix("grpc://"), [("grpc.enable_http_proxy", 0)]) as channel:
            grpc.channel_ready_future(channel).result(timeout=10)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_a_script_gets_one_json_object(models: Path) -> None:
    with started(models, "--json") as process:
        told = read(process)
        assert told["models"] == ["affine", "digits", "pair", "plane", "reviews", "writer"]
        assert told["http"].startswith("http://127.0.0.1:")
        assert told["grpc"].startswith("grpc://127.0.0.1:")
        process.terminate()
        rest, log = process.communicate(timeout=30)
        assert (process.returncode, rest) == (0, "")
        assert [line.split(" ", 3)[2] for line in log.splitlines()] == [
            "INFO"
        ] * 4  # device, serving, stopping, stopped


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_port_in_use_is_told_with_what_to_do(models: Path, protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused(str(models), *FREE, f"--{protocol}-port", str(port))
    assert code == 1
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said
    assert f"--{protocol}-port 0" in said


def test_an_address_of_another_machine_is_refused(models: Path) -> None:
    code, said = refused(str(models), *FREE, "--host", "192.0.2.1")
    assert code == 1
    assert "192.0.2.1" in said


def test_a_directory_that_is_missing_or_empty_is_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        code, said = refused(str(path), *FREE)
        assert code == 3
        assert str(path) in said
        assert "bookserve export" in said


def test_nothing_but_broken_bundles_is_a_failure(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "affine", tmp_path / "affine")
    (tmp_path / "affine/1/model.onnx").write_bytes(b"broken")
    code, said = refused(str(tmp_path), *FREE)
    assert code == 1
    assert "model.onnx" in said


def test_a_broken_bundle_is_told_and_the_others_are_served(models: Path, tmp_path: Path) -> None:
    for name in ("affine", "digits"):
        shutil.copytree(models / name, tmp_path / name)
    (tmp_path / "affine/1/model.onnx").write_bytes(b"broken")
    with started(tmp_path, "--json") as process:
        told = read(process)
        assert told["models"] == ["digits"]
        wait_for(process, "WARNING")
        with httpx.Client(base_url=told["http"], trust_env=False) as http:
            assert http.post("/api/models/digits/predict", json={"rows": [[0] * 16]}).status_code == 200
            response = http.post("/api/models/affine/predict", json={"rows": [[1, 2, 3]]})
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "not_ready"
            assert "model.onnx" in response.json()["error"]["message"]
            assert http.get("/api/models/affine").status_code == 503


@pytest.mark.parametrize("whose", GRPC_SERVERS)
def test_running_texts_are_finished_when_it_is_told_to_stop(models: Path, whose: str) -> None:
    """A text on each protocol is being written when SIGTERM comes; both are written to their end, and nothing else."""
    with started(models, "--json", "--grpc-server", whose) as process:
        told = read(process)
        target = told["grpc"].removeprefix("grpc://")
        body = {"prompt": "a", "length": 15_000, "temperature": 1, "stream": True}
        with (
            httpx.Client(base_url=told["http"], trust_env=False, timeout=60) as http,
            grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel,
            http.stream("POST", "/api/models/writer/generate", json=body) as response,
        ):
            method = channel.unary_stream(
                "/bookserve.v1.Bookserve/Generate", pb.GenerateRequest.SerializeToString, pb.GenerateReply.FromString
            )
            over_grpc = method(pb.GenerateRequest(model="writer", prompt="a", length=15_000, temperature=1))
            over_http = events(response)
            written = [len(next(over_http)["text"]), len(next(over_grpc).text)]
            process.terminate()
            wait_for(process, "stopping")
            with pytest.raises(httpx.TransportError):
                while True:  # until the listener is closed
                    httpx.get(f"{told['http']}/healthz", trust_env=False)
            *pieces, last = over_http
            assert last == {"done": True}
            assert written[0] + sum(len(piece["text"]) for piece in pieces) == 15_000
            assert written[1] + sum(len(reply.text) for reply in over_grpc) == 15_000
        assert process.wait(30) == 0


def test_a_second_signal_ends_it_at_once(models: Path) -> None:
    with started(models, "--json") as process:
        told = read(process)
        body = LONG | {"prompt": "a", "stream": True}
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("POST", f"{told['http']}/api/models/writer/generate", json=body, trust_env=False) as response,
        ):
            running = events(response)
            next(running)
            process.terminate()
            wait_for(process, "stopping")
            process.terminate()
            list(running)
        assert process.wait(30) == 128 + signal.SIGTERM
