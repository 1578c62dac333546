"""Whatever bytes come, every parser either reads them or refuses them in words; no other exception, ever.

A longer search by hand: ``BOOKSERVE_SEARCH=20000 python -m pytest tests/serve/test_fuzz*``.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bookserve.api import tfserving_pb2 as tfs_pb
from bookserve.graph import Graph, TensorSpec
from serve.codecs import regular_json as regular
from serve.codecs.json_arrays import to_array
from serve.codecs.json_document import loads
from serve.protocols.oip.tensors import from_raw
from serve.protocols.tfserving import predict_json as rows
from serve.protocols.tfserving import tensors
from serve.protocols.tfserving import tf_examples as examples
from serve.transport.http.body import inflate
from tests.serve.garbage import DTYPES, LIMITS, SPECS, bodies, damaged, refuse, shapes, values, written


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
    slow = refuse(lambda: rows.read_inputs(rows.parse_request(body, LIMITS.depth), specs))
    quick = regular.parse_regular(body, specs)
    if quick is not None:
        assert slow is not None
        for name in specs:
            np.testing.assert_array_equal(quick[0][name], slow[0][name])


@given(damaged(bodies), st.sets(st.sampled_from(sorted(SPECS)), min_size=1))
def test_records_as_json(body: bytes, names: set[str]) -> None:
    graph = Graph(inputs={name: SPECS[name] for name in names}, outputs={"y": TensorSpec("float32", ("batch", 1))})
    feeds = refuse(
        lambda: examples.example_inputs(examples.examples_from_json(rows.parse_request(body, LIMITS.depth)), graph)
    )
    assert feeds is None or feeds.keys() == names


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
