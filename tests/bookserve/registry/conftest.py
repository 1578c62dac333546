"""A bundle of some megabytes, and the places where it may lie: a directory, a bucket, a web site."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest

from bookserve import bundle
from bookserve.bundle import Bundle, new_version, seal
from tests.bookserve.registry.site import Site
from tests.bookserve.registry.transfers import MIB, Plain


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A directory with one bundle of some megabytes and a name that an address must quote."""
    models = tmp_path / "shop"
    with new_version(models, "big") as directory:
        for number, name in enumerate(("a.bin", "parts/b #1%.bin", "c.bin")):
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(np.random.default_rng(number).bytes(3 * MIB + number))
        seal(directory, Plain)
    return models


@pytest.fixture
def big(shop: Path) -> Bundle:
    return bundle.open_bundle(shop, "big")


@pytest.fixture
def site(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a web site that shows ``shop``."""
    monkeypatch.setattr("bookserve.registry.location.CHUNK", MIB)
    for name, value in (("ranges", True), ("budget", 1 << 60), ("cuts", []), ("sent", [])):
        monkeypatch.setattr(Site, name, value)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(shop))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def bucket() -> Iterator[str]:
    """The address of an empty place in memory, as fsspec shows any bucket."""
    yield "memory://bucket/models"
    fsspec.filesystem("memory").store.clear()
