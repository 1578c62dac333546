"""Compare: where an answer differs from the recorded one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tests.transcripts.told import SENTENCE, VARIES

#: Relative and absolute difference that two computers' arithmetic may have.
RELATIVE, ABSOLUTE = 1e-5, 1e-9
#: Under these keys are pixels, which may be one brighter or darker: they are rounded.
_ROUNDED = ("/pixels/", "/about/")
#: The model that writes texts, of tests/bundles.py.
_WRITER = "writer"


def differences(recorded: Any, now: Any, where: str = "") -> Iterator[str]:
    """Every difference, as a sentence that says where it is."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        if recorded.get("name") == now.get("name") == _WRITER and "batch_stats" in recorded and "batch_stats" in now:
            recorded, now = _without_runs(recorded), _without_runs(now)
        for key in sorted({*recorded, *now}):
            if key not in now:
                yield f"{where}/{key} is missing; it was {recorded[key]!r:.200}"
            elif key not in recorded:
                yield f"{where}/{key} is new: {now[key]!r:.200}"
            else:
                yield from differences(recorded[key], now[key], f"{where}/{key}")
    elif isinstance(recorded, list) and isinstance(now, list):
        if len(recorded) != len(now):
            yield f"{where} has {len(now)} items; it had {len(recorded)}"
        for index, (one, other) in enumerate(zip(recorded, now, strict=False)):
            yield from differences(one, other, f"{where}/{index}")
    elif type(recorded) is type(now) is int and any(key in where for key in _ROUNDED):
        if abs(recorded - now) > 1:
            yield f"{where} is {now}; it was {recorded}"
    elif not _same(recorded, now):
        yield f"{where} is {now!r:.200}; it was {recorded!r:.200}"


def _without_runs(statistics: dict[str, Any]) -> dict[str, Any]:
    """A model's statistics without the number of its runs; what they add up to is kept.

    Texts advance together, so how many of them share a run depends on how busy the machine is.
    """
    sizes = {int(one["batch_size"]): int(one["compute_infer"]["count"]) for one in statistics["batch_stats"]}
    measured = dict(statistics["inference_stats"])
    runs = {sum(sizes.values()), int(statistics["execution_count"]), int(measured.pop("compute_infer")["count"])}
    rest = {key: value for key, value in statistics.items() if key not in ("batch_stats", "execution_count")}
    rows = sum(size * count for size, count in sizes.items())
    return {**rest, "inference_stats": measured, "rows of all runs": rows, "runs agree": len(runs) == 1}


def _same(recorded: Any, now: Any) -> bool:
    if isinstance(recorded, float) and type(now) in (int, float):
        if math.isnan(recorded):
            return math.isnan(now)
        return math.isclose(recorded, now, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    if isinstance(recorded, str) and isinstance(now, str) and recorded != now:
        return _same_words(recorded, now)
    return type(recorded) is type(now) and bool(recorded == now)


def _same_words(recorded: str, now: str) -> bool:
    """Numbers within a table or a text may differ as numbers do."""
    before, after = recorded.split(), now.split()
    if len(before) != len(after) or {SENTENCE, VARIES} & {recorded, now}:
        return False
    for one, other in zip(before, after, strict=True):
        try:
            if one != other and not ("." in one and math.isclose(float(one), float(other), rel_tol=RELATIVE)):
                return False
        except ValueError:
            return False
    return True
