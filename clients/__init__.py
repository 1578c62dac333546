"""The client room: one object for every way to reach a model, and the commands that use it.

from clients import connect

with connect("http://127.0.0.1:8501") as client:
    client.predict("mnist_convnet", [Path("digit.png").read_bytes()])
"""

from __future__ import annotations

from clients.address import connect
from clients.client import Client, Samples

__all__ = ["Client", "Samples", "connect"]
