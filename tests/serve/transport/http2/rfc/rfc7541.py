"""Cases of RFC 7541 (HPACK), in the order of its sections. The method ``seen`` answers with its call's metadata."""

from __future__ import annotations

from tests.serve.transport.http2.rfc.client import END_HEADERS, END_STREAM, HEADERS, block_call, fields, frame, literal
from tests.serve.transport.http2.rfc.rows import COMPRESSION, PROTOCOL, answered, fatal, refused, resets, row

HEAD = literal(fields("seen"))
#: x-frog: 1, literal, with incremental indexing, without, and never indexed.
FROG = b"\x06x-frog\x011"
INDEXED, WITHOUT, NEVER = b"\x40" + FROG, b"\x00" + FROG, b"\x10" + FROG
#: The newest entry of the dynamic table, the one before it, and the one before that.
FIRST, SECOND, THIRD = b"\xbe", b"\xbf", b"\xc0"
#: The size of the dynamic table: 0, 4096, 4097.
EMPTY, FULL, TOO_LARGE = b"\x20", b"\x3f\xe1\x1f", b"\x3f\xe2\x1f"
#: An entry of 4096 bytes (with the 32 of section 4.1), and one of a byte more.
LONG = b"\x40\x01x\x7f\xe0\x1e" + b"a" * 4063
LONGER = b"\x40\x01x\x7f\xe1\x1e" + b"a" * 4064


def ended(block: bytes, stream: int = 1) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)


