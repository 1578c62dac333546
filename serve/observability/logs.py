"""Logs: lines for people or JSON for machines, each with the id of the request that it is about."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

from serve.request_context import CURRENT

FORMATS = ("text", "json")
#: Requests, one line each; silent unless it is asked for.
access = logging.getLogger("bookserve.access")


def configure_logging(kind: str, access_log: bool) -> None:
    """Write what is logged to standard error in this form."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if kind == "json" else _Text("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    access.setLevel(logging.INFO if access_log else logging.WARNING)


def log_request(protocol: str, what: str, code: str, seconds: float, client: str) -> None:
    """Note one request in the access log."""
    fields = {"protocol": protocol, "request": what, "code": code, "seconds": round(seconds, 6), "client": client}
    access.info("%s %s %s %.1f ms", client, what, code, seconds * 1000, extra={"fields": fields})


class _Text(logging.Formatter):
    """The usual line, and the request's id where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return f"{line} [{call.id}]" if (call := CURRENT.get()).id else line


class _Json(logging.Formatter):
    """One object a line: time (UTC), level, message, request_id, the record's own fields, and an exception's trace."""

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
