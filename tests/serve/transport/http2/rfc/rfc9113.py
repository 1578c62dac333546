"""Cases of RFC 9113 (HTTP/2), in the order of its sections; requests are gRPC's."""

from __future__ import annotations

from serve.transport.http2.frame_reader import MAX_FRAME_SIZE
from tests.serve.transport.http2.rfc.client import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Seen,
    call,
    fields,
    frame,
    literal,
    message,
    open_call,
    reset,
    settings,
    window,
)
from tests.serve.transport.http2.rfc.rows import (
    CALM,
    CLOSED,
    FLOW,
    PROTOCOL,
    REFUSED,
    SIZE,
    Check,
    answered,
    fatal,
    nothing,
    refused,
    resets,
    row,
)

HEAD = literal(fields())
BODY = frame(DATA, END_STREAM, 1, message())
#: A call whose method does not answer: the client has said all, the server nothing.
WAITING = call(1, "wait")
#: A call that the client has given up, and one that is answered.
GIVEN_UP, ANSWERED = open_call(1, "wait") + reset(1), call()


def without(name: str) -> bytes:
    """A head that lacks a field."""
    return literal([one for one in fields() if one[0] != name])


def headers(block: bytes, flags: int = 0) -> bytes:
    return frame(HEADERS, END_HEADERS | flags, 1, block)


def pings(*payloads: bytes) -> Check:
    def check(seen: Seen) -> None:
        assert seen.pings()[: len(payloads)] == list(payloads)

    return check


def acknowledges(count: int) -> Check:
    """So many SETTINGS frames, with that of the beginning, are acknowledged."""

    def check(seen: Seen) -> None:
        assert seen.acknowledged_settings() == count

    return check


def data_sizes(*sizes: int) -> Check:
    """The answer comes in DATA frames of these sizes."""

    def check(seen: Seen) -> None:
        found = [len(data) for kind, _, stream, data in seen.frames if kind == DATA and stream == 1 and data]
        assert found == list(sizes)

    return check


FRAMES = [
    row("4.1", "a frame of an unknown type is passed over", answered(), frame(0xC8, 0x5A, 0, b"x" * 9) + call()),
    row("4.1", "and on a stream", answered(), open_call() + frame(0xC8, 0, 1, b"x") + BODY),
    row("4.1", "undefined flags are passed over", pings(b"undefine"), frame(PING, 0xFE, 0, b"undefine")),
    row("4.1", "and those of HEADERS", answered(), frame(HEADERS, END_HEADERS | 0xD2, 1, HEAD) + BODY),
    row(
        "4.1",
        "the reserved bit of a stream identifier is passed over",
        pings(b"reserved"),
        frame(PING, 0, 2**31, b"reserved"),
    ),
    row(
        "4.2",
        "DATA of 16,384 bytes",
        answered(b"a" * 16_379),
        open_call() + frame(DATA, END_STREAM, 1, message(b"a" * 16_379)),
    ),
    row(
        "4.2",
        "DATA of the largest size that the server announces",
        answered(b"a" * (MAX_FRAME_SIZE - 5)),
        settings((4, 2**20), (5, 2**20)) + window(0, 2**20),
        open_call() + frame(DATA, END_STREAM, 1, message(b"a" * (MAX_FRAME_SIZE - 5))),
    ),
    fatal("4.2", "DATA beyond it", SIZE, open_call() + frame(DATA, 0, 1, b"a" * (MAX_FRAME_SIZE + 1))),
    fatal("4.2", "HEADERS beyond it", SIZE, frame(HEADERS, END_HEADERS, 1, b"a" * (MAX_FRAME_SIZE + 1))),
    fatal(
        "4.3",
        "another frame within a header block",
        PROTOCOL,
        frame(HEADERS, 0, 1, HEAD) + frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
    ),
    fatal("4.3", "HEADERS of another stream within it", PROTOCOL, frame(HEADERS, 0, 1, HEAD) + open_call(3)),
    row(
        "4.3",
        "a header block in two frames",
        answered(),
        frame(HEADERS, 0, 1, HEAD[:20]) + frame(CONTINUATION, END_HEADERS, 1, HEAD[20:]) + BODY,
    ),
    row(
        "4.3",
        "that are cut within a field and arrive alone",
        answered(),
        frame(HEADERS, 0, 1, HEAD[:1]),
        frame(CONTINUATION, 0, 1, HEAD[1:2]),
        frame(CONTINUATION, END_HEADERS, 1, HEAD[2:]),
        BODY,
    ),
]

