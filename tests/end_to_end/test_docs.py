"""The commands of the documentation work as they stand, in order, in an empty directory, and print what is shown.

The ordinary suite runs the README; ``make test-docs`` runs every page.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.doc_blocks import ROOT, Block, Reader, blocks, matches, missing_program, pages

PAGES = pages() if "BOOKSERVE_TEST_DOCS" in os.environ else [ROOT / "README.md"]
pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    directory = tmp_path / "empty"
    directory.mkdir()
    reader = Reader(directory)
    try:
        for block in blocks(page):
            if block.mark.startswith("run") and not missing_program(block):
                reader.run(block)
    finally:
        reader.close()


def test_every_block_is_run_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    found = [block for page in pages() for block in blocks(page)]
    unmarked = [place(block) for block in found if not block.mark.startswith("run") and not block.reason]
    assert not unmarked, "blocks without a mark:\n" + "\n".join(unmarked)
    reasons = Counter(filter(None, (block.reason or missing_program(block) for block in found)))
    with capsys.disabled():
        sys.stdout.write(f"\n{len(found) - reasons.total()} blocks of commands are run, {reasons.total()} are not:\n")
        for reason, count in reasons.most_common():
            sys.stdout.write(f"  {count:3} {reason}\n")


def test_blocks_of_commands_are_marked_as_such() -> None:
    """A block without a language must not hide commands from these tests."""
    offenders = []
    for page in pages():
        fence = ""
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
            if line.startswith("```"):
                fence = "" if fence else line
            elif fence == "```" and line.startswith(("bookserve ", "make ", "pip ", "curl ", "$ ")):
                offenders.append(f"{page.relative_to(ROOT)}:{number}: {line}")
    assert not offenders, "fence these as console, with $ before commands:\n" + "\n".join(offenders)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a … c", "a b c\n", True),
        ("a\n…\nz", "a\nb\nc\nz\n", True),
        ("a\n…\nz", "a\nb\n", False),
        ("0.9…", "0.8\n", False),
        ("", "anything\n", False),
        ("a", "a\nb\n", False),
    ],
)
def test_dots_stand_for_what_varies(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


def place(block: Block) -> str:
    return f"{block.page.relative_to(ROOT)}:{block.line}"
