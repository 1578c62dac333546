"""Told: answers in a form that can be compared – without what is never the same, and without wording."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

#: Stands for any sentence that is not empty, and for a value that differs from run to run.
SENTENCE, VARIES = "(a sentence)", "(varies)"
_SENTENCES = frozenset({"error", "message", "hint", "reason", "error_message", "details", "description"})
_VARYING = frozenset({"ns", "last_inference", "seconds", "job", "preview"})
#: Values that vary only in this form: ids of completions and jobs, times.
_IDS = re.compile(r"cmpl-[0-9A-Za-z-]+|\d{4}-\d\d-\d\dT\d\d[:-]\d\d[:-]\d\d[\w.+:]*")
#: The package's own version, which a model's never looks like.
_RELEASE = re.compile(r"\d+\.\d+.*")
_PNG, _PNG64 = b"\x89PNG", "iVBORw0KGgo"
#: Pixels (times channels) of the largest picture that is recorded whole.
WHOLE = 200
_NUMPY = {
    "FP32": "<f4",
    "FP64": "<f8",
    "INT64": "<i8",
    "INT32": "<i4",
    "DT_FLOAT": "<f4",
    "DT_DOUBLE": "<f8",
    "DT_INT64": "<i8",
    "DT_INT32": "<i4",
}


def simple(value: Any, key: str = "") -> Any:
    """``value`` with placeholders, and with pictures and tensors in place of their bytes."""
    if isinstance(value, dict):
        if set(value) == {"b64"} and isinstance(value["b64"], str):
            return simple(value["b64"], key)
        return {name: simple(_tensor(value, name, inner), name) for name, inner in value.items()}
    if isinstance(value, list):
        return [simple(inner, key) for inner in value]
    if key in _VARYING and value not in ("", None):
        return VARIES
    if isinstance(value, str):
        if value.startswith(_PNG64):
            return picture(base64.b64decode(value))
        if key in _SENTENCES:
            return SENTENCE if value.strip() else ""
        if key == "version" and _RELEASE.fullmatch(value):
            return VARIES
        return _IDS.sub(VARIES, value)
    return VARIES if key == "created" and isinstance(value, int | float) else value


def _tensor(within: dict[str, Any], key: str, value: Any) -> Any:
    """The numbers of a tensor that is sent as bytes in a message; anything else as it is."""
    if key == "raw_output_contents":
        kinds = [output["datatype"] for output in within["outputs"]]
        return [_numbers(kind, raw) for kind, raw in zip(kinds, value, strict=True)]
    if key in ("content", "tensor_content") and "dtype" in within:
        return _numbers(within["dtype"], value)
    return value


def _numbers(kind: str, raw: str) -> Any:
    content = base64.b64decode(raw)
    if kind in ("BYTES", "DT_STRING", "string"):
        return content.decode("latin-1")
    return np.frombuffer(content, _NUMPY.get(kind, kind)).tolist()


def picture(content: bytes) -> dict[str, Any]:
    """What a picture shows: all pixels of a small one, the means of a larger one's parts."""
    image = Image.open(io.BytesIO(content))
    frames = getattr(image, "n_frames", 1)
    pixels = np.asarray(image if image.format == "PNG" else image.convert("RGB"))
    told: dict[str, Any] = {"format": image.format, "shape": list(pixels.shape)}
    if frames > 1:
        told["frames"] = frames
    if pixels.size <= WHOLE:
        return told | {"pixels": pixels.tolist()}
    rows = np.array_split(pixels.astype(float), 4, 0)
    return told | {"about": [[round(part.mean()) for part in np.array_split(row, 4, 1)] for row in rows]}


def arrays(content: bytes) -> dict[str, Any]:
    """The arrays of an NPZ or NPY file."""
    loaded = np.load(io.BytesIO(content), allow_pickle=False)
    named = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    return {name: {"dtype": str(a.dtype), "shape": list(a.shape), "values": a.tolist()} for name, a in named.items()}


def body(kind: str, content: bytes, header: str | None = None) -> Any:
    """The body of an answer over HTTP, by its content type."""
    kind = kind.partition(";")[0]
    if not content:
        return ""
    if kind == "application/json":
        return simple(json.loads(content))
    if kind == "application/octet-stream" and header:
        return _binary(content, int(header))
    if kind == "application/x-npz":
        return arrays(content)
    if content.startswith(_PNG):
        return picture(content)
    text = content.decode()
    if kind == "text/event-stream":
        return events([line.removeprefix("data: ") for line in text.split("\n\n") if line])
    if "# TYPE" in text:
        return metrics(text)
    return {"page": "<html" in text.lower()} if kind == "text/html" else text