STREAMS = [
    fatal("5.1", "idle: DATA", PROTOCOL, frame(DATA, END_STREAM, 1, b"x")),
    fatal("5.1", "idle: RST_STREAM", PROTOCOL, reset(1)),
    fatal("5.1", "idle: WINDOW_UPDATE", PROTOCOL, window(1, 100)),
    fatal("5.1", "idle: CONTINUATION", PROTOCOL, frame(CONTINUATION, END_HEADERS, 1, HEAD)),
    row("5.1", "idle: PRIORITY", answered(), frame(PRIORITY, 0, 1, b"\0\0\0\0\xff") + call()),
    row("5.1", "half-closed: DATA", resets(1, CLOSED), WAITING, frame(DATA, END_STREAM, 1, b"x")),
    fatal("5.1", "half-closed: HEADERS", CLOSED, WAITING, headers(HEAD, END_STREAM)),
    fatal("5.1", "half-closed: CONTINUATION", (PROTOCOL, CLOSED), WAITING, frame(CONTINUATION, END_HEADERS, 1, HEAD)),
    row("5.1", "half-closed: WINDOW_UPDATE", nothing, WAITING, window(1, 100)),
    row("5.1", "half-closed: PRIORITY", nothing, WAITING, frame(PRIORITY, 0, 1, b"\0\0\0\0\xff")),
    row("5.1", "half-closed: RST_STREAM", nothing, WAITING, reset(1)),
    row("5.1", "closed by RST_STREAM: DATA", nothing, GIVEN_UP, frame(DATA, 0, 1, b"x")),
    row("5.1", "closed by RST_STREAM: HEADERS", nothing, GIVEN_UP, headers(HEAD, END_STREAM)),
    fatal(
        "5.1",
        "closed by RST_STREAM: CONTINUATION",
        (PROTOCOL, CLOSED),
        GIVEN_UP,
        frame(CONTINUATION, END_HEADERS, 1, HEAD),
    ),
    row("5.1", "closed by the answer: WINDOW_UPDATE", answered(), ANSWERED, window(1, 100)),
    row("5.1", "closed by the answer: PRIORITY", answered(), ANSWERED, frame(PRIORITY, 0, 1, b"\0\0\0\0\xff")),
    row("5.1", "closed by the answer: RST_STREAM", answered(), ANSWERED, reset(1)),
    fatal(
        "5.1",
        "closed by the answer: CONTINUATION",
        (PROTOCOL, CLOSED),
        ANSWERED,
        frame(CONTINUATION, END_HEADERS, 1, HEAD),
    ),
    row("5.1.1", "a stream number may skip others", answered(stream=77), call(77)),
    fatal("5.1.1", "an even stream number", PROTOCOL, call(2)),
    fatal("5.1.1", "a stream number below an earlier one", (PROTOCOL, CLOSED), call(5), call(3)),
    fatal("5.1.1", "the last stream number, and then another", PROTOCOL, call(2**31 - 1), open_call(2)),
    row(
        "5.1.2",
        "a stream more than MAX_CONCURRENT_STREAMS",
        resets(9, REFUSED),
        b"".join(open_call(number, "wait") for number in range(1, 11, 2)),
    ),
    row(
        "5.3",
        "a HEADERS frame with priority",
        answered(),
        frame(HEADERS, END_HEADERS | PRIORITISED, 1, b"\0\0\0\0\xff" + HEAD) + BODY,
    ),
    row(
        "5.3",
        "with an exclusive dependency",
        answered(),
        frame(HEADERS, END_HEADERS | PRIORITISED, 1, b"\x80\0\0\3\0" + HEAD) + BODY,
    ),
    row(
        "5.3", "PRIORITY of a stream that is never opened", answered(), frame(PRIORITY, 0, 9, b"\0\0\0\1\xff") + call()
    ),
    fatal("5.4.1", "after an error the connection is closed", SIZE, frame(PING, 0, 0, b"short"), call()),
    row("5.5", "an extension's frame", answered(), frame(0x0A, 0, 0, b"altsvc") + call()),
    fatal(
        "5.5",
        "an extension's frame within a header block",
        PROTOCOL,
        frame(HEADERS, 0, 1, HEAD[:9]) + frame(0x0A, 0, 0, b"x") + frame(CONTINUATION, END_HEADERS, 1, HEAD[9:]),
    ),
]

