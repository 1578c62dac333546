"""The innermost cause of an error of another library, as one sentence for the user."""

from __future__ import annotations

import re

#: Sentences that only say where an error happened; what happened is said later or by the error that caused it.
_WHERE = re.compile(
    r"(exception encountered|error when deserializing|graph execution error|in user code|detected at|traceback|file \"|"
    r"call arguments|arguments received|node:|\d+ root error)",
    re.IGNORECASE,
)
_NAMED = re.compile(r"^\s*(?:\w+\.)*(\w*(?:Error|Exception)): (.+)$", re.MULTILINE)
_DECORATION = re.compile(r"\s*\[\[\{\{node .*|\s*\[Op:\w+\].*|^\{\{function_node .*?\}\}\s*")
_LONGEST = 300


def innermost_reason(error: BaseException) -> str:
    """What went wrong first, in one line of at most 300 characters without a full stop.

    Follows the errors that caused this one, and passes over lines that say where it happened but not what.
    """
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    text = str(error).strip()
    if isinstance(error, KeyError):
        text = f"there is no {text}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = _NAMED.findall(text)
    plain = next((line for line in lines if not _WHERE.match(line)), "")
    if lines and _WHERE.match(lines[0]) and named:
        plain = named[-1][1]
    said = _DECORATION.sub("", plain).strip() or type(error).__name__
    return said[:_LONGEST].rstrip(".: ")
