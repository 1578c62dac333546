# ruff: noqa: TID253
"""The wire to a server's home door over HTTP: JSON under ``/api``, text as server-sent events, pictures as PNG."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
import numpy as np

from bookserve.errors import BY_CODE, BookserveError, Failed, InvalidInput, NotReady
from bookserve.pictures import decode_png
from bookserve.requests import GenerateRequest, PredictRequest, SampleRequest
from bookserve.text import Piece
from bookserve.verb import Answer
from bookserve.wire.plain import dump, from_plain, to_answer
from clients.client import Samples

#: Seconds to wait for a connection, and for the next bytes of an answer.
CONNECT, READ = 5.0, 120.0


class ModelsReply(msgspec.Struct):
    """Answer of ``GET /api/models``."""

    models: list[dict[str, Any]]


class PredictReply(msgspec.Struct):
    """Answer of ``…/predict``; further fields are passed over, here and below."""

    answers: list[dict[str, Any]]


class SampleReply(msgspec.Struct):
    """Answer of ``…/sample``; each image is a PNG as ``{"b64": …}``."""

    latent: list[list[float]]
    images: list[dict[str, str]]


Reply = TypeVar("Reply", ModelsReply, PredictReply, SampleReply)


class HttpWire:
    """One connection pool. Proxies of the environment are not used: a model server is reached directly."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            InvalidInput: not a URL.
        """
        self._url = url
        try:
            self._http = httpx.Client(
                base_url=url,
                timeout=httpx.Timeout(READ, connect=CONNECT),
                trust_env=False,
                verify=url.startswith("https:"),  # reading the certificates costs more than a whole request
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidInput(f"'{url}' is no address: {error}.", "Use http://host:port") from error

    def models(self) -> list[dict[str, Any]]:
        """See ``Client.models``."""
        models = self._call("GET", "/api/models", ModelsReply).models
        return [{name: value for name, value in model.items() if name != "state"} for model in models]

    def predict(self, model: str, request: PredictRequest) -> list[Answer]:
        """See ``Client.predict``."""
        reply = self._call("POST", _path(model, "predict"), PredictReply, request)
        return [to_answer(answer) for answer in reply.answers]

    def generate(self, model: str, request: GenerateRequest) -> Generator[Piece]:
        """See ``Client.pieces``."""
        body = _body(msgspec.structs.replace(request, stream=True))
        with self._errors(), self._http.stream("POST", _path(model, "generate"), content=body) as response:
            if response.status_code != 200:
                response.read()
                raise self._error(response)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise self._stranger()
            try:
                for event in _events(response.iter_raw()):
                    if "error" in event:
                        raise _from_fields(event["error"])
                    if "done" in event:
                        return
                    yield msgspec.convert(event, Piece)
            except httpx.TransportError as error:
                raise Failed(f"the text from {self._url} broke off: {error}.") from error
            raise Failed(f"the text from {self._url} broke off.", "The server may be gone.")

    def sample(self, model: str, request: SampleRequest) -> Samples:
        """See ``Client.sample``."""
        reply = self._call("POST", _path(model, "sample"), SampleReply, request)
        images = np.stack([decode_png(from_plain(image)) for image in reply.images])
        return Samples(np.array(reply.latent, np.float32), images)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(
        self, method: str, path: str, kind: type[Reply], request: PredictRequest | SampleRequest | None = None
    ) -> Reply:
        content = None if request is None else _body(request)
        with self._errors():
            response = self._http.request(method, path, content=content)
            if response.status_code != 200:
                raise self._error(response)
            try:
                # The standard library's decoder, since answers may hold NaN.
                return msgspec.convert(response.json(), kind)
            except ValueError as error:
                raise self._stranger() from error

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise NotReady(f"{self._url} did not answer in time.", "It may be overloaded: try again.") from error
        except httpx.RemoteProtocolError as error:
            raise self._stranger() from error
        except httpx.TransportError as error:
            raise NotReady(f"cannot reach {self._url}: {error}.", "Start a server with: bookserve serve") from error

    def _error(self, response: httpx.Response) -> BookserveError:
        try:
            return _from_fields(response.json()["error"])
        except (ValueError, TypeError, KeyError):
            return self._stranger()

    def _stranger(self) -> NotReady:
        return NotReady(f"what answers at {self._url} is not bookserve.", "Check the port, or start: bookserve serve")


def _path(model: str, verb: str) -> str:
    return f"/api/models/{quote(model, safe='')}/{verb}"


def _body(request: PredictRequest | GenerateRequest | SampleRequest) -> bytes:
    return dump({name: value for name, value in msgspec.structs.asdict(request).items() if value is not None})


def _from_fields(fields: dict[str, str]) -> BookserveError:
    return BY_CODE.get(fields["code"], Failed)(fields["message"], fields.get("hint", ""))


def _events(chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON of each ``data:`` line. (httpx's own lines also end at U+2028, which may stand inside JSON.)"""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield json.loads(line[5:])
