"""Switch logging off while a converter works."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_logging() -> Iterator[None]:
    """Switch all logging off: converters log advice to the root logger, and tracebacks of errors that they mend."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
