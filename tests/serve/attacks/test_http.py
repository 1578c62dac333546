"""What is hardly HTTP, and what hardly arrives: sent away, and whoever asks next is answered."""

from __future__ import annotations

import select
import time
from contextlib import suppress

import httpx
import pytest

from tests.serve.attacks.wire import ALIVE, HEAD, connect, read, status
from tests.servers import Server


def test_a_flood_of_tiny_chunks(narrow: Server, client: httpx.Client) -> None:
    """Half a million chunks of one byte: 3 MB on the wire."""
    body = b'{"instances": [[0, 1, 2]]}'.ljust(500_000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    with connect(narrow) as connection:
        head = b"POST /v1/models/affine:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        answer = read(connection)
    assert status(answer) == 200
    assert answer.endswith(b'{"predictions":[[1.0,3.0,5.0]]}')


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X-Long: " + b"a" * 9000 + b"\r\n\r\n",
        HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(2000)) + b"\r\n",
        b"GET /v1/models/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"X-Endless: " + b"a" * 2**20,
        b"GET /" + b"a" * 2**20,
    ],
    ids=["value", "number", "path", "endless value", "endless path"],
)
def test_a_head_too_long_is_refused(narrow: Server, client: httpx.Client, head: bytes) -> None:
    with connect(narrow) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have closed already
            connection.sendall(head)
        answer = read(connection)
    assert not answer or status(answer) == 431  # what is sent after the answer may drown it


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n",
        HEAD + b"X\0: a\r\n\r\n",
        HEAD + b"X: a\0b\r\n\r\n",
        HEAD + b" folded: a\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    ],
)
def test_what_is_no_http_is_refused(narrow: Server, client: httpx.Client, head: bytes) -> None:
    with connect(narrow) as connection:
        connection.sendall(head)
        assert status(read(connection)) in (400, 408, 505)


@pytest.mark.parametrize(
    ("parts", "answered"),
    [
        ([b""], b""),
        ([b"G"], b" 408 "),
        ([b"GET / HTTP/1.1\r\n", *[b"X-%d: a\r\n" % number for number in range(100)]], b" 408 "),
        ([HEAD + b"Content-Length: 1000\r\n\r\n", *[b" "] * 100], b" 408 "),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 100], b" 408 "),
        ([ALIVE, *[b"\r\n"] * 100], b" 200 "),
        ([ALIVE, b"GET /healthz HTTP/1.1\r\nHost:", *[b"x"] * 100], b" 408 "),
    ],
    ids=["nothing", "one byte", "slow head", "slow body", "slow chunks", "empty lines", "slow second request"],
)
def test_a_slow_client_is_sent_away(narrow: Server, client: httpx.Client, parts: list[bytes], answered: bytes) -> None:
    """And it keeps nobody waiting meanwhile: others are answered while it dawdles."""
    answer = b""
    with connect(narrow) as connection:
        connection.sendall(parts[0])
        for part in parts[1:]:
            assert client.get("/healthz").status_code == 200
            if select.select([connection], [], [], 0.2)[0]:
                piece = connection.recv(65_536)
                answer += piece
                if not piece or b" 408 " in answer:
                    break
            connection.sendall(part)
        answer += read(connection)
    assert answered in answer


def test_a_request_that_takes_its_time_within_the_limit_is_answered(narrow: Server) -> None:
    request = b"POST /v1/models/affine:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\nConnection: close\r\n\r\n"
    with connect(narrow) as connection:
        for part in (request[:20], request[20:], b'{"instances": ', b"[[0, 1, 2]]}"):
            connection.sendall(part)
            time.sleep(0.3)
        assert status(read(connection)) == 200
