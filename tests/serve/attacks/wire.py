"""The wire without a client library: bytes to the server and back, and the methods by name."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from tests.servers import Server

PREDICT = "/tensorflow.serving.PredictionService/Predict"
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
ALIVE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /v2/models/affine/infer HTTP/1.1\r\nHost: x\r\n"


def connect(server: Server) -> socket.socket:
    where = urlsplit(server.http)
    return socket.create_connection((where.hostname, where.port), timeout=30)


def read(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    found = b""
    while True:
        try:
            piece = connection.recv(65_536)
        except ConnectionResetError:
            return found
        if not piece:
            return found
        found += piece


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def size(answer: bytes) -> int:
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
