"""Perform: send everything, in its order, and tell what came back."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.protobuf import descriptor_pb2

from tests.servers import Server, start
from tests.transcripts import messages, told
from tests.transcripts.asked import JOB, Command, Http, Rpc
from tests.transcripts.http_guarded import KEY, ORIGIN
from tests.transcripts.http_limits import OPTIONS as LIMITS

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "kept/v0.1.0/models"
Answers = dict[str, Any]

_HEADERS = (
    *("content-type", "content-encoding", "allow", "location", "www-authenticate", "connection", "retry-after"),
    *("inference-header-content-length", "cache-control", "content-security-policy", "x-content-type-options", "vary"),
)
#: Of these the order means nothing.
_SETS = frozenset({"allow", "vary", "access-control-allow-headers", "access-control-allow-methods"})
_STREAMS = frozenset({"Generate", "Transform", "Watch", "ServerReflectionInfo", "ModelStreamInfer"})
#: Messages that are looked at where a stream goes on by itself.
_ENDLESS = "Watch"


@contextmanager
def plain(grpc_server: str) -> Iterator[Server]:
    """The kept models, with older versions where they are named."""
    with start(MODELS, "--grpc-server", grpc_server, "--version-policy", "on-demand") as server:
        yield server


@contextmanager
def guarded(grpc_server: str) -> Iterator[Server]:
    """Some of them with keys, small bodies, labels, another origin and control."""
    with tempfile.TemporaryDirectory() as directory:
        keys, config = Path(directory, "keys"), Path(directory, "models.config")
        keys.write_text(f"{KEY}\n")
        listed = [
            f"config {{ name: '{name}' base_path: '{MODELS / name}' model_platform: 'tensorflow' {more} }}"
            for name, more in {
                "affine": "",
                "digits": "model_version_policy { all {} } version_labels { key: 'stable' value: 1 } "
                "version_labels { key: 'canary' value: 2 }",
                "writer": "",
            }.items()
        ]
        config.write_text(f"model_config_list {{ {' '.join(listed)} }}")
        options = ["--model-config-file", str(config), "--api-key-file", str(keys), "--cors", ORIGIN]
        options += ["--max-body", "1", "--model-control", "--grpc-server", grpc_server]
        with start(MODELS, *options) as server:
            yield server


@contextmanager
def limited() -> Iterator[Server]:
    """All of them, loaded late and within narrow limits."""
    with start(MODELS, *LIMITS) as server:
        yield server


def over_http(server: Server, asked: Iterable[Http]) -> Answers:
    """Every answer, by the name of its request."""
    answers: Answers = {}
    job = "nothing"
    with httpx.Client(base_url=server.http, trust_env=False, timeout=60) as client:
        for one in asked:
            headers = {"accept-encoding": "identity", **one.headers}
            reply = client.request(one.method, one.path.replace(JOB, job), content=one.content, headers=headers)
            if reply.status_code == 202:
                job = reply.json()["job"]["id"]
            add(answers, one.name, _http(one, reply, job))
    return answers


def add(answers: Answers, name: str, answer: Any) -> None:
    """Keep an answer; no two requests may have one name."""
    if name in answers:
        raise ValueError(f"two requests are called '{name}'")
    answers[name] = answer


def _http(asked: Http, reply: httpx.Response, job: str) -> dict[str, Any]:
    kept = {
        name: ", ".join(sorted(value.split(", "))) if name in _SETS else value
        for name, value in sorted(reply.headers.items())
        if name in _HEADERS or name.startswith("access-control-")
    }
    # An id that the server makes differs each time.
    given = asked.headers.get("x-request-id")
    request_id = reply.headers.get("x-request-id")
    kept["x-request-id"] = "as given" if given and request_id == given else "made" if request_id else "none"
    kind = reply.headers.get("content-type", "")
    content = reply.content
    if asked.path == "/openapi.json":
        body = told.document(json.loads(content))
    else:
        body = told.body(kind, content, reply.headers.get("inference-header-content-length"))
    return _without({"status": reply.status_code, "headers": kept, "body": body}, job)


def _without(answer: dict[str, Any], job: str) -> dict[str, Any]:
    """Without the id of a job."""
    text = json.dumps(answer)
    kept: dict[str, Any] = json.loads(text.replace(job, told.VARIES)) if job != "nothing" else answer
    return kept


def over_grpc(server: Server, asked: Iterable[Rpc]) -> Answers:
    """Every answer, by the name of its call."""
    answers: Answers = {}
    with grpc.insecure_channel(server.grpc_target, [("grpc.enable_http_proxy", 0)]) as channel:
        for one in asked:
            add(answers, one.name, _rpc(channel, one))
    return answers


def _rpc(channel: grpc.Channel, asked: Rpc) -> dict[str, Any]:
    name = asked.method.partition("/")[2]
    known = not any(isinstance(one, bytes) and not one for one in asked.messages)
    sent = list(messages.serialised(asked.method, asked.messages)) if known else [b""]
    path = f"/{asked.method}"
    metadata = list(asked.metadata.items())
    replies: list[bytes] = []
    try:
        if name not in _STREAMS:
            reply, call = channel.unary_unary(path).with_call(sent[0], timeout=60, metadata=metadata)
            replies.append(reply)
        else:
            if name in ("ServerReflectionInfo", "ModelStreamInfer"):
                call = channel.stream_stream(path)(iter(sent), timeout=60, metadata=metadata)
            else:
                call = channel.unary_stream(path)(sent[0], timeout=60, metadata=metadata)
            for reply in call:
                replies.append(reply)
                if name == _ENDLESS:
                    call.cancel()
                    break
        code, details, trailing = "OK", "", () if name == _ENDLESS else call.trailing_metadata()
    except grpc.RpcError as error:
        code, details, trailing = error.code().name, error.details(), error.trailing_metadata()
    answer: dict[str, Any] = {"code": code, "details": told.SENTENCE if details else ""}
    if keys := sorted({key for key, _ in trailing or () if key.startswith(("bookserve", "x-"))}):
        answer["trailing"] = keys
    if replies:
        answer["replies"] = _replies(asked, replies)
    return answer


def _replies(asked: Rpc, replies: list[bytes]) -> Any:
    _, kind = messages.types(asked.method)
    parsed = [messages.plain(kind.FromString(reply)) for reply in replies]
    name = asked.method.partition("/")[2]
    if name == "Generate":
        return told.together(parsed)
    if name == "Transform":
        return {"last": told.simple(parsed[-1])}
    if name == "ServerReflectionInfo":
        return [_reflected(one) for one in parsed]
    return [told.simple(one) for one in parsed]


def _reflected(reply: dict[str, Any]) -> Any:
    """Services and methods; which file they stand in is the server's own affair."""
    if listed := reply.get("list_services_response"):
        return sorted(service["name"] for service in listed["service"])
    if error := reply.get("error_response"):
        return {"error_code": error["error_code"]}
    methods = []
    for content in reply["file_descriptor_response"]["file_descriptor_proto"]:
        file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(content))
        methods += [f"{file.package}.{service.name}/{method.name} {method.input_type} {method.output_type}"
                    for service in file.service for method in service.method]  # fmt: skip
    return sorted(methods)


def on_the_command_line(server: Server, asked: Iterable[Command]) -> Answers:
    """Every answer, by the name of its command; all of them run in one child, in one fresh directory."""
    addresses = {"{http}": server.http, "{grpc}": server.grpc}
    commands = [one._replace(arguments=[addresses.get(word, word) for word in one.arguments]) for one in asked]
    with tempfile.TemporaryDirectory() as directory, tempfile.NamedTemporaryFile("w+", suffix=".json") as file:
        sent = json.dumps({"models": str(MODELS), "commands": commands, "answers": file.name})
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BOOKSERVE")}
        environment |= {"PYTHONPATH": str(ROOT.parent), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "120", "NO_COLOR": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "tests.transcripts.child"],
            input=sent, capture_output=True, text=True, cwd=directory, env=environment, check=False, timeout=800,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the child ended with {done.returncode}:\n{done.stderr}")
        answers: Answers = json.loads(Path(file.name).read_text("utf-8"))
    return answers
