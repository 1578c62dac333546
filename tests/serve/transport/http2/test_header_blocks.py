"""Header blocks: the cache gives what decoding gives, and what is encoded can be decoded."""

from __future__ import annotations

import contextlib

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.transport.http2.frames import Http2ConnectionError
from serve.transport.http2.header_blocks import HeaderDecoder, MalformedRequest, RequestHeaders, encode_headers
from tests.serve.transport.http2.peer import request_fields

NAMES = st.sampled_from(["user-agent", "x-frog", "authorization", "x-request-id", "accept", "x-raw-bin"])
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200)


def own(value: str, name: str) -> str | bytes:
    return value.encode() if name.endswith("-bin") else value


@given(
    lists=st.lists(st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=6), min_size=1, max_size=12),
    huffman=st.booleans(),
    order=st.lists(st.integers(0, 11), max_size=20),
)
@settings(max_examples=200, deadline=None)
def test_cached_blocks_mean_what_decoding_says(
    lists: list[list[tuple[str, str, bool]]], huffman: bool, order: list[int]
) -> None:
    encoder, fields = hpack.Encoder(), HeaderDecoder(100_000)
    for index in [*range(len(lists)), *(place % len(lists) for place in order)]:
        more = [(name, value, private) for name, value, private in lists[index] if not name.endswith("-bin")]
        block = encoder.encode(
            [
                *request_fields("echo"),
                *(hpack.NeverIndexedHeaderTuple(n, v) if p else hpack.HeaderTuple(n, v) for n, v, p in more),
            ],
            huffman=huffman,
        )
        head = fields.decode_request(block)
        assert head.path == "/t.T/echo"
        assert head.metadata == tuple((name, value) for name, value, _ in more)
        assert (head.timeout, head.encoding, head.reject_status) == (None, "identity", 0)


def test_a_block_that_keeps_the_table_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, fields = hpack.Encoder(), HeaderDecoder(100_000)
    first, second = encoder.encode(request_fields("echo")), encoder.encode(request_fields("echo"))
    assert fields.decode_request(first) == fields.decode_request(second)
    kept = fields.decode_request(second)
    assert fields.decode_request(second) is kept
    fields.decode_request(
        encoder.encode([*request_fields("echo"), ("x-new", "entry")])
    )  # moves the entries that the block refers to
    with pytest.raises(MalformedRequest):
        fields.decode_request(second)


def test_decoding_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, fields = hpack.Encoder(), HeaderDecoder(10_000)
    entry = ("x-long", "a" * 3000)
    assert fields.decode_request(encoder.encode([*request_fields("echo"), entry])).list_size < 10_000
    bomb = encoder.encode([*request_fields("echo"), *[entry] * 60_000])
    assert len(bomb) < 61_000, "each field is one byte that refers to 3,000"
    decoded: list[bytes] = []
    decode = hpack.Decoder.decode
    monkeypatch.setattr(
        hpack.Decoder, "decode", lambda self, data, raw: decoded.append(bytes(data)) or decode(self, data, raw)
    )
    head = fields.decode_request(bomb)
    assert len(decoded) == len(request_fields("echo")) + 4, "the fourth of these fields exceeds the limit"
    assert 10_000 < head.list_size < 13_100 + len(bomb)
    assert (head.path, head.metadata) == ("", ())


def test_a_header_list_that_is_too_large_keeps_the_table_right() -> None:
    encoder, fields = hpack.Encoder(), HeaderDecoder(5_000)
    late = [(f"x-late-{index}", str(index)) for index in range(100)]
    large = encoder.encode([*request_fields("echo"), ("x-long", "a" * 9_000), *late, ("x-long", "b" * 9_000)])
    assert fields.decode_request(large).list_size > 5_000
    head = fields.decode_request(encoder.encode([*request_fields("echo"), *late[-50:]]))
    assert (head.path, head.metadata) == ("/t.T/echo", tuple(late[-50:]))


def test_a_header_list_that_goes_on_to_change_the_table_ends_the_connection() -> None:
    encoder, fields = hpack.Encoder(), HeaderDecoder(5_000)
    late = [(f"x-late-{index}", str(index)) for index in range(200)]
    with pytest.raises(Http2ConnectionError, match="too large"):
        fields.decode_request(encoder.encode([*request_fields("echo"), ("x-long", "a" * 9_000), *late]))


def test_the_size_of_the_table_changes_only_at_the_beginning_of_a_block() -> None:
    block = hpack.Encoder().encode(request_fields("echo"))
    assert HeaderDecoder(5_000).decode_request(b"\x20" + block).path == "/t.T/echo"
    with pytest.raises(Http2ConnectionError, match="size update"):
        HeaderDecoder(5_000).decode_request(block + b"\x20")


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_what_is_encoded_can_be_decoded(fields: list[tuple[str, str]]) -> None:
    block = encode_headers([(name, own(value, name)) for name, value in fields])
    read = hpack.Decoder().decode(block)
    assert [name for name, _ in read] == [name for name, _ in fields]
    plain = [(name, value) for name, value in fields if not name.endswith("-bin")]
    assert [(name, value) for name, value in read if not name.endswith("-bin")] == plain


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 254, 255, 256, 16_383, 16_511, 70_000])
def test_lengths_of_every_size(length: int) -> None:
    assert hpack.Decoder(max_header_list_size=10**6).decode(encode_headers([("x", "y" * length)])) == [
        ("x", "y" * length)
    ]


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_any_bytes_are_a_request_or_one_of_two_errors(block: bytes) -> None:
    with contextlib.suppress(MalformedRequest, Http2ConnectionError):
        assert isinstance(HeaderDecoder(1000).decode_request(block), RequestHeaders)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("40m", 0.04), ("5u", 5e-6), ("6n", 6e-9), ("99999999S", 99999999.0)],
)
def test_timeouts(text: str, seconds: float) -> None:
    head = HeaderDecoder(10_000).decode_request(hpack.Encoder().encode(request_fields("echo", ("grpc-timeout", text))))
    assert head.timeout == pytest.approx(seconds)
    assert head.mistake == ""


@pytest.mark.parametrize("text", ["soon", "", "1", "S", "1s", "123456789S", "-1S", "1.5S", "1 S"])
def test_malformed_timeouts_are_grpcs_mistake_not_http2s(text: str) -> None:
    head = HeaderDecoder(10_000).decode_request(hpack.Encoder().encode(request_fields("echo", ("grpc-timeout", text))))
    assert head.timeout is None
    assert "grpc-timeout" in head.mistake
