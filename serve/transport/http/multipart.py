"""Parses bodies of ``multipart/form-data``: what HTML forms and ``curl -F`` send. Source: RFC 7578."""

from __future__ import annotations

import re
from typing import NamedTuple

from bookserve.errors import InvalidInput

#: Parts of one form; each costs memory beside its data.
MAX_PARTS = 4096
#: Bytes of the headers of one part.
_MAX_HEAD = 8192

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;,]{1,200}))', re.IGNORECASE)
_PARAMETER = re.compile(r'\b(filename|name)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


class Part(NamedTuple):
    """One field of a form."""

    name: str
    #: '' for a field that is no file.
    filename: str
    #: Media type in lower case, without parameters; '' if it was not sent.
    content_type: str
    data: bytes


def parse_form(content_type: str, body: bytes) -> list[Part]:
    """The fields in a body; ``content_type`` is the header, with the boundary.

    Raises:
        InvalidInput: it has no boundary, is incomplete, or has too many parts.
    """
    found = _BOUNDARY.search(content_type)
    if not found:
        raise InvalidInput("the form has no boundary in its Content-Type.", "Let the HTTP library write this header.")
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
    sections = (b"\r\n" + body).split(delimiter, MAX_PARTS + 2)
    if len(sections) > MAX_PARTS + 1:
        raise InvalidInput(f"the form has more than {MAX_PARTS} parts.", "Send fewer in one request.")
    if len(sections) < 2 or not sections[-1].startswith(b"--"):
        raise InvalidInput("the form is incomplete: its closing boundary is missing.", "Send it again.")
    return [_part(section) for section in sections[1:-1]]


def _part(section: bytes) -> Part:
    head, separator, data = section.partition(b"\r\n\r\n")
    if not separator or len(head) > _MAX_HEAD:
        raise InvalidInput("a part of the form has no headers.", "Let the HTTP library write the form.")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n"))
    }
    named = {
        key.lower(): re.sub(r"\\(.)", r"\1", value)
        for key, value in _PARAMETER.findall(headers.get("content-disposition", ""))
    }
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return Part(named.get("name", ""), named.get("filename", ""), kind, data)
