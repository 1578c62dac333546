"""Turns an unexpected exception into an error without internals, and logs its traceback.

All protocols use this one function.
"""

from __future__ import annotations

import logging

from bookserve.errors import Failed


def internal_error(what_failed: str, error: BaseException) -> Failed:
    """Log ``error`` with its traceback, and return the error that the client gets instead.

    ``what_failed`` is a sentence for the log, such as ``GET /v2/models failed``.
    """
    logging.getLogger("bookserve").error("%s", what_failed, exc_info=error)
    return Failed("the server made a mistake.", "Its log says more.")
