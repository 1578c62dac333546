# ruff: noqa: TID253 - the server's parsers
"""Search for bytes that make a parser fail, with atheris (coverage-guided fuzzing).

python bench/fuzz.py PARSER [--seconds 60] [any option of libFuzzer, such as -max_len=4096]
python bench/fuzz.py --list

A parser must read the bytes or refuse them with one of bookserve's errors; any other exception ends the search and
prints the bytes. It needs ``pip install atheris`` (Linux). ``tests/serve/codecs/test_fuzz*.py`` search the same parsers
with generated documents.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

try:
    import atheris  # type: ignore[import-not-found]
except ModuleNotFoundError:  # the parsers may be called without it
    watched: Any = contextlib.nullcontext()
else:
    watched = atheris.instrument_imports(include=["bookserve", "serve", "hpack"])

with watched:
    from bookserve import images as pictures
    from bookserve.api import tfserving_pb2 as tfs_pb2
    from bookserve.bundle import manifest
    from bookserve.errors import BookserveError, Failed
    from bookserve.graph import TensorSpec
    from serve.codecs import regular_json as regular
    from serve.codecs.json_document import loads
    from serve.protocols.oip import infer_body as v2
    from serve.protocols.tfserving import predict_json as rows
    from serve.protocols.tfserving import tensors
    from serve.protocols.tfserving import tf_examples as examples
    from serve.protocols.tfserving.files import batching_parameters, models_config
    from serve.security.limits import Limits
    from serve.transport.http.body import inflate
    from serve.transport.http2.call import Call
    from serve.transport.http2.config import Config
    from serve.transport.http2.connection import Connection
    from serve.transport.http2.frames import PREFACE, Http2ConnectionError
    from serve.transport.http2.header_blocks import HeaderDecoder, MalformedRequest
    from serve.transport.http2.held_bytes import HeldBytes
    from serve.transport.http2.server import Server

LIMITS = Limits(body=2**16, inflated=2**16, head=2**12, depth=16, elements=2**16, streams=16)
SPECS = {"x": TensorSpec("float32", ("batch", 3)), "t": TensorSpec("string", ("batch",))}
_FILE = Path(tempfile.mkdtemp(prefix="fuzz-")) / "file"


def document(data: bytes) -> None:
    """A JSON body."""
    loads(data, depth=LIMITS.depth)


def predictions(data: bytes) -> None:
    """TensorFlow Serving's JSON; what the fast parser accepts, the general one must read alike."""
    fast = regular.parse_regular(data, SPECS)
    general, _ = rows.read_inputs(rows.parse_request(data, LIMITS.depth), SPECS)
    if fast is not None:
        for name, array in general.items():
            np.testing.assert_array_equal(fast[0][name], array)


def records(data: bytes) -> None:
    """TensorFlow Serving's examples as JSON."""
    examples.examples_from_json(rows.parse_request(data, LIMITS.depth))


def tensor(data: bytes) -> None:
    """A TensorProto."""
    tensors.to_array("x", _message(tfs_pb2.TensorProto, data), LIMITS)


def inference(data: bytes) -> None:
    """The Open Inference Protocol's body; its first byte is the length of the JSON before the tensors."""
    v2.parse_body(data[1:], str(data[0]) if data else None, LIMITS.depth)


def gzipped(data: bytes) -> None:
    """A compressed body."""
    inflate(data, "gzip", LIMITS.inflated)


def config(data: bytes) -> None:
    """``models.config``."""
    _FILE.write_bytes(data)
    models_config.read_models_config(_FILE)


def batching(data: bytes) -> None:
    """``batching_parameters_file``."""
    _FILE.write_bytes(data)
    batching_parameters.read_batching_parameters(_FILE)


def listing(data: bytes) -> None:
    """The list of files in a bundle's manifest."""
    with contextlib.suppress(Failed):  # raised for a damaged bundle
        manifest.list_files(data, "here")


def picture(data: bytes) -> None:
    """A picture file of any kind."""
    pictures.as_pixels(data, 8, 8, 3)