def document(content: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI description: paths, their methods and codes, without the words."""
    return {
        path: {method: sorted(one.get("responses", {})) for method, one in methods.items() if method != "parameters"}
        for path, methods in content["paths"].items()
    }


def _binary(content: bytes, length: int) -> Any:
    """JSON with the bytes of tensors behind it."""
    head, rest = json.loads(content[:length]), content[length:]
    values = []
    for output in head["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        values.append(_numbers(output["datatype"], base64.b64encode(rest[:size]).decode()))
        rest = rest[size:]
    return {"head": simple(head), "values": values, "left": len(rest)}


def metrics(text: str) -> dict[str, list[str]]:
    """Names of Prometheus's metrics and of their labels."""
    names: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            names.setdefault(f"{name} {kind}", set())
        elif line and not line.startswith("#"):
            match = re.match(r"(\w+)(?:\{(.*)\})? ", line)
            if match and not match[1].startswith(("python_", "process_")):
                names.setdefault(match[1], set()).update(re.findall(r'(\w+)="', match[2] or ""))
    return {name: sorted(labels) for name, labels in sorted(names.items()) if "python_" not in name}


def events(lines: list[str]) -> Any:
    """Server-sent events: how many pieces a text comes in varies, so they are put together."""
    parsed = [line if line == "[DONE]" else json.loads(line) for line in lines]
    if any(isinstance(one, dict) and "job" not in one and "steps" in one for one in parsed):  # of a job
        return {"keys": sorted({key for one in parsed for key in one} - {"preview"}), "last": simple(parsed[-1])}
    return together(parsed)


def together(parts: Iterable[Any]) -> list[Any]:
    """Parts of a text as if it had come in one, for each of several texts."""
    joined: dict[str, Any] = {}
    for part in parts:
        key = _which(part)
        joined[key] = _join(joined[key], part) if key in joined else part
    return [simple(joined[key]) for key in sorted(joined)]


def _which(part: Any) -> str:
    if not isinstance(part, dict):
        return "z" + str(part)
    if choices := part.get("choices"):
        return f"index {choices[0]['index']:3}"
    if any(key in part for key in ("text", "index", "text_output", "drawn")):
        return f"index {int(part.get('index', 0)):3}"
    return "y" + ",".join(sorted(part))


def _join(before: Any, after: Any, key: str = "") -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        return {
            name: _join(before[name], after[name], name) if name in before and name in after else (before | after)[name]
            for name in names
        }
    if key == "choices":
        return [_join(before[0], after[0])]
    if isinstance(before, list) and isinstance(after, list):
        return [*before, *after]
    return before + after if key in ("text", "text_output") else after


def output(how: str, text: str) -> Any:
    """What a command printed.

    It is ``json`` (or only its ``kinds``), a ``table`` by its words or the ``first`` of each line, a ``text``, or the
    names of ``help``; else it only matters whether it ``said`` something.
    """
    if how == "json":
        return simple(json.loads(text))
    if how == "table":
        return [line.split() for line in text.splitlines() if re.search(r"\w", line)]
    if how == "first":
        return [line.split()[0] for line in text.splitlines() if re.match(r"\w", line)]
    if how == "help":
        return help_names(text)
    if how == "kinds":
        return kinds(json.loads(text))
    if how == "text":
        return text
    return SENTENCE if text.strip() else ""


def kinds(value: Any) -> Any:
    """``value`` with the kind of each number and text in its place."""
    if isinstance(value, dict):
        return {key: kinds(inner) for key, inner in value.items()}
    return [kinds(inner) for inner in value] if isinstance(value, list) else type(value).__name__


def help_names(text: str) -> dict[str, list[str]]:
    """Names of options, choices and commands in a help text."""
    listed = re.findall(r"^  (-[^\n]*?)(?:  |$)", text, re.MULTILINE)
    usage = " ".join(text.partition("\n\n")[0].split())
    options = sorted({name for line in listed for name in re.findall(r"(?<![\w-])--?[a-z][\w-]*", line)})
    choices = sorted({choice for line in listed for choice in re.findall(r"\[[\w|.-]+\]", line) if "|" in choice})
    commands = text.partition("Commands:\n")[2]
    return {
        "usage": [usage],
        "options": options,
        "choices": choices,
        "commands": re.findall(r"^  ([a-z]\w*)", commands, re.MULTILINE),
    }
