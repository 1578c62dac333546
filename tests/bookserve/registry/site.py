"""A web site that gives parts of files, loses the line or lies about what it has."""

from __future__ import annotations

import http.server
from pathlib import Path
from typing import ClassVar


class Site(http.server.SimpleHTTPRequestHandler):
    """A web site of files, which gives parts of them where ``ranges`` is on.

    Each of ``cuts`` ends every other answer after so many bytes; after ``budget`` bytes in all the line is dead.
    """

    protocol_version = "HTTP/1.1"
    ranges = True
    budget = 1 << 60
    cuts: ClassVar[list[int]] = []
    sent: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            super().do_GET()
            return
        content, status = file.read_bytes(), 200
        asked = self.headers.get("Range")
        if asked and self.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            content, status = content[int(first) : int(last) + 1 if last else None], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if not self.ranges:
            self.send_header("Accept-Ranges", "none")
        self.end_headers()
        whole = len(content)
        if self.cuts and len(self.sent) % 2 and whole > self.cuts[0]:
            content = content[: self.cuts.pop(0)]
        content = content[: max(0, self.budget - sum(self.sent))]
        self.wfile.write(content)
        self.sent.append(len(content))
        self.close_connection = len(content) < whole

    def log_message(self, *args: object) -> None:
        pass
