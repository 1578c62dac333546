# ruff: noqa: TID253
"""JSON responses of bookserve's own API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from bookserve.bundle.notes import model_notes, output_units
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Answer, Note, Piece, plain_answers
from serve.codecs.json_document import array_to_strict_json
from serve.codecs.json_pieces import INLINE_ELEMENTS, json_pieces
from serve.models.live_model import LiveModel
from serve.transport.http.long_answer import LongAnswer

#: Characters with log-probabilities up to which a text is written at once.
INLINE_DRAWN = 2000


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with ``value`` as JSON: bytes become base64 text, and NaN, which JSON does not have, becomes null."""
    return Response(
        msgspec.json.encode(value, enc_hook=_encode_vocabulary), status, headers, media_type="application/json"
    )


def answers_response(live: LiveModel, answers: Sequence[Answer], notes: Sequence[Note] = ()) -> Response:
    """The answers to rows, and the notes on them, if any; long ones are written in pieces while they are sent."""
    beside = {"units": output_units(live.bundle), "notes": notes}
    fields = model_fields(live) | {name: value for name, value in beside.items() if value}
    elements = sum(len(value) if isinstance(value, list) else value.size for value in answers[0].values())
    if elements * len(answers) <= INLINE_ELEMENTS:
        return json_response(fields | {"answers": plain_answers(answers)})
    rows = (_row_pieces(answer) for answer in answers)
    return LongAnswer(json_pieces(msgspec.to_builtins(fields) | {"answers": rows}, array_to_strict_json))


def texts_response(live: LiveModel, texts: Sequence[Piece], n: int) -> Response:
    """One text with its fields, or ``n`` of them in a list; log-probabilities of long texts are written in pieces."""
    if sum(len(text.drawn) for text in texts) <= INLINE_DRAWN:
        fields = msgspec.to_builtins(texts[0]) if n == 1 else {"texts": texts}
        return json_response(noted_fields(live) | fields)
    written = (_text_pieces(text) for text in texts)
    beside = msgspec.to_builtins(noted_fields(live))
    return LongAnswer(json_pieces(beside | (next(written) if n == 1 else {"texts": written})))


def _row_pieces(answer: Answer) -> Any:
    """One answer as ``json_pieces`` takes it: outputs of many numbers stay arrays."""
    if sum(1 if isinstance(value, list) else value.size for value in answer.values()) < INLINE_ELEMENTS:
        return msgspec.json.encode(plain_answers([answer])[0])
    plain = [{name: value} for name, value in answer.items() if isinstance(value, list) or value.dtype == object]
    return {**answer, **{name: item for row in plain_answers(plain) for name, item in row.items()}}


def _text_pieces(text: Piece) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(text, drawn=()))
    return fields | {"drawn": (msgspec.json.encode(drawn) for drawn in text.drawn)}


def model_fields(live: LiveModel) -> dict[str, Any]:
    """The fields ``model`` and ``version`` of a response."""
    return {"model": live.name, "version": live.version}


def noted_fields(live: LiveModel) -> dict[str, Any]:
    """The same with the notes that hold for all answers of the model, if there are any: trained on sample data."""
    notes = model_notes(live.bundle)
    return model_fields(live) | ({"notes": notes} if notes else {})


def _encode_vocabulary(value: Any) -> str:
    if not isinstance(value, Vocabulary):
        raise TypeError(f"{type(value)} has no JSON form")
    return f"assets/{value.name}.json"  # the words are in this file of the bundle
