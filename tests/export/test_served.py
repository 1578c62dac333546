"""Test that exported bundles are served, and that Classify and Regress answer as TensorFlow's signatures do."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from bookserve.bundle import Bundle
from tests.export.signatures import run_signature
from tests.servers import Server, start


@pytest.fixture(scope="module")
def server(bundles: dict[str, Bundle]) -> Iterator[Server]:
    with start(next(iter(bundles.values())).path.parents[1]) as running:
        yield running


def test_every_bundle_is_served(server: Server, bundles: dict[str, Bundle]) -> None:
    listed = httpx.get(f"{server.http}/api/models", trust_env=False).json()["models"]
    assert {model["name"] for model in listed} == {bundle.name for bundle in bundles.values()}


@pytest.mark.parametrize("signature_name", ["", "serving_default", "signature"])
@pytest.mark.parametrize(
    ("task", "signature"), [("convnet", "classify"), ("reviews", "classify"), ("prices", "regress")]
)
def test_records_are_answered_as_by_tensorflow(
    tensorflow, server: Server, bundles: dict[str, Bundle], task: str, signature: str, signature_name: str
) -> None:
    bundle = bundles[task]
    (name, rows), *_ = bundle.examples().graphs["serving_default"].inputs.items()
    named = signature if signature_name == "signature" else signature_name
    body = {"examples": [{name: row.ravel().tolist()} for row in rows], "signature_name": named}
    reply = httpx.post(f"{server.http}/v1/models/{bundle.name}:{signature}", json=body, trust_env=False)
    assert reply.status_code == 200, reply.text
    expected = run_signature(tensorflow, bundle, signature)
    if signature == "regress":
        np.testing.assert_allclose(reply.json()["results"], expected["outputs"], rtol=1e-5)
        return
    for answer, classes, scores in zip(reply.json()["results"], expected["classes"], expected["scores"], strict=True):
        assert [label for label, _ in answer] == [label.decode() for label in classes]
        np.testing.assert_allclose([score for _, score in answer], scores, rtol=1e-5, atol=1e-6)