DEFINITIONS = [
    row(
        "6.1",
        "a message in three DATA frames",
        answered(),
        open_call(),
        frame(DATA, 0, 1, message()[:3]),
        frame(DATA, 0, 1, message()[3:7]) + frame(DATA, END_STREAM, 1, message()[7:]),
    ),
    row(
        "6.1",
        "an empty DATA frame at the end",
        answered(),
        open_call() + frame(DATA, 0, 1, message()) + frame(DATA, END_STREAM, 1),
    ),
    row(
        "6.1", "padding", answered(), open_call() + frame(DATA, PADDED | END_STREAM, 1, b"\x06" + message() + b"\0" * 6)
    ),
    row(
        "6.1",
        "padding of 255 bytes, and of none",
        answered(),
        open_call()
        + frame(DATA, PADDED, 1, b"\xff" + message()[:4] + b"\0" * 255)
        + frame(DATA, PADDED | END_STREAM, 1, b"\0" + message()[4:]),
    ),
    fatal("6.1", "DATA without a stream", PROTOCOL, frame(DATA, 0, 0, b"x")),
    fatal("6.1", "as much padding as payload", PROTOCOL, open_call() + frame(DATA, PADDED, 1, b"\x05frog!"[:5])),
    fatal("6.1", "more padding than payload", PROTOCOL, open_call() + frame(DATA, PADDED, 1, b"\xfffrog")),
    fatal("6.1", "padding without its length", (SIZE, PROTOCOL), open_call() + frame(DATA, PADDED, 1)),
    row(
        "6.2",
        "HEADERS with padding",
        answered(),
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\x04" + HEAD + b"\0" * 4) + BODY,
    ),
    row(
        "6.2",
        "with padding and priority",
        answered(),
        frame(HEADERS, END_HEADERS | PADDED | PRIORITISED, 1, b"\x04\0\0\0\0\x10" + HEAD + b"\0" * 4) + BODY,
    ),
    fatal("6.2", "HEADERS without a stream", PROTOCOL, frame(HEADERS, END_HEADERS, 0, HEAD)),
    fatal(
        "6.2",
        "more padding than payload in HEADERS",
        PROTOCOL,
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + HEAD[:9]),
    ),
    fatal("6.2", "priority fields that are cut off", SIZE, frame(HEADERS, END_HEADERS | PRIORITISED, 1, b"\0\0\0")),
    fatal(
        "6.2",
        "PRIORITY before the end of a header block",
        PROTOCOL,
        frame(HEADERS, 0, 1, HEAD[:9]) + frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
    ),
    fatal("6.3", "PRIORITY without a stream", PROTOCOL, frame(PRIORITY, 0, 0, b"\0\0\0\1\x10")),
    fatal("6.3", "PRIORITY of four bytes", SIZE, open_call() + frame(PRIORITY, 0, 1, b"\0\0\0\1")),
    row("6.4", "RST_STREAM ends its stream alone", answered(stream=3), open_call(1, "wait"), reset(1), call(3)),
    fatal("6.4", "RST_STREAM without a stream", PROTOCOL, reset(0)),
    fatal("6.4", "RST_STREAM of three bytes", SIZE, open_call() + frame(RST_STREAM, 0, 1, b"\0\0\0")),
    row("6.5", "SETTINGS are acknowledged", acknowledges(3), settings((4, 70_000)), settings()),
    row("6.5", "an acknowledgement is not", acknowledges(1), frame(SETTINGS, ACK)),
    fatal("6.5", "an acknowledgement with a payload", SIZE, frame(SETTINGS, ACK, 0, b"\0\4\0\0\1\0")),
    fatal("6.5", "SETTINGS of a stream", PROTOCOL, frame(SETTINGS, 0, 1, b"\0\4\0\0\1\0")),
    fatal("6.5", "SETTINGS of a size that is no multiple of six", SIZE, frame(SETTINGS, 0, 0, b"\0\4\0")),
    fatal("6.5.2", "ENABLE_PUSH of 2", PROTOCOL, settings((2, 2))),
    row("6.5.2", "ENABLE_PUSH of 0 and of 1", answered(), settings((2, 0), (2, 1)), call()),
    fatal("6.5.2", "INITIAL_WINDOW_SIZE above 2^31 - 1", FLOW, settings((4, 2**31))),
    fatal("6.5.2", "MAX_FRAME_SIZE below 16,384", PROTOCOL, settings((5, 16_383))),
    fatal("6.5.2", "MAX_FRAME_SIZE above 2^24 - 1", PROTOCOL, settings((5, 2**24))),
    row("6.5.2", "an unknown setting", answered(), settings((0xFF, 1), (0xFFFF, 2**32 - 1)), call()),
    row(
        "6.5.2",
        "the server sends shorter frames than the largest that are allowed",
        data_sizes(2**18, 2**18, 600_005 - 2**19),
        settings((4, 2**30), (5, 2**24 - 1)) + window(0, 2**30),
        open_call() + frame(DATA, 0, 1, message(b"a" * 600_000)[: 2**18]),
        frame(DATA, 0, 1, message(b"a" * 600_000)[2**18 : 2**19]),
        frame(DATA, END_STREAM, 1, message(b"a" * 600_000)[2**19 :]),
    ),
    row("6.5.3", "the last of several values counts", data_sizes(9), settings((4, 1), (4, 100)), call()),
    row(
        "6.5.3", "values are taken in their order", data_sizes(1, 8), settings((4, 100), (4, 1)), call(), window(1, 100)
    ),
    fatal("6.6", "PUSH_PROMISE of a client", PROTOCOL, open_call() + frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2")),
    row("6.7", "PING is answered with its payload", pings(b"one two "), frame(PING, 0, 0, b"one two ")),
    row(
        "6.7",
        "an acknowledgement of a PING is not",
        pings(b"next one"),
        frame(PING, ACK, 0, b"nobody's") + frame(PING, 0, 0, b"next one"),
    ),
    fatal("6.7", "PING of a stream", PROTOCOL, frame(PING, 0, 1, b"one two ")),
    fatal("6.7", "PING of six bytes", SIZE, frame(PING, 0, 0, b"sixsix")),
    row("6.8", "calls go on after GOAWAY of the client", answered(), open_call(), frame(GOAWAY, 0, 0, b"\0" * 8), BODY),
    fatal("6.8", "GOAWAY of a stream", PROTOCOL, frame(GOAWAY, 0, 1, b"\0" * 8)),
    fatal("6.9", "WINDOW_UPDATE of nothing for the connection", PROTOCOL, window(0, 0)),
    row("6.9", "WINDOW_UPDATE of nothing for a stream", resets(1, PROTOCOL), WAITING, window(1, 0)),
    fatal("6.9", "WINDOW_UPDATE of three bytes", SIZE, frame(WINDOW_UPDATE, 0, 0, b"\0\0\1")),
    row("6.9", "the reserved bit of an increment", answered(), frame(WINDOW_UPDATE, 0, 0, b"\x80\0\0\1") + call()),
    row("6.9.1", "no more DATA than the window", data_sizes(1), settings((4, 1)), call()),
    row(
        "6.9.1", "and the rest when it grows", data_sizes(1, 3, 5), settings((4, 1)), call(), window(1, 3), window(1, 9)
    ),
    row("6.9.1", "an empty window lets nothing but headers pass", data_sizes(), settings((4, 0)), call()),
    fatal("6.9.1", "a window of the connection above 2^31 - 1", FLOW, window(0, 2**31 - 1)),
    row("6.9.1", "a window of a stream above 2^31 - 1", resets(1, FLOW), WAITING, window(1, 2**31 - 1)),
    fatal("6.9.1", "by several increments", FLOW, window(0, 2**30), window(0, 2**30)),
    row(
        "6.9.1",
        "more DATA on a stream than the server's window",
        resets(1, FLOW),
        open_call(1, "ignore") + frame(DATA, 0, 1, message(b"a" * 995) * 250) * 5,
    ),
    row(
        "6.9.2",
        "a new first window changes that of open streams",
        data_sizes(1, 8),
        settings((4, 1)),
        call(),
        settings((4, 100)),
    ),
    row(
        "6.9.2",
        "a window below zero grows before it is used",
        data_sizes(3, 2, 4),
        settings((4, 3)),
        call(),
        settings((4, 1)),
        window(1, 2),
        window(1, 2),
        window(1, 9),
    ),
    fatal(
        "6.9.2",
        "a first window that makes one too large",
        FLOW,
        WAITING,
        window(1, 2**31 - 1 - 65_535),
        settings((4, 65_536)),
    ),
    row(
        "6.9.3",
        "the window of the connection is not that of a stream",
        answered(b"a" * 65_530),
        open_call() + frame(DATA, END_STREAM, 1, message(b"a" * 65_530)),
        window(0, 9),
    ),
    row(
        "6.10",
        "several CONTINUATION frames",
        answered(),
        frame(HEADERS, 0, 1, HEAD[:9])
        + frame(CONTINUATION, 0, 1, HEAD[9:19])
        + frame(CONTINUATION, END_HEADERS, 1, HEAD[19:])
        + BODY,
    ),
    row(
        "6.10",
        "empty ones",
        answered(),
        frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) + frame(CONTINUATION, END_HEADERS, 1, HEAD) + BODY,
    ),
    fatal(
        "6.10",
        "another frame after CONTINUATION",
        PROTOCOL,
        frame(HEADERS, 0, 1, HEAD[:9]) + frame(CONTINUATION, 0, 1, HEAD[9:19]) + BODY,
    ),
    fatal(
        "6.10",
        "CONTINUATION of another stream",
        PROTOCOL,
        frame(HEADERS, 0, 1, HEAD[:9]) + frame(CONTINUATION, END_HEADERS, 3, HEAD[9:]),
    ),
    fatal(
        "6.10",
        "CONTINUATION without a stream",
        PROTOCOL,
        frame(HEADERS, 0, 1, HEAD[:9]) + frame(CONTINUATION, END_HEADERS, 0, HEAD[9:]),
    ),
    fatal(
        "6.10",
        "CONTINUATION after a whole HEADERS frame",
        PROTOCOL,
        open_call() + frame(CONTINUATION, END_HEADERS, 1, HEAD),
    ),
    fatal(
        "6.10",
        "CONTINUATION after the last",
        PROTOCOL,
        frame(HEADERS, 0, 1, HEAD[:9])
        + frame(CONTINUATION, END_HEADERS, 1, HEAD[9:])
        + frame(CONTINUATION, END_HEADERS, 1, HEAD),
    ),
    fatal(
        "6.10",
        "CONTINUATION after DATA",
        PROTOCOL,
        open_call() + frame(DATA, 0, 1, b"") + frame(CONTINUATION, END_HEADERS, 1, HEAD),
    ),
    fatal(
        "6.10",
        "CONTINUATION without an end",
        CALM,
        frame(HEADERS, 0, 1, HEAD) + frame(CONTINUATION, 0, 1, b"\0" * 200_000) * 2,
    ),
    row("7", "GOAWAY with an unknown error code", answered(), frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\xff") + call()),
    row("7", "RST_STREAM with an unknown error code", answered(stream=3), open_call() + reset(1, 0xFF) + call(3)),
]

