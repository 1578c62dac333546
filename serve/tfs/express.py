"""Express: predictions whose numbers are nested exactly as the default graph declares, answered without ASGI."""

from __future__ import annotations

import re
from collections.abc import Coroutine, Mapping
from typing import Any

from bookserve.errors import BookserveError
from bookserve.graph import Arrays
from serve.document import dumps
from serve.engine import Engine
from serve.express import Answer, Quick
from serve.model import LiveModel
from serve.tfs import regular, rows, status

#: The path that nearly all clients send; whatever needs unquoting or folding is left to the application.
_PREDICT = re.compile(rb"/v1/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,18}))?:predict")


def quick(engine: Engine) -> Quick:
    """The short way of this door."""

    def begin(path: bytes, _: Mapping[bytes, bytes], body: bytes) -> Coroutine[Any, Any, Answer] | None:
        asked = _PREDICT.fullmatch(path)
        if asked is None:
            return None
        try:
            live = engine.model(asked[1].decode(), int(asked[2]) if asked[2] else None)
        except BookserveError:
            return None
        signature, graph = live.bundle.graph()
        read = regular.feeds(body, graph.inputs)
        return answered(live, signature, *read) if read else None

    async def answered(live: LiveModel, signature: str, feeds: Arrays, by_row: bool) -> Answer:
        try:
            return Answer(200, rows.answer(await engine.run(live, signature, feeds), by_row))
        except BookserveError as error:
            return Answer(status.http(error), dumps({"error": str(error)}))

    return begin
