"""The one place that turns an unexpected exception into an answer without internals: the log gets the traceback."""

from __future__ import annotations

import logging

from bookserve.errors import Failed


def internal_error(what_failed: str, error: BaseException) -> Failed:
    """Log ``error`` with its traceback and return what a client may be told of it.

    ``what_failed`` is a sentence for the log, such as ``GET /v2/models failed``.
    """
    logging.getLogger("bookserve").error("%s", what_failed, exc_info=error)
    return Failed("the server made a mistake.", "Its log says more.")
