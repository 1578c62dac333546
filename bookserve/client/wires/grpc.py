# ruff: noqa: TID253
"""Reach a server over gRPC by bookserve's own API, ``bookserve/api/native.proto``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator
from typing import Any

import grpc
import numpy as np

from bookserve.api import native_pb2 as pb
from bookserve.api import pictures_pb2
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
from bookserve.client.client import OnProgress, Samples
from bookserve.client.wires.grpc_connection import GrpcConnection
from bookserve.errors import Failed
from bookserve.generation.explain import Explanation, Layer
from bookserve.generation.text import Piece
from bookserve.generation.transform import Progress
from bookserve.images import decode_image
from bookserve.table import Table

#: Names of the services.
_NATIVE, _PICTURES = "bookserve.v1.Bookserve", "bookserve.v1.Pictures"


class GrpcWire(GrpcConnection):
    """bookserve's own API. Threads may share it."""

    server = "bookserve"
    start_hint = "Start a server with: bookserve serve"
    other_hint = "Check the port, or start: bookserve serve"
    parallel = 4
    #: With ``parallel`` this fits a server's queue several times over.
    table_rows = 2048

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
            raise self.error(error) from error
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
            raise self.error(error) from error
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

    def _call(self, name: str, message: Any, parse: Callable[[bytes], Any], service: str = _NATIVE) -> Any:
        return self.call(f"/{service}/{name}", message, parse)

    def _begin(self, method: Any, message: Any) -> Any:
        """A stream that the server has begun to answer."""
        stream = method(message, metadata=self._metadata)
        try:
            stream.initial_metadata()
        except grpc.RpcError as error:
            raise self.busy_or_error(error) from error
        if stream.done() and stream.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
            raise self.busy_or_error(stream)
        return stream


def _layers(reply: pictures_pb2.ActivationsReply) -> list[Layer]:
    return [Layer(layer.name, tuple(layer.shape), decode_image(layer.picture)) for layer in reply.layers]


def _explain(model: str, request: ExplainRequest) -> pictures_pb2.ExplainRequest:
    row = row_to_message(request.row)
    return pictures_pb2.ExplainRequest(model=model, version=request.version, row=row, label=request.label)
