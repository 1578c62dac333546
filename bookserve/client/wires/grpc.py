# ruff: noqa: TID253
"""Reach a server over gRPC by bookserve's own API, ``bookserve/api/native.proto``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator
from typing import Any

import grpc
import numpy as np

from bookserve.api import HINT, pictures_pb2
from bookserve.api import native_pb2 as pb
from bookserve.api.native_messages import (
    answer_from_message,
    columns_from_message,
    note_from_message,
    piece_from_message,
    row_to_message,
    table_to_message,
    tensor_from_message,
)
from bookserve.api.requests import ExplainRequest, GenerateRequest, PredictRequest, SampleRequest, TransformRequest
from bookserve.client.answers import Answers, AnswerTable
from bookserve.client.certificates import client_pair, trusted_roots
from bookserve.client.client import OnProgress, Samples
from bookserve.client.retry import RetryPolicy, TryAgain
from bookserve.client.settings import Settings
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady, Overloaded
from bookserve.generation.explain import Explanation, Layer
from bookserve.generation.text import Piece
from bookserve.generation.transform import Progress
from bookserve.images import decode_image
from bookserve.table import Table

#: What a gRPC library reports as UNAVAILABLE if TLS fails; trying again does not help.
_TLS_FAILURES = ("SSL_ERROR", "CERTIFICATE_VERIFY_FAILED", "handshak", "WRONG_VERSION_NUMBER", "Peer name")
_TLS_HINT = "Trust its certificate with ca=FILE (--ca FILE); a server that asks for one needs cert and key."
_KINDS: dict[grpc.StatusCode, type[BookserveError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.UNAVAILABLE: NotReady,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
}


#: Names of the services.
_NATIVE, _PICTURES = "bookserve.v1.Bookserve", "bookserve.v1.Pictures"


class GrpcWire:
    """One channel, which threads may share. Proxy settings of the environment are ignored."""

    parallel = 4
    #: With ``parallel`` this fits a server's queue several times over.
    table_rows = 2048

    def __init__(self, target: str, settings: Settings, socket: str = "", *, secure: bool = False) -> None:
        """``socket`` is the path of a Unix socket to use instead of ``target``; ``secure`` is TLS.

        Raises:
            InvalidInput: a file of certificates is not what it should be.
        """
        self._url = f"grpc+unix:{socket}" if socket else f"grpc{'s' if secure else ''}://{target}"
        self._retry = RetryPolicy(settings.retries, settings.timeout)
        self._metadata = settings.headers
        options: list[tuple[str, Any]] = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        if socket:
            options.append(("grpc.default_authority", target))
            target = f"unix:{socket}"
        if secure:
            credentials = grpc.ssl_channel_credentials(trusted_roots(settings), *client_pair(settings))
            self._channel = grpc.secure_channel(target, credentials, options)
        else:
            self._channel = grpc.insecure_channel(target, options)

    def models(self) -> list[dict[str, Any]]:
        """See ``Client.models``."""
        reply = self._call("Models", pb.ModelsRequest(), pb.ModelsReply.FromString)
        return [
            {
                "name": model.name,
                "version": model.version,
                "verb": model.verb,
                "summary": model.summary,
                "data": model.data,
                "graphs": list(model.graphs),
                "parameters": model.parameters,
                "bytes": model.bytes,
                "metrics": dict(model.metrics),
                "metric": model.metric,
            }
            for model in reply.models
        ]

    def predict(self, model: str, request: PredictRequest) -> Answers:
        """See ``Client.predict``."""
        rows = [row_to_message(row) for row in request.rows]
        message = pb.PredictRequest(model=model, version=request.version, rows=rows)
        reply = self._call("Predict", message, pb.PredictReply.FromString)
        notes = map(note_from_message, reply.notes)
        return Answers(map(answer_from_message, reply.answers), notes, reply.units)

    def predict_table(self, model: str, table: Table, version: int | None) -> AnswerTable:
        """See ``Client.predict_parts``."""
        message = pb.PredictRequest(model=model, version=version, table=table_to_message(table))
        reply = self._call("Predict", message, pb.PredictReply.FromString)
        return AnswerTable(columns_from_message(reply.columns), map(note_from_message, reply.notes), reply.units)

    def generate(self, model: str, request: GenerateRequest) -> Generator[Piece]:
        """See ``Client.pieces``."""
        message = pb.GenerateRequest(
            model=model,
            version=request.version,
            prompt=request.prompt,
            length=request.length,
            temperature=request.temperature,
            seed=request.seed,
            top_k=request.top_k,
            top_p=request.top_p,
            n=request.n,
            stop=request.stop,
            logprobs=request.logprobs,
            mode=request.mode,
        )
        method: Any = self._channel.unary_stream(
            "/bookserve.v1.Bookserve/Generate",
            request_serializer=pb.GenerateRequest.SerializeToString,
            response_deserializer=pb.GenerateReply.FromString,
        )
        started = False
        stream = self._retry.call(lambda left: self._begin(method, message))
        try:
            for reply in stream:
                started = True
                yield piece_from_message(reply)
        except grpc.RpcError as error:
            if started and error.code() is grpc.StatusCode.UNAVAILABLE:
                raise Failed(f"the text from {self._url} broke off.", "The server may have stopped.") from error
            raise self._error(error) from error
        finally:
            stream.cancel()

    def sample(self, model: str, request: SampleRequest) -> Samples:
        """See ``Client.sample``."""
        message = pb.SampleRequest(
            model=model,
            version=request.version,
            n=request.n,
            latent=[pb.Point(coordinates=point) for point in request.latent or []],
            grid=request.grid,
            seed=request.seed,
            truncation=request.truncation,
            walk=request.walk,
            interpolate=request.interpolate,
            start=request.start,
            count=request.count,
            images=[row_to_message(image) for image in request.images or []],
        )
        reply = self._call("Sample", message, pb.SampleReply.FromString)
        latent = np.array([point.coordinates for point in reply.latent], np.float32)
        return Samples(latent, np.stack([decode_image(image) for image in reply.images]))

    def transform(self, request: TransformRequest, tell: OnProgress) -> np.ndarray:
        """See ``Client.transform``."""
        message = pictures_pb2.TransformRequest(
            model=request.model, version=request.version, images=request.images, params=json.dumps(request.params)
        )
        method: Any = self._channel.unary_stream(
            f"/{_PICTURES}/Transform",
            request_serializer=pictures_pb2.TransformRequest.SerializeToString,
            response_deserializer=pictures_pb2.TransformProgress.FromString,
        )
        stream = method(message, metadata=self._metadata)
        try:
            for news in stream:
                preview = decode_image(news.preview) if news.preview else None
                loss = news.loss if news.HasField("loss") else math.nan
                tell(Progress(news.step, news.steps, loss, preview))
                if news.picture:
                    return decode_image(news.picture)
        except grpc.RpcError as error:
            raise self._error(error) from error
        finally:
            stream.cancel()
        raise Failed(f"the job at {self._url} was cancelled.", "Start it again.")

    def explain(self, model: str, request: ExplainRequest) -> Explanation:
        """See ``Client.explain``."""
        reply = self._call("Explain", _explain(model, request), pictures_pb2.ExplainReply.FromString, _PICTURES)
        return Explanation(reply.label, reply.score, tensor_from_message(reply.heatmap), decode_image(reply.overlay))

    def activations(self, model: str, request: ExplainRequest) -> list[Layer]:
        """See ``Client.activations``."""
        kind = pictures_pb2.ActivationsReply.FromString
        reply = self._call("Activations", _explain(model, request), kind, _PICTURES)
        return _layers(reply)

    def filters(self, model: str, version: int | None) -> list[Layer]:
        """See ``Client.filters``."""
        message = pictures_pb2.FiltersRequest(model=model, version=version)
        return _layers(self._call("Filters", message, pictures_pb2.ActivationsReply.FromString, _PICTURES))

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _call(self, name: str, message: Any, parse: Callable[[bytes], Any], service: str = _NATIVE) -> Any:
        method: Any = self._channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=type(message).SerializeToString,
            response_deserializer=parse,
        )

        def attempt(left: float) -> Any:
            try:
                return method(message, timeout=left, metadata=self._metadata)
            except grpc.RpcError as error:
                raise self._busy_or_error(error) from error

        return self._retry.call(attempt)

    def _begin(self, method: Any, message: Any) -> Any:
        """A stream that the server has begun to answer."""
        stream = method(message, metadata=self._metadata)
        try:
            stream.initial_metadata()
        except grpc.RpcError as error:
            raise self._busy_or_error(error) from error
        if stream.done() and stream.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
            raise self._busy_or_error(stream)
        return stream

    def _busy_or_error(self, failed: Any) -> Exception:
        error = self._error(failed)
        code, details = failed.code(), failed.details() or ""
        if code is grpc.StatusCode.UNAVAILABLE and not _is_tls(details):
            return TryAgain(error)
        # The libraries report a message over their own limit with this code, too; that one stays too large.
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" not in details:
            return TryAgain(error)
        return error

    def _error(self, error: Any) -> BookserveError:
        """The error of a gRPC status; the server sends the hint in the trailing metadata."""
        code, details = error.code(), error.details() or ""
        hint = dict(error.trailing_metadata() or ()).get(HINT)
        if hint is not None:
            return _KINDS.get(code, Failed)(details, hint.decode(errors="replace"))
        if code is grpc.StatusCode.UNAVAILABLE and _is_tls(details):
            return NotReady(f"no secure connection to {self._url}: {details.strip().rstrip('.')}.", _TLS_HINT)
        if code is grpc.StatusCode.UNAVAILABLE:
            reason = details.rpartition(": ")[2]
            return NotReady(
                f"cannot reach {self._url}: {reason.strip().rstrip('.')}.",
                "Start a server with: bookserve serve",
            )
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return NotReady(f"{self._url} did not answer in time.", "It may be overloaded: try again.")
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return NotReady(f"the server at {self._url} is not bookserve.", "Check the port, or start: bookserve serve")
        return _KINDS.get(code, Failed)(details)


def _is_tls(details: str) -> bool:
    return any(sign in details for sign in _TLS_FAILURES)


def _layers(reply: pictures_pb2.ActivationsReply) -> list[Layer]:
    return [Layer(layer.name, tuple(layer.shape), decode_image(layer.picture)) for layer in reply.layers]


def _explain(model: str, request: ExplainRequest) -> pictures_pb2.ExplainRequest:
    row = row_to_message(request.row)
    return pictures_pb2.ExplainRequest(model=model, version=request.version, row=row, label=request.label)
