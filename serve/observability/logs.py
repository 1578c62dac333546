"""Configures logging as text or JSON lines, each with the id of the current request, and writes the access log."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

from serve.request_context import CURRENT

FORMATS = ("text", "json")
#: The access log: one line for each request; disabled unless ``--access-log`` is given.
access = logging.getLogger("bookserve.access")


def configure_logging(log_format: str, access_log: bool) -> None:
    """Log to standard error in one of ``FORMATS``."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if log_format == "json" else _Text("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    access.setLevel(logging.INFO if access_log else logging.WARNING)


def log_request(protocol: str, request: str, code: str, seconds: float, client: str) -> None:
    """Write one request to the access log. ``code`` is the status of the response."""
    fields = {"protocol": protocol, "request": request, "code": code, "seconds": round(seconds, 6), "client": client}
    access.info("%s %s %s %.1f ms", client, request, code, seconds * 1000, extra={"fields": fields})


class _Text(logging.Formatter):
    """A text line, followed by the id of the request if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return f"{line} [{context.id}]" if (context := CURRENT.get()).id else line


class _Json(logging.Formatter):
    """One JSON object in each line: time (UTC), level, message, request_id, the record's own fields, a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        if request_id := CURRENT.get().id:
            entry["request_id"] = request_id
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()