def hexed(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


#: The three requests of appendix C.3 (without Huffman's code) and of C.4 (with it).
C3 = (
    "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "8286 84be 5808 6e6f 2d63 6163 6865",
    "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
)
C4 = (
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    "8286 84be 5886 a8eb 1064 9cbf",
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
)


def requests(texts: tuple[str, str, str]) -> bytes:
    return b"".join(ended(hexed(text), 2 * index + 1) for index, text in enumerate(texts))


ROWS = [
    row(
        "2.3.1", "an entry of the static table", answered(b"accept-encoding=gzip, deflate"), block_call(HEAD + b"\x90")
    ),
    row(
        "2.3.2",
        "the newest entry of the dynamic table has the lowest index",
        answered(b"x=2\nx-frog=1", 3),
        block_call(HEAD + INDEXED + b"\x40\x01x\x012"),
        block_call(HEAD + FIRST + SECOND, 3),
    ),
    fatal("2.3.3", "an index beyond both tables", COMPRESSION, block_call(HEAD + FIRST)),
    fatal("2.3.3", "in a literal", COMPRESSION, block_call(HEAD + b"\x7e\x011")),
    row(
        "3.2",
        "the table outlasts a request that is malformed",
        answered(b"x-frog=1", 3),
        ended(literal(fields()[1:]) + INDEXED),
        block_call(HEAD + FIRST, 3),
    ),
    row(
        "3.2",
        "and one on a stream that is refused",
        answered(b"x-frog=1", 3),
        ended(literal([(":method", "GET"), *fields()[1:]]) + INDEXED),
        block_call(HEAD + FIRST, 3),
    ),
    row(
        "4.1",
        "an entry as large as the table",
        answered(b"x=" + b"a" * 4063, 3),
        block_call(HEAD + LONG),
        block_call(HEAD + FIRST, 3),
    ),
    row("4.2", "a size update opens a block", answered(b""), block_call(EMPTY + HEAD)),
    row(
        "4.2",
        "two of them",
        answered(b"x-frog=1", 3),
        block_call(EMPTY + FULL + HEAD + INDEXED),
        block_call(HEAD + FIRST, 3),
    ),
    fatal("4.2", "a size update at the end of a block", COMPRESSION, block_call(HEAD + EMPTY)),
    fatal("4.2", "within a block", COMPRESSION, block_call(HEAD + EMPTY + WITHOUT)),
    fatal(
        "4.3",
        "a smaller size removes entries",
        COMPRESSION,
        block_call(HEAD + INDEXED),
        block_call(EMPTY + HEAD + FIRST, 3),
    ),
    row(
        "4.3",
        "a size that has room keeps them",
        answered(b"x-frog=1", 3),
        block_call(HEAD + INDEXED),
        block_call(b"\x3f\x09" + HEAD + FIRST, 3),
    ),
    fatal(
        "4.3",
        "a size of one byte less than the entry does not",
        COMPRESSION,
        block_call(HEAD + INDEXED),
        block_call(b"\x3f\x07" + HEAD + FIRST, 3),
    ),
    fatal(
        "4.4",
        "a new entry removes the oldest",
        COMPRESSION,
        block_call(HEAD + INDEXED + LONG),
        block_call(HEAD + SECOND, 3),
    ),
    fatal(
        "4.4",
        "one that is too large empties the table",
        COMPRESSION,
        block_call(HEAD + INDEXED + LONGER),
        block_call(HEAD + FIRST, 3),
    ),
    row("4.4", "which is no error", answered(b"x-frog=1\nx=" + b"a" * 4064), block_call(HEAD + INDEXED + LONGER)),
    row(
        "5.1",
        "an integer in several bytes",
        answered(b"x=" + b"a" * 300),
        block_call(HEAD + b"\x00\x01x\x7f\xad\x01" + b"a" * 300),
    ),
    row(
        "5.1",
        "with leading zeros",
        answered(b"x=" + b"a" * 127),
        block_call(HEAD + b"\x00\x01x\x7f\x80\x80\x00" + b"a" * 127),
    ),
    fatal("5.1", "an integer that is cut off", COMPRESSION, block_call(HEAD + b"\xff\x80\x80")),
    fatal("5.1", "an index of 2^70", COMPRESSION, block_call(HEAD + b"\xff" + b"\xff" * 9 + b"\x7f")),
    fatal("5.1", "a length of 2^70", COMPRESSION, block_call(HEAD + b"\x00\x01x\x7f" + b"\xff" * 9 + b"\x7f")),
    fatal("5.2", "a string longer than the block", COMPRESSION, block_call(HEAD + b"\x00\x01x\x09frog")),
    row("5.2", "Huffman's code", answered(b"x=no-cache"), block_call(HEAD + b"\x00\x01x\x86" + hexed("a8eb10649cbf"))),
    row(
        "5.2",
        "of a name",
        answered(b"custom-key=1"),
        block_call(HEAD + b"\x00\x88" + hexed("25a849e95ba97d7f") + b"\x011"),
    ),
    row("5.2", "of nothing", answered(b"x="), block_call(HEAD + b"\x00\x01x\x80")),
    row("5.2", "padded with ones", answered(b"x=a"), block_call(HEAD + b"\x00\x01x\x81\x1f")),
    fatal("5.2", "padded with more than seven bits", COMPRESSION, block_call(HEAD + b"\x00\x01x\x82\x1f\xff")),
    fatal("5.2", "padded with zeros", COMPRESSION, block_call(HEAD + b"\x00\x01x\x81\x18")),
    fatal("5.2", "with the symbol of the end", COMPRESSION, block_call(HEAD + b"\x00\x01x\x85\xff\xff\xff\xff\xff")),
    fatal("6.1", "the index 0", COMPRESSION, block_call(HEAD + b"\x80")),
    row(
        "6.2.1",
        "a literal with indexing",
        answered(b"x-frog=1", 3),
        block_call(HEAD + INDEXED),
        block_call(HEAD + FIRST, 3),
    ),
    row(
        "6.2.1",
        "whose name is in the static table",
        answered(b"user-agent=frog", 3),
        block_call(HEAD + b"\x7a\x04frog"),
        block_call(HEAD + FIRST, 3),
    ),
    row(
        "6.2.1",
        "whose name is in the dynamic table",
        answered(b"x-frog=2\nx-frog=1", 3),
        block_call(HEAD + INDEXED),
        block_call(HEAD + b"\x7e\x012" + SECOND, 3),
    ),
    row("6.2.2", "a literal without indexing", answered(b"x-frog=1"), block_call(HEAD + WITHOUT)),
    fatal("6.2.2", "is not in the table", COMPRESSION, block_call(HEAD + WITHOUT), block_call(HEAD + FIRST, 3)),
    row("6.2.2", "whose name is in a table", answered(b"user-agent=frog"), block_call(HEAD + b"\x0f\x2b\x04frog")),
    row("6.2.3", "a literal that is never indexed", answered(b"x-frog=1"), block_call(HEAD + NEVER)),
    fatal("6.2.3", "is not in the table, either", COMPRESSION, block_call(HEAD + NEVER), block_call(HEAD + FIRST, 3)),
    row("6.2.3", "whose name is in a table", answered(b"user-agent=frog"), block_call(HEAD + b"\x1f\x2b\x04frog")),
    row("6.3", "the largest size of the table", answered(b""), block_call(FULL + HEAD)),
    fatal("6.3", "a size above SETTINGS_HEADER_TABLE_SIZE", COMPRESSION, block_call(TOO_LARGE + HEAD)),
    row("6.3", "a block of nothing but a size update", resets(1, PROTOCOL), ended(EMPTY)),
    row(
        "C.2.1",
        "a literal with indexing",
        answered(b"custom-key=custom-header"),
        block_call(HEAD + hexed("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572")),
    ),
    row(
        "C.2.2",
        "a literal without indexing",
        refused("405"),
        ended(b"\x82\x86" + hexed("040c 2f73 616d 706c 652f 7061 7468")),
    ),
    row(
        "C.2.3",
        "a literal that is never indexed",
        answered(b"password=secret"),
        block_call(HEAD + hexed("1008 7061 7373 776f 7264 0673 6563 7265 74")),
    ),
    row(
        "C.3",
        "three requests, and what they leave in the table",
        answered(b"custom-key=custom-value\ncache-control=no-cache", 7),
        requests(C3),
        block_call(HEAD + FIRST + SECOND, 7),
    ),
    row(
        "C.4",
        "the same with Huffman's code",
        answered(b"custom-key=custom-value\ncache-control=no-cache", 7),
        requests(C4),
        block_call(HEAD + FIRST + SECOND, 7),
    ),
    row(
        "C.4",
        "the third entry is a pseudo-header field",
        resets(7, PROTOCOL),
        requests(C4),
        block_call(HEAD + THIRD, 7),
    ),
]