HTTP = [
    row("8.1", "a call", answered(), call()),
    row(
        "8.1",
        "trailers end a request",
        answered(),
        open_call() + frame(DATA, 0, 1, message()) + headers(literal([("x-end", "1")]), END_STREAM),
    ),
    row(
        "8.1",
        "trailers that do not end it",
        resets(1, PROTOCOL),
        open_call() + frame(DATA, 0, 1, message()) + headers(literal([("x-end", "1")])),
    ),
    row(
        "8.1",
        "a request that is answered before its end is asked to stop",
        refused("415"),
        headers(literal([one for one in fields() if one[0] != "content-type"])),
    ),
    row("8.1.1", "content-length as long as the DATA", answered(), call(1, "echo", ("content-length", "9"))),
    row("8.1.1", "content-length of less", resets(1, PROTOCOL), call(1, "echo", ("content-length", "8"))),
    row("8.1.1", "content-length of more", resets(1, PROTOCOL), call(1, "echo", ("content-length", "10"))),
    row(
        "8.1.1",
        "than the sum of several DATA frames",
        resets(1, PROTOCOL),
        open_call(1, "echo", ("content-length", "8"))
        + frame(DATA, 0, 1, message()[:4])
        + frame(DATA, END_STREAM, 1, message()[4:]),
    ),
    row(
        "8.1.1",
        "content-length of a request without DATA",
        resets(1, PROTOCOL),
        open_call(1, "echo", ("content-length", "9"), flags=END_STREAM),
    ),
    row("8.1.1", "content-length that is no number", resets(1, PROTOCOL), call(1, "echo", ("content-length", "9x"))),
    row(
        "8.1.1",
        "padding does not count",
        answered(),
        open_call(1, "echo", ("content-length", "9"))
        + frame(DATA, PADDED | END_STREAM, 1, b"\x03" + message() + b"\0\0\0"),
    ),
    row("8.2", "a connection-specific field", resets(1, PROTOCOL), call(1, "echo", ("connection", "keep-alive"))),
    row("8.2.1", "a name in capitals", resets(1, PROTOCOL), call(1, "echo", ("X-Frog", "1"))),
    row("8.2.1", "a name with a blank", resets(1, PROTOCOL), call(1, "echo", ("x frog", "1"))),
    row("8.2.1", "a name with a colon", resets(1, PROTOCOL), call(1, "echo", ("x:frog", "1"))),
    row("8.2.1", "a name beyond ASCII", resets(1, PROTOCOL), call(1, "echo", ("x-frög", "1"))),
    row("8.2.1", "an empty name", resets(1, PROTOCOL), call(1, "echo", ("", "1"))),
    row("8.2.1", "a value with a line end", resets(1, PROTOCOL), call(1, "echo", ("x-frog", "1\r\nx-toad: 2"))),
    row("8.2.1", "a value with a zero", resets(1, PROTOCOL), call(1, "echo", ("x-frog", "1\0"))),
    row("8.2.1", "an empty value", answered(b"x-frog="), call(1, "seen", ("x-frog", ""))),
    *(
        row("8.2.2", f"the field {name}", resets(1, PROTOCOL), call(1, "echo", (name, "1")))
        for name in ("keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
    ),
    row(
        "8.2.2",
        "te with another value than trailers",
        resets(1, PROTOCOL),
        headers(literal([one if one[0] != "te" else ("te", "gzip") for one in fields()])) + BODY,
    ),
    row(
        "8.2.3",
        "cookies in several fields",
        answered(b"cookie=a=1\ncookie=b=2"),
        call(1, "seen", ("cookie", "a=1"), ("cookie", "b=2")),
    ),
    row("8.3", "an unknown pseudo-header field", resets(1, PROTOCOL), headers(literal([(":frog", "1"), *fields()]))),
    row(
        "8.3",
        "a pseudo-header field of answers",
        resets(1, PROTOCOL),
        headers(literal([(":status", "200"), *fields()])),
    ),
    row(
        "8.3",
        "a pseudo-header field after an ordinary one",
        resets(1, PROTOCOL),
        headers(literal([*fields()[1:], fields()[0]])),
    ),
    row(
        "8.3",
        "a pseudo-header field in trailers",
        resets(1, PROTOCOL),
        open_call() + frame(DATA, 0, 1, message()) + headers(literal([(":method", "POST")]), END_STREAM),
    ),
    row(
        "8.2.1",
        "a name in capitals in trailers",
        resets(1, PROTOCOL),
        open_call() + frame(DATA, 0, 1, message()) + headers(literal([("X-End", "1")]), END_STREAM),
    ),
    row("8.3.1", "GET", refused("405"), headers(literal([(":method", "GET"), *fields()[1:]]), END_STREAM)),
    row("8.3.1", "HEAD", refused("405"), headers(literal([(":method", "HEAD"), *fields()[1:]]), END_STREAM)),
    row(
        "8.3.1",
        "OPTIONS *",
        refused("405"),
        headers(literal([(":method", "OPTIONS"), fields()[1], (":path", "*"), *fields()[3:]]), END_STREAM),
    ),
    *(
        row("8.3.1", f"no {name}", resets(1, PROTOCOL), headers(without(name)))
        for name in (":method", ":scheme", ":path")
    ),
    *(
        row(
            "8.3.1",
            f"{name} twice",
            resets(1, PROTOCOL),
            headers(literal([next(one for one in fields() if one[0] == name), *fields()])),
        )
        for name in (":method", ":scheme", ":path", ":authority")
    ),
    row(
        "8.3.1",
        "an empty :path",
        resets(1, PROTOCOL),
        headers(literal([one if one[0] != ":path" else (":path", "") for one in fields()])),
    ),
    row("8.3.1", "no :authority", answered(), headers(without(":authority")) + BODY),
    row(
        "8.3.1",
        "another scheme",
        answered(),
        headers(literal([one if one[0] != ":scheme" else (":scheme", "https") for one in fields()])) + BODY,
    ),
    row("8.3.1", "a :path of no method", answered(b"", status="12"), call(1, "croak")),
    row(
        "8.5",
        "CONNECT",
        resets(1, PROTOCOL),
        headers(literal([(":method", "CONNECT"), (":authority", "test:80")]), END_STREAM),
    ),
]

ROWS = [*FRAMES, *STREAMS, *DEFINITIONS, *HTTP]
