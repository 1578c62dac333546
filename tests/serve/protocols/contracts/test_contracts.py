"""The contracts of the protocols: each row of one table is a request as other systems' clients send it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.serve.in_process import grpc_channel
from tests.serve.protocols.contracts import oip, over_grpc, texts_and_rows, tfserving
from tests.serve.protocols.contracts.over_grpc import Call
from tests.serve.protocols.contracts.rows import Row

TABLE: list[tuple[str, Row | Call]] = [
    (f"{name}: {row.what}", row)
    for name, rows in (
        ("TFS", tfserving.ROWS),
        ("OIP", oip.ROWS),
        ("texts and rows", texts_and_rows.ROWS),
        ("gRPC", over_grpc.CALLS),
    )
    for row in rows
]


@pytest.mark.parametrize("row", [row for _, row in TABLE], ids=[name for name, _ in TABLE])
def test_row(row: Row | Call, request: pytest.FixtureRequest) -> None:
    if isinstance(row, Call):
        call(row, request.getfixturevalue("one_channel"))
        return
    http: httpx.Client = request.getfixturevalue("application_http")
    reply = row.send(http)
    assert reply.status_code < 500 or reply.status_code == 503, reply.text
    row.check(reply)


@pytest.fixture(scope="module")
def one_channel(models: Path) -> Iterator[grpc.Channel]:
    """To the builtin gRPC server in this process; ``channel`` asks servers of both kinds."""
    with grpc_channel(models) as opened:
        yield opened


def call(row: Call, channel: grpc.Channel) -> None:
    data = row.request if isinstance(row.request, bytes) else row.request.SerializeToString()
    try:
        answer = channel.unary_unary(f"/{row.method}")(data, timeout=30)
    except grpc.RpcError as error:
        assert error.code() is row.code, error.details()
        assert row.details in error.details()
        return
    assert row.code is grpc.StatusCode.OK
    if row.reply is not None:
        assert row.check(row.reply.FromString(answer))