def fields(data: bytes) -> None:
    """Two header blocks of one HTTP/2 connection."""
    read = HeaderDecoder(LIMITS.head)
    with contextlib.suppress(MalformedRequest, Http2ConnectionError):
        read.decode_request(data[: len(data) // 2])
        read.decode_request(data[len(data) // 2 :])


def http2(data: bytes) -> None:
    """A client's bytes on a connection of the builtin gRPC server; the first byte is the size of the pieces."""
    asyncio.run(_converse(data[1:], 1 + data[0] if data else 1))


PARSERS: dict[str, Callable[[bytes], None]] = {
    parse.__name__: parse
    for parse in (
        document,
        predictions,
        records,
        tensor,
        inference,
        gzipped,
        config,
        batching,
        listing,
        picture,
        fields,
        http2,
    )
}


def search(parse: Callable[[bytes], None], data: bytes) -> None:
    """Let ``parse`` read ``data``; raise for everything but success or a BookserveError with a message."""
    try:
        parse(data)
    except Failed:
        raise
    except BookserveError as error:
        if not str(error):
            raise


def _message(kind: type[Any], data: bytes) -> Any:
    from serve.transport.grpc.service import parse_message

    return parse_message(kind, data)


class _Transport(asyncio.Transport):
    """A transport that accepts everything and can be closed."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.closed = False
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write(self, data: Any) -> None:
        bytes(data)

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class _RaiseOnLog(logging.Handler):
    """Raise for every log record, since only mistakes are logged."""

    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(record.getMessage()) from (record.exc_info or (None, None))[1]


async def _converse(data: bytes, piece: int) -> None:
    async def echo(request: bytes, context: Any) -> bytes:
        return request

    config = Config(
        max_message_size=LIMITS.body,
        max_decompressed_size=LIMITS.inflated,
        max_header_list_size=LIMITS.head,
        max_concurrent_streams=LIMITS.streams,
        logger=logging.getLogger("bookserve"),
    )
    server = Server(config)
    handlers = {"E": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("t", handlers)])
    new_call = partial(Call, server.find_handler)
    connection = Connection(
        config, new_call, server.connection_opened, server.connections.discard, HeldBytes(config.max_held)
    )
    transport = _Transport()
    connection.connection_made(transport)
    connection.data_received(PREFACE + b"\0\0\0\4\0\0\0\0\0")
    for at in range(0, len(data), piece):
        while not transport.reading and not transport.closed:
            await asyncio.sleep(0)  # the rest of what arrived is read in later turns
        if transport.closed:
            break
        connection.data_received(data[at : at + piece])
    for _ in range(4):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    await asyncio.sleep(0)


def seeds(name: str) -> list[bytes]:
    """Some bytes to start the search with."""
    import hpack

    block = hpack.Encoder().encode(
        [(":method", "POST"), (":scheme", "http"), (":path", "/t/E"), ("content-type", "application/grpc")]
    )
    call = len(block).to_bytes(3, "big") + b"\1\4\0\0\0\1" + block + b"\0\0\7\0\1\0\0\0\1\0\0\0\0\2hi"
    example = json.dumps({"instances": [{"x": [1, 2.5, -3e9], "t": "a"}], "examples": [{"x": 1}]}).encode()
    filled = tfs_pb2.TensorProto(dtype=tfs_pb2.DT_FLOAT, float_val=[1, 2])
    filled.tensor_shape.dim.add(size=2)
    known = {
        "http2": [b"\xff" + call, b"\0" + call],
        "fields": [block * 2],
        "tensor": [filled.SerializeToString()],
        "config": [b'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" } }'],
        "batching": [b"max_batch_size { value: 8 } allowed_batch_sizes: 8"],
        "inference": [b"\x60" + b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}'],
    }
    return known.get(name, [example])


def main() -> None:
    """Search with one parser."""
    words = sys.argv[1:]
    if isinstance(watched, contextlib.nullcontext):
        sys.exit("there is no atheris: pip install atheris")
    if not words or words[0] not in PARSERS:
        sys.exit(f"{__doc__}\n" + "\n".join(f"{name:12} {parse.__doc__}" for name, parse in PARSERS.items()))
    name, *rest = words
    if "--seconds" in rest:
        at = rest.index("--seconds")
        rest[at : at + 2] = [f"-max_total_time={rest[at + 1]}"]
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for index, seed in enumerate(seeds(name)):
        (corpus / str(index)).write_bytes(seed)
    logging.getLogger("bookserve").addHandler(_RaiseOnLog())
    atheris.Setup([sys.argv[0], *rest, str(corpus)], lambda data: search(PARSERS[name], data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
