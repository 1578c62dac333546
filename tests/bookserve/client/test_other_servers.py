"""The client of other people's servers, against bookserve's own endpoints of their protocols.

``make test-servers`` runs the same against servers that are not bookserve.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.client import Client, connect
from bookserve.errors import BookserveError, Failed, InvalidInput, NotFound, NotReady
from bookserve.images import encode_png
from bookserve.verb import plain_answers
from tests.servers import Server

WAYS = ("tfserving+http", "tfserving+grpc", "oip+http", "oip+grpc")
BRIGHT = np.full((4, 4), 255, np.uint8)
ROWS = [
    ("digits", [encode_png(BRIGHT), BRIGHT // 5]),
    ("reviews", ["a good good film", "bad"]),
    ("affine", [[1, 2, 3], np.array([0.1, 0.2, float("nan")])]),
    ("affine", np.ones((2100, 3))),
    ("pair", [{"a": [1, 2.5], "b": 3}, {"b": 2**40, "a": [0, 0]}]),
]


def address(server: Server, way: str) -> str:
    _, _, scheme = way.partition("+")
    return f"{way}://{getattr(server, scheme).partition('://')[2]}"


@pytest.fixture(params=WAYS)
def place(request: pytest.FixtureRequest, server: Server) -> str:
    return address(server, request.param)


@pytest.fixture
def with_bundles(place: str, models: Path) -> Iterator[Client]:
    with connect(place, bundles=models) as client:
        yield client


@pytest.fixture
def alone(place: str) -> Iterator[Client]:
    with connect(place) as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize(("model", "rows"), ROWS)
def test_with_the_bundle_answers_are_those_of_its_steps(
    with_bundles: Client, local: Client, model: str, rows: Any
) -> None:
    answers, expected = with_bundles.predict(model, rows), local.predict(model, rows)
    assert str(plain_answers(answers)) == str(plain_answers(expected))  # NaN is not equal to itself


@pytest.mark.slow
def test_by_the_servers_description_numbers_are_tensors(alone: Client) -> None:
    assert plain_answers(alone.predict("affine", [[1, 2, 3], [0, 0, 0]])) == [{"y": [3, 5, 7]}, {"y": [1, 1, 1]}]
    assert plain_answers(alone.predict("pair", [{"a": [1, 2.5], "b": 3}])) == [{"next": 4, "sum": 3.5}]
    with pytest.raises(InvalidInput, match=r"float32\[4, 4, 1\] in each row"):
        alone.predict("digits", [encode_png(BRIGHT)])


@pytest.mark.slow
def test_a_version_is_that_of_the_bundle(with_bundles: Client) -> None:
    (answer,) = with_bundles.predict("digits", [BRIGHT], version=2)
    assert [label.label for label in answer["probabilities"]] == ["bright", "dark"]
    with pytest.raises(NotFound):
        with_bundles.predict("digits", [BRIGHT], version=7)


@pytest.mark.slow
def test_models_that_are_not_there(with_bundles: Client) -> None:
    with pytest.raises(NotFound, match="nothing"):
        with_bundles.predict("nothing", [[1, 2, 3]])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tfserving+http", "tfserving+grpc"])
def test_texts_and_pictures_over_tensorflow_serving(server: Server, models: Path, local: Client, way: str) -> None:
    """Every graph of a bundle is a signature, so texts and pictures are made where only graphs are served."""
    with connect(address(server, way), bundles=models) as client:
        fields: dict[str, Any] = {"length": 20, "temperature": 1.5, "seed": 7}
        texts = ["".join(one.generate("writer", "abc", **fields)) for one in (client, local)]
        assert texts[0] == texts[1]
        assert len(texts[0]) == 20
        np.testing.assert_allclose(client.sample("plane", 3, seed=1).images, local.sample("plane", 3, seed=1).images)


@pytest.mark.slow
def test_other_graphs_than_the_default_need_tensorflow_serving(server: Server, models: Path) -> None:
    with connect(address(server, "oip+grpc"), bundles=models) as client:
        images = [encode_png(BRIGHT)]
        with pytest.raises(Failed, match="only the default graph"):
            client.sample("plane", images=images)


@pytest.mark.slow
def test_models(server: Server, models: Path) -> None:
    for way in WAYS:
        with connect(address(server, way), bundles=models) as client:
            listed = [(model["name"], model["version"], model["verb"]) for model in client.models()]
            assert ("writer", 1, "generate") in listed
            assert [name for name, _, _ in listed] == ["affine", "digits", "pair", "plane", "reviews", "writer"]
    for way in WAYS:
        with connect(address(server, way)) as client:
            if way.startswith("oip"):
                assert "writer" in {model["name"] for model in client.models()}
            else:  # TensorFlow Serving has no list of models
                with pytest.raises(Failed, match="does not list"):
                    client.models()


@pytest.mark.slow
def test_another_bundle_than_the_server_has_is_refused(server: Server, models: Path, tmp_path: Path) -> None:
    (tmp_path / "digits").symlink_to(models / "affine")
    with connect(address(server, "tfserving+http"), bundles=tmp_path) as client, pytest.raises(BookserveError):
        client.predict("digits", [[1, 2, 3]])


@pytest.mark.parametrize(
    ("url", "options", "kind", "message"),
    [
        ("tfserving+ftp://x", {}, InvalidInput, "is not an address of models"),
        ("triton+http://x", {}, InvalidInput, "is not an address of models"),
        ("http://x", {"bundles": "."}, InvalidInput, "bundles have no use"),
        ("oip+http://x", {"bundles": "nowhere"}, NotFound, "there is no directory 'nowhere'"),
    ],
)
def test_addresses_that_cannot_be_used(
    url: str, options: dict[str, Any], kind: type[BookserveError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        connect(url, **options)


@pytest.mark.parametrize("way", WAYS)
def test_no_server(way: str) -> None:
    with connect(f"{way}://127.0.0.1:9", retries=0, timeout=5) as client, pytest.raises(NotReady, match="cannot reach"):
        client.predict("affine", [[1, 2, 3]])
