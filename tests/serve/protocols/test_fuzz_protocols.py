"""Whatever bytes come, every protocol answers or refuses them in words: no route and no method ever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookserve.api import oip_pb2 as v2_pb
from bookserve.api import tfserving_pb2 as tfs_pb
from bookserve.errors import BookserveError, Failed
from serve.app.grpc_app import protocol_services
from serve.app.http_app import http_application
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.models.repository import Repository
from serve.observability.metrics import Metrics
from serve.protocols.base import ServerContext, load_protocols
from serve.security.access_policy import AccessPolicy
from serve.transport.grpc.service import Method, parse_message
from tests.serve.garbage import KEYS, LIMITS, bodies, damaged, documents, shapes, values, written


@pytest.fixture(scope="module")
def engine(models: Path) -> Engine:
    repository = Repository(models, Metrics())
    repository.load()
    made = Engine(repository, Metrics())
    made.ready = True
    return made


PATHS = [
    "/v1/models/affine:predict",
    "/v1/models/pair:predict",
    "/v1/models/digits:classify",
    "/v1/models/reviews:regress",
    "/v2/models/affine/infer",
    "/v2/models/pair/infer",
    "/v2/repository/index",
    "/v2/repository/models/nothing/load",
    "/api/models/affine/predict",
    "/api/models/writer/generate",
    "/api/models/plane/sample",
]
tensor_documents = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "a", "b", "y"]),
        "shape": shapes | st.just([1, 3]),
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "FP16", "X"]),
    },
    optional={"data": values | st.just([1, 2, 3]), "parameters": st.dictionaries(st.sampled_from(KEYS), values)},
)
inferences = st.fixed_dictionaries(
    {"inputs": st.lists(tensor_documents, max_size=3)},
    optional={
        "outputs": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["y", "sum", "next"])}, optional={"parameters": documents}),
            max_size=3,
        ),
        "parameters": documents,
        "id": st.text(),
    },
)


@given(
    st.sampled_from(PATHS),
    damaged(bodies | inferences.map(written)),
    st.dictionaries(
        st.sampled_from(["content-encoding", "accept-encoding", "inference-header-content-length", "accept"]),
        st.sampled_from(["gzip", "deflate", "0", "1", "60", "-1", "99999999999999999999", "image/png", "\u00b2", ""]),
    ),
)
def test_every_door_over_http(engine: Engine, path: str, body: bytes, headers: dict[str, str]) -> None:
    app = http_application(engine, Metrics(), AccessPolicy(LIMITS, control=True))
    sent = {name: value.encode("latin-1") for name, value in headers.items()}

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            return await http.post(path, content=body, headers=sent)

    reply = asyncio.run(ask())
    assert reply.status_code in (200, 400, 403, 404, 413, 501, 503), reply.text
    if reply.status_code != 200:
        assert reply.json()["error"]


CALLS = [
    tfs_pb.PredictRequest(model_spec=tfs_pb.ModelSpec(name="affine"), inputs={"x": tfs_pb.TensorProto(dtype=1)}),
    tfs_pb.ClassificationRequest(
        model_spec=tfs_pb.ModelSpec(name="affine"),
        input=tfs_pb.Input(
            example_list=tfs_pb.ExampleList(
                examples=[
                    tfs_pb.Example(
                        features=tfs_pb.Features(
                            feature={"x": tfs_pb.Feature(float_list=tfs_pb.FloatList(value=[1, 2, 3]))}
                        )
                    )
                ]
            )
        ),
    ),
    tfs_pb.MultiInferenceRequest(
        tasks=[
            tfs_pb.InferenceTask(model_spec=tfs_pb.ModelSpec(name="affine"), method_name="tensorflow/serving/classify")
        ]
    ),
    tfs_pb.GetModelMetadataRequest(model_spec=tfs_pb.ModelSpec(name="affine"), metadata_field=["signature_def"]),
    v2_pb.ModelInferRequest(
        model_name="affine",
        inputs=[v2_pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 3])],
        raw_input_contents=[b"0" * 12],
        outputs=[
            v2_pb.ModelInferRequest.InferRequestedOutputTensor(
                name="y", parameters={"classification": v2_pb.InferParameter(int64_param=2)}
            )
        ],
    ),
    v2_pb.RepositoryModelLoadRequest(model_name="nothing"),
]
messages = damaged(st.sampled_from([call.SerializeToString() for call in CALLS]) | st.binary(max_size=100))


@given(messages)
def test_every_method_over_grpc(engine: Engine, data: bytes) -> None:
    context = ServerContext(engine, JobQueue(engine), AccessPolicy(LIMITS, control=True))

    async def ask() -> None:
        for service, _ in protocol_services(load_protocols(), context).values():
            for method in service.methods.values():
                if isinstance(method, Method):
                    await _refused(method.answer, method.request, data)

    asyncio.run(ask())


async def _refused(answer: Callable[[Any], Awaitable[Any]], kind: Any, data: bytes) -> None:
    try:
        (await answer(parse_message(kind, data))).SerializeToString()
    except Failed:
        raise
    except BookserveError as error:
        assert str(error)
