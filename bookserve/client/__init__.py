"""The client library: one class calls models over HTTP, over gRPC, or without a server.

from bookserve import connect

with connect("http://127.0.0.1:8501") as client:
    client.predict("mnist_convnet", [Path("digit.png").read_bytes()])
"""

from bookserve.client.address import connect as connect
from bookserve.client.answers import Answers as Answers
from bookserve.client.answers import AnswerTable as AnswerTable
from bookserve.client.async_client import AsyncClient as AsyncClient
from bookserve.client.async_client import connect_async as connect_async
from bookserve.client.client import Client as Client
from bookserve.client.client import Samples as Samples
