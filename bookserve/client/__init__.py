"""The client library: one class calls models over HTTP, over gRPC, or without a server.

from bookserve import connect

with connect("http://127.0.0.1:8501") as client:
    client.predict("mnist_convnet", [Path("digit.png").read_bytes()])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bookserve.client.address import connect as connect
from bookserve.client.answers import Answers as Answers
from bookserve.client.answers import AnswerTable as AnswerTable
from bookserve.client.client import Client as Client
from bookserve.client.client import Samples as Samples

if TYPE_CHECKING:
    from bookserve.client.async_client import AsyncClient as AsyncClient
    from bookserve.client.async_client import connect_async as connect_async


def __getattr__(name: str) -> Any:
    if name in ("AsyncClient", "connect_async"):  # not before they are used: asyncio takes long to import
        return getattr(importlib.import_module("bookserve.client.async_client"), name)
    raise AttributeError(f"module 'bookserve.client' has no attribute '{name}'")
