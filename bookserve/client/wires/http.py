# ruff: noqa: TID253
"""Reach a server over HTTP by bookserve's own API: JSON under ``/api``, texts as server-sent events, pixels as NPZ."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
import numpy as np

from bookserve.api.native_json import answer_from_json, dump_json, row_from_json
from bookserve.api.requests import ExplainRequest, GenerateRequest, PredictRequest, SampleRequest, TransformRequest
from bookserve.client.answers import Answers, AnswerTable
from bookserve.client.client import OnProgress, Samples
from bookserve.client.wires.http_connection import HttpConnection
from bookserve.errors import BY_CODE, BookserveError, Failed
from bookserve.generation.explain import Explanation, Layer
from bookserve.generation.text import Piece
from bookserve.generation.transform import Progress
from bookserve.images import decode_image
from bookserve.table import Table
from bookserve.verb import Note


class ModelsReply(msgspec.Struct):
    """Answer of ``GET /api/models``."""

    models: list[dict[str, Any]]


class PredictReply(msgspec.Struct):
    """Answer of ``…/predict``. Other fields are ignored, here and below."""

    answers: list[dict[str, Any]]
    notes: list[Note] = []
    units: dict[str, str] = {}


class ExplainReply(msgspec.Struct):
    """Answer of ``…/explain``."""

    label: str
    score: float
    heatmap: list[list[float]]
    overlay: dict[str, str]


class LayerReply(msgspec.Struct):
    """One layer in the answer of ``…/activations``."""

    name: str
    shape: list[int]
    picture: dict[str, str]


class ActivationsReply(msgspec.Struct):
    """Answer of ``…/activations``."""

    layers: list[LayerReply]


class JobReply(msgspec.Struct):
    """Answer of ``/api/jobs``."""

    job: dict[str, Any]


Reply = TypeVar("Reply", ModelsReply, PredictReply, ExplainReply, ActivationsReply, JobReply)
Request = PredictRequest | GenerateRequest | SampleRequest | ExplainRequest | TransformRequest


class HttpWire(HttpConnection):
    """bookserve's own API. Threads may share it."""

    server = "bookserve"
    start_hint = "Start a server with: bookserve serve"
    other_hint = "Check the port, or start: bookserve serve"
    parallel = 4
    #: With ``parallel`` this fits a server's queue several times over.
    table_rows = 2048

    def models(self) -> list[dict[str, Any]]:
        """See ``Client.models``."""
        models = self._call("GET", "/api/models", ModelsReply).models
        return [{name: value for name, value in model.items() if name not in ("state", "section")} for model in models]

    def predict(self, model: str, request: PredictRequest) -> Answers:
        """See ``Client.predict``."""
        reply = self._call("POST", _path(model, "predict"), PredictReply, request)
        return Answers(map(answer_from_json, reply.answers), reply.notes, reply.units)

    def predict_table(self, model: str, table: Table, version: int | None) -> AnswerTable:
        """See ``Client.predict_parts``; JSON has the rows one by one."""
        return AnswerTable.of(self.predict(model, PredictRequest(list(table), version)))

    def generate(self, model: str, request: GenerateRequest) -> Generator[Piece]:
        """See ``Client.pieces``."""
        body = _body(msgspec.structs.replace(request, stream=True))
        opened = self._retry.call(lambda left: self._open(_path(model, "generate"), body))
        with self.errors(), closing(opened) as response:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise self.other_server()
            try:
                for event in _events(response.iter_raw()):
                    if "error" in event:
                        raise _error_from_fields(event["error"])
                    if "done" in event:
                        return
                    yield msgspec.convert(event, Piece)
            except httpx.TransportError as error:
                raise Failed(f"the text from {self._url} broke off: {error}.") from error
            raise Failed(f"the text from {self._url} broke off.", "The server may have stopped.")

    def sample(self, model: str, request: SampleRequest) -> Samples:
        """See ``Client.sample``."""
        npz = {"accept": "application/x-npz"}
        response = self.send("POST", _path(model, "sample"), _body(request), headers=npz)
        try:
            with np.load(io.BytesIO(response.content), allow_pickle=False) as arrays:
                return Samples(arrays["latent"], arrays["images"])
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise self.other_server() from error

    def transform(self, request: TransformRequest, tell: OnProgress) -> np.ndarray:
        """See ``Client.transform``."""
        job = self._call("POST", "/api/jobs", JobReply, request, 202).job
        path = f"/api/jobs/{job['id']}"
        try:
            for event in self._job_events(path):
                if "error" in event:
                    raise _error_from_fields(event["error"])
                preview = decode_image(row_from_json(event["preview"])) if "preview" in event else None
                loss = math.nan if event["loss"] is None else event["loss"]
                tell(Progress(event["step"], event["steps"], loss, preview))
                job = event
        except BaseException:  # an exception of any kind, also Ctrl-C, cancels the job
            with self.errors():
                self._http.delete(path)
            raise
        with self.errors():
            response = self._http.get(f"{path}/result")
            if response.status_code == 409:
                raise Failed(f"the job at {self._url} was {job['state']}.", "Start it again.")
            if response.status_code != 200:
                raise self.error(response)
            return decode_image(response.content)

    def explain(self, model: str, request: ExplainRequest) -> Explanation:
        """See ``Client.explain``."""
        reply = self._call("POST", _path(model, "explain"), ExplainReply, request)
        heatmap = np.array(reply.heatmap, np.float32)
        return Explanation(reply.label, reply.score, heatmap, decode_image(row_from_json(reply.overlay)))

    def activations(self, model: str, request: ExplainRequest) -> list[Layer]:
        """See ``Client.activations``."""
        return _layers(self._call("POST", _path(model, "activations"), ActivationsReply, request))

    def filters(self, model: str, version: int | None) -> list[Layer]:
        """See ``Client.filters``."""
        path = _path(model, "filters") + (f"?version={version}" if version else "")
        return _layers(self._call("GET", path, ActivationsReply))

    def error_of(self, response: httpx.Response) -> BookserveError:
        """The error that an answer holds."""
        return _error_from_fields(response.json()["error"])

    def _job_events(self, path: str) -> Iterator[dict[str, Any]]:
        """The events of a job, until it has ended."""
        with self.errors(), self._http.stream("GET", f"{path}/events", timeout=None) as response:
            if response.status_code != 200:
                response.read()
                raise self.error(response)
            for event in _events(response.iter_raw()):
                yield event
                if "done" in event:
                    return
        raise Failed(f"the events of a job at {self._url} broke off.", "The server may have stopped.")

    def _call(
        self, method: str, path: str, kind: type[Reply], request: Request | None = None, expected: int = 200
    ) -> Reply:
        response = self.send(method, path, None if request is None else _body(request), expected)
        try:
            # The decoder of the standard library, because answers may hold NaN.
            return msgspec.convert(response.json(), kind)
        except ValueError as error:
            raise self.other_server() from error

    def _open(self, path: str, body: bytes) -> httpx.Response:
        """The beginning of a stream with status 200; close it."""
        with self.errors(may_retry=True):
            response = self._http.send(self._http.build_request("POST", path, content=body), stream=True)
            if response.status_code != 200:
                response.read()
                response.close()
                raise self.busy_or_error(response)
            return response


def _layers(reply: ActivationsReply) -> list[Layer]:
    return [Layer(layer.name, tuple(layer.shape), decode_image(row_from_json(layer.picture))) for layer in reply.layers]


def _path(model: str, verb: str) -> str:
    return f"/api/models/{quote(model, safe='')}/{verb}"


def _body(request: Request) -> bytes:
    finite = not isinstance(request, PredictRequest)
    fields = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
    return dump_json(fields, finite=finite)


def _error_from_fields(fields: dict[str, str]) -> BookserveError:
    return BY_CODE.get(fields["code"], Failed)(fields["message"], fields.get("hint", ""))


def _events(chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON of each ``data:`` line. httpx's own line iterator would also split at U+2028 inside JSON."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield json.loads(line[5:])
