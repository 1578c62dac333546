"""Everything that bookserve 0.1.0 was asked, asked again: the answers are the same."""

from __future__ import annotations

import pytest

from tests.transcripts.compare import differences
from tests.transcripts.perform import Answers
from tests.transcripts.record import PARTS, read

#: The first test of a part waits for all of its answers, on a busy machine too.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def answered() -> dict[str, Answers]:
    """Answers of the parts that were asked so far."""
    return {}


def _asked(part: str, answered: dict[str, Answers]) -> Answers:
    if part not in answered:
        answered[part] = PARTS[part]()
    return answered[part]


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in PARTS for name in read(part)])
def test_the_answer_is_the_same(part: str, name: str, answered: dict[str, Answers]) -> None:
    now = _asked(part, answered)
    assert name in now, "it is no longer asked"
    assert not list(differences(read(part)[name], now[name]))


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_asked_that_was_not_recorded(part: str, answered: dict[str, Answers]) -> None:
    assert list(_asked(part, answered)) == list(read(part))
