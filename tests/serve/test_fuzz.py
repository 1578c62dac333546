"""Whatever bytes come, every parser either reads them or refuses them in words; no other exception, ever.

A longer search by hand: ``BOOKSERVE_SEARCH=20000 python -m pytest tests/serve/test_fuzz.py``.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bookserve.errors import BookserveError, Failed
from bookserve.graph import Graph, TensorSpec
from serve.body import inflate
from serve.document import loads
from serve.doors import Doors
from serve.engine import Engine
from serve.http import application
from serve.limits import Limits
from serve.metrics import Metrics
from serve.nested import to_array
from serve.repository import Repository
from serve.service import Method, read
from serve.tfs import examples, models, regular, rows, tensors
from serve.tfs import rpc as tfs
from serve.tfs import tfs_pb2 as tfs_pb
from serve.v2 import rpc as v2
from serve.v2 import v2_pb2 as v2_pb
from serve.v2.tensors import from_raw

SEARCH = int(os.environ.get("BOOKSERVE_SEARCH", "100"))
settings.register_profile(
    "house", max_examples=SEARCH, deadline=None, derandomize=SEARCH == 100, suppress_health_check=list(HealthCheck)
)
settings.load_profile("house")

LIMITS = Limits(body=2**16, inflated=2**16, depth=16, elements=2**16)
SPECS = {
    "x": TensorSpec("float32", ("batch", 3)),
    "b": TensorSpec("bool", ("batch",)),
    "i": TensorSpec("uint8", ("batch", "n")),
    "t": TensorSpec("string", ("batch",)),
    "h": TensorSpec("float16", ("batch", 2)),
}
DTYPES = st.sampled_from(["bool", "int8", "int64", "uint64", "float16", "float32", "float64", "string"])

numbers = st.one_of(st.integers(), st.floats(), st.integers(-3, 300), st.sampled_from([2**31, 2**63, 2**64, -(2**63)]))
leaves = st.one_of(numbers, st.booleans(), st.none(), st.text(), st.builds(lambda text: {"b64": text}, st.text()))
KEYS = ["instances", "inputs", "outputs", "signature_name", "examples", "context", "x", "b64", "name", "shape", "data"]
KEYS += [
    "datatype",
    "parameters",
    "binary_data_size",
    "binary_data",
    "classification",
    "id",
    "rows",
    "version",
    "ready",
]
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=4),
    max_leaves=30,
)
documents = st.dictionaries(st.sampled_from(KEYS), values, max_size=5)


def written(value: Any) -> bytes:
    """JSON with NaN and Infinity as bare words, and half surrogates as escapes."""
    return json.dumps(value).encode()


#: JSON, JSON with a few bytes changed, and bytes.
bodies = st.one_of(documents.map(written), values.map(written), st.binary(max_size=200))


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which a few are lost, doubled or changed."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 4))):
        if not data:
            break
        place = draw(st.integers(0, len(data) - 1))
        data[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


def refuse(action: Callable[[], Any]) -> Any:
    """What ``action`` gives, or None where it is one of the four ways in which a request may be refused."""
    try:
        return action()
    except Failed:
        raise
    except BookserveError as error:
        assert 0 < len(str(error).encode()) < 20_000
        return None


@given(damaged(bodies), st.booleans())
def test_documents(body: bytes, trailing: bool) -> None:
    refuse(lambda: loads(body, depth=LIMITS.depth, trailing=trailing))


@given(values, DTYPES)
def test_nested_lists(value: Any, dtype: str) -> None:
    array = refuse(lambda: to_array(json.loads(written(value)), dtype, dtype))
    assert array is None or array.dtype == (object if dtype == "string" else dtype)


@given(damaged(bodies), st.sets(st.sampled_from(sorted(SPECS)), min_size=1))
def test_predictions_as_json(body: bytes, names: set[str]) -> None:
    specs = {name: SPECS[name] for name in names}
    slow = refuse(lambda: rows.feeds(rows.parse(body, LIMITS.depth), specs))
    quick = regular.feeds(body, specs)
    if quick is not None:
        assert slow is not None
        for name in specs:
            np.testing.assert_array_equal(quick[0][name], slow[0][name])


@given(damaged(bodies), st.sets(st.sampled_from(sorted(SPECS)), min_size=1))
def test_records_as_json(body: bytes, names: set[str]) -> None:
    graph = Graph(inputs={name: SPECS[name] for name in names}, outputs={"y": TensorSpec("float32", ("batch", 1))})
    feeds = refuse(lambda: examples.feeds(examples.from_json(rows.parse(body, LIMITS.depth), "classify"), graph))
    assert feeds is None or feeds.keys() == names


shapes = st.lists(st.integers(-2, 5) | st.sampled_from([2**31, 2**62, -(2**63)]), max_size=4)
protos = st.builds(
    lambda dtype, sizes, content, floats, ints, wide, texts, truths: tfs_pb.TensorProto(
        dtype=dtype,
        tensor_shape=tfs_pb.TensorShapeProto(dim=[tfs_pb.TensorShapeProto.Dim(size=size) for size in sizes]),
        tensor_content=content,
        float_val=floats,
        int_val=ints,
        half_val=ints,
        int64_val=wide,
        string_val=texts,
        bool_val=truths,
    ),
    st.integers(-1, 30),
    shapes,
    st.binary(max_size=40),
    st.lists(st.floats(width=32), max_size=4),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    st.lists(st.binary(max_size=5), max_size=4),
    st.lists(st.booleans(), max_size=4),
)


@given(protos)
def test_tensor_protos(proto: tfs_pb.TensorProto) -> None:
    array = refuse(lambda: tensors.to_array("x", proto, LIMITS))
    if array is not None:
        assert array.size <= LIMITS.elements
        back = tensors.to_array("x", tensors.to_tensor(array), LIMITS)
        np.testing.assert_array_equal(back, array)


@given(st.binary(max_size=100), DTYPES, shapes)
def test_raw_tensors(data: bytes, dtype: str, shape: list[int]) -> None:
    array = refuse(lambda: from_raw("x", memoryview(data), dtype, shape))
    assert array is None or list(array.shape) == shape


@given(
    damaged(st.one_of(st.binary(max_size=200).map(gzip.compress), st.binary(max_size=200).map(zlib.compress))),
    st.sampled_from(["gzip", "deflate", "br", "x"]),
)
def test_compressed_bodies(body: bytes, coding: str) -> None:
    refuse(lambda: inflate(body, coding, 100))


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
    app = application(engine, Metrics(), Doors(LIMITS, control=True))
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
    doors = Doors(LIMITS, control=True)
    services = [tfs.service(engine, doors), models.service(engine, doors), v2.service(engine, doors)]

    async def ask() -> None:
        for service in services:
            for method in service.methods.values():
                if isinstance(method, Method):
                    await _refused(method.answer, method.takes, data)

    asyncio.run(ask())


async def _refused(answer: Callable[[Any], Awaitable[Any]], kind: Any, data: bytes) -> None:
    try:
        (await answer(read(kind, data))).SerializeToString()
    except Failed:
        raise
    except BookserveError as error:
        assert str(error)
