"""Values and bytes that a server may be sent, drawn at random, and what it may do about them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bookserve.errors import BookserveError, Failed
from bookserve.graph import TensorSpec
from serve.security.limits import Limits

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


#: Sizes of tensors, few of which can be.
shapes = st.lists(st.integers(-2, 5) | st.sampled_from([2**31, 2**62, -(2**63)]), max_size=4)
