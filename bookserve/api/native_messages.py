"""Convert rows, tensors, answers and pieces of text to messages of ``native.proto`` and back.

The server's own gRPC API and its client use these functions. A row is what ``bookserve.verb`` takes: text, bytes of a
file, numbers (alone, in nested lists or as arrays), or a dictionary with one entry per input. ``native_json.py`` does
the same for JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from bookserve.api import native_pb2 as pb
from bookserve.errors import InvalidInput
from bookserve.graph import DTYPES, numpy_dtype
from bookserve.steps import Label
from bookserve.steps.labels import LabelTable
from bookserve.table import Table
from bookserve.verb import Answer, AnswerColumns, Drawn, Note, Piece


def row_to_message(value: Any) -> pb.Row:
    """One row as a message.

    Raises:
        InvalidInput: it is None, has lists of different lengths, or has another type.
    """
    if isinstance(value, str):
        try:
            return pb.Row(text=value)
        except UnicodeEncodeError as error:
            raise InvalidInput("a row is not UTF-8 text.", "Save the file as UTF-8.") from error
    if isinstance(value, bytes):
        return pb.Row(data=value)
    if isinstance(value, dict):
        fields = {str(name): row_to_message(item) for name, item in value.items()}
        return pb.Row(fields=pb.Fields(fields=fields, order=fields))
    return pb.Row(tensor=tensor_to_message(_as_array(value)))


def row_from_message(row: pb.Row) -> Any:
    """The row of a message. Lists of numbers come back as arrays, a single number as a number.

    Raises:
        InvalidInput: the message is empty, or ``tensor_from_message`` refuses its tensor.
    """
    kind = row.WhichOneof("kind")
    if kind == "text":
        return row.text
    if kind == "data":
        return row.data
    if kind == "fields":
        fields = row.fields.fields
        names = dict.fromkeys([*(name for name in row.fields.order if name in fields), *fields])
        return {name: row_from_message(fields[name]) for name in names}
    if kind == "tensor":
        array = tensor_from_message(row.tensor)
        return array if array.ndim else array.item()
    raise InvalidInput("a row is empty.", "Set one of text, data, tensor and fields.")


def tensor_to_message(array: np.ndarray) -> pb.Tensor:
    """An array of one of the ``DTYPES`` as a message; object arrays hold ``bytes`` or ``str``."""
    if array.dtype == object:
        strings = [item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel()]
        return pb.Tensor(dtype="string", shape=array.shape, strings=strings)
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return pb.Tensor(dtype=array.dtype.name, shape=array.shape, content=little.tobytes())


def tensor_from_message(tensor: pb.Tensor) -> np.ndarray:
    """The array of a message; numbers are a read-only view of its bytes.

    Raises:
        InvalidInput: the dtype is unknown, a size is negative, or the content does not have the size of the shape.
    """
    shape = tuple(tensor.shape)
    if tensor.dtype not in DTYPES:
        raise InvalidInput(f"a tensor has the dtype '{tensor.dtype}'; expected one of {', '.join(DTYPES)}.")
    if any(size < 0 for size in shape):
        raise InvalidInput(f"a tensor has the shape {list(shape)}; sizes cannot be negative.")
    count = math.prod(shape)
    if tensor.dtype == "string":
        if len(tensor.strings) != count:
            raise InvalidInput(f"a tensor holds {len(tensor.strings)} strings; its shape {list(shape)} needs {count}.")
        array = np.empty(count, object)
        array[:] = list(tensor.strings)
        return array.reshape(shape)
    dtype = numpy_dtype(tensor.dtype).newbyteorder("<")
    if len(tensor.content) != count * dtype.itemsize:
        raise InvalidInput(
            f"a tensor holds {len(tensor.content)} bytes; {tensor.dtype}{list(shape)} needs {count * dtype.itemsize}."
        )
    return np.frombuffer(tensor.content, dtype).reshape(shape).astype(numpy_dtype(tensor.dtype), copy=False)


def answer_to_message(answer: Answer) -> pb.Answer:
    """The answer to one row as a message."""
    outputs = []
    for name, value in answer.items():
        if isinstance(value, list):
            labels = [pb.Label(label=item.label, score=item.score) for item in value]
            outputs.append(pb.Output(name=name, labels=pb.Labels(labels=labels)))
        else:
            outputs.append(pb.Output(name=name, tensor=tensor_to_message(np.asarray(value))))
    return pb.Answer(outputs=outputs)


def answer_from_message(answer: pb.Answer) -> Answer:
    """The answer of a message.

    Raises:
        InvalidInput: ``tensor_from_message`` refuses a tensor.
    """
    found: Answer = {}
    for output in answer.outputs:
        if output.WhichOneof("kind") == "labels":
            found[output.name] = [Label(item.label, item.score) for item in output.labels.labels]
        else:
            found[output.name] = tensor_from_message(output.tensor)
    return found


def table_to_message(table: Table) -> pb.Table:
    """A table as a message. A column of float64 that float32 holds exactly is sent as such."""
    columns = []
    for name, column in table.columns.items():
        if column.dtype == object and column.ndim == 1 and all(isinstance(item, str) for item in column):
            columns.append(pb.Column(name=name, texts=pb.Texts(texts=column)))
        else:
            columns.append(pb.Column(name=name, tensor=tensor_to_message(_narrowed(column))))
    return pb.Table(columns=columns)


def table_from_message(message: pb.Table) -> Table:
    """The table of a message.

    Raises:
        InvalidInput: a column is empty, or columns differ in length.
    """
    columns = {}
    for column in message.columns:
        if column.WhichOneof("kind") == "texts":
            columns[column.name] = np.array([*column.texts.texts, None], object)[:-1]
        else:
            columns[column.name] = tensor_from_message(column.tensor)
    if not columns or len(columns) != len(message.columns):
        raise InvalidInput("the columns of the table have the same name, or there are none.", "Name each column.")
    return Table(columns)


def columns_to_message(columns: AnswerColumns) -> list[pb.Output]:
    """The answers to a table as messages."""
    outputs = []
    for name, column in columns.items():
        if isinstance(column, LabelTable):
            labels, scores = column.labels.ravel().tolist(), column.scores.ravel()
            table = pb.LabelTable(each=column.labels.shape[1], labels=labels, scores=scores)
            outputs.append(pb.Output(name=name, label_table=table))
        else:
            outputs.append(pb.Output(name=name, tensor=tensor_to_message(column)))
    return outputs


def columns_from_message(outputs: Iterable[pb.Output]) -> AnswerColumns:
    """The answers to a table.

    Raises:
        InvalidInput: ``tensor_from_message`` refuses a tensor.
    """
    columns: AnswerColumns = {}
    for output in outputs:
        if output.WhichOneof("kind") == "label_table":
            table = output.label_table
            labels, scores = np.array(table.labels, object), np.array(table.scores, np.float64)
            columns[output.name] = LabelTable(labels.reshape(-1, table.each), scores.reshape(-1, table.each))
        else:
            columns[output.name] = tensor_from_message(output.tensor)
    return columns


def _narrowed(column: np.ndarray) -> np.ndarray:
    """Float64 as float32 where that loses nothing."""
    if column.dtype != np.float64:
        return column
    with np.errstate(over="ignore"):
        narrow = column.astype(np.float32)
    return narrow if np.array_equal(narrow, column, equal_nan=True) else column


def note_to_message(note: Note) -> pb.Note:
    """A note on answers as a message."""
    return pb.Note(kind=note.kind, message=note.message, row=note.row, input=note.input, words=note.words)


def note_from_message(note: pb.Note) -> Note:
    """The note of a message."""
    row = note.row if note.HasField("row") else None
    return Note(note.kind, note.message, row, note.input, tuple(note.words))


def _as_array(value: Any) -> np.ndarray:
    """A number or nested lists of numbers as an array of one of the ``DTYPES``."""
    expected = "expected text, the bytes of a file, numbers, or an object that names each input"
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidInput(f"a row has lists of different lengths; {expected}.") from error
    except OverflowError as error:
        raise InvalidInput("a row has a number of more than 64 bits.") from error
    if array.dtype.kind in "SU":
        array = np.asarray(value, object)
    if array.dtype == object:
        if not all(isinstance(item, str | bytes) for item in array.ravel()):
            raise InvalidInput(f"a row has values of different types, or null; {expected}.")
    elif array.dtype.name not in DTYPES:
        raise InvalidInput(f"a row holds {array.dtype}; {expected}.")
    return array


def piece_to_message(piece: Piece) -> pb.GenerateReply:
    """A piece of text as a message."""
    drawn = [
        pb.Drawn(text=one.text, logprob=one.logprob, top=[pb.Drawn(text=text, logprob=log) for text, log in one.top])
        for one in piece.drawn
    ]
    return pb.GenerateReply(text=piece.text, index=piece.index, finish=piece.finish, drawn=drawn)


def piece_from_message(reply: pb.GenerateReply) -> Piece:
    """The piece of text of a message."""
    drawn = [Drawn(one.text, one.logprob, tuple((top.text, top.logprob) for top in one.top)) for one in reply.drawn]
    return Piece(reply.text, reply.index, reply.finish, tuple(drawn))
