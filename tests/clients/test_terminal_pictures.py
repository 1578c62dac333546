"""Pictures in terminals: what each kind of terminal is sent, read back as that terminal would."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from bookserve.images import decode_image
from clients.terminal_pictures import encoded, show_picture, terminal_kind

CORNERS = np.zeros((12, 10, 3), np.uint8)
CORNERS[:6, :5], CORNERS[:6, 5:], CORNERS[6:, :5] = (255, 0, 0), (0, 255, 0), (0, 0, 255)

#: A colour that is defined or chosen; a number of columns; a new line.
SIXEL = r"#(\d+)((?:;\d+)*)|(?:!(\d+))?([?-~])|([$-])"


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM_PROGRAM": "WezTerm", "TERM": "xterm-256color"}, "iterm"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({}, "blocks"),
    ],
)
def test_a_terminal_is_known_by_its_environment(environment: dict[str, str], kind: str) -> None:
    assert terminal_kind(environment) == kind


def test_kitty_gets_a_png_in_chunks() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 60, 3), np.uint8)
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", "".join(encoded(noise, "kitty", 80, 24)))
    assert [control for control, _ in parts] == ["a=T,f=100,m=1", *["m=1"] * (len(parts) - 2), "m=0"]
    assert all(len(chunk) <= 4096 for _, chunk in parts)
    assert (decode_image(base64.b64decode("".join(chunk for _, chunk in parts))) == noise).all()


def test_iterm_gets_a_file() -> None:
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+):(.*)\x07\n", "".join(encoded(CORNERS, "iterm", 80, 24)))
    assert found
    content = base64.b64decode(found[2])
    assert len(content) == int(found[1])
    assert (decode_image(content) == CORNERS).all()


def test_sixel_draws_the_picture() -> None:
    assert (sixel_pixels("".join(encoded(CORNERS, "sixel", 80, 24))) == CORNERS).all()


@pytest.mark.parametrize(("full", "red"), [(True, "2;255;0;0"), (False, "5;196")])
def test_half_blocks_are_two_pixels_each(full: bool, red: str) -> None:
    lines = "".join(encoded(CORNERS, "blocks", 80, 24, full)).splitlines()
    assert len(lines) == 6
    assert lines[0].startswith(f"\x1b[38;{red};48;{red}m▀▀▀▀▀\x1b")
    assert all(line.count("▀") == 10 and line.endswith("\x1b[0m") for line in lines)


def test_half_blocks_fit_the_terminal() -> None:
    lines = "".join(encoded(np.zeros((400, 300, 1), np.uint8), "blocks", 40, 24)).splitlines()
    assert len(lines) == 20
    assert max(line.count("▀") for line in lines) == 30


def test_a_pipe_gets_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    show_picture(CORNERS)
    assert capsys.readouterr().out == ""
    show_picture(CORNERS, show=True)
    assert "▀" in capsys.readouterr().out


def sixel_pixels(text: str) -> np.ndarray:
    """The picture that a terminal draws, uint8 [height, width, 3]."""
    found = re.fullmatch(r'\x1bPq"1;1;(\d+);(\d+)(.*)\x1b\\\n', text, re.DOTALL)
    assert found
    width, height = int(found[1]), int(found[2])
    picture, palette = np.zeros((height, width, 3), np.uint8), {}
    place, top, column = 0, 0, 0
    for number, colour, count, code, move in re.findall(SIXEL, found[3]):
        if number and colour:
            palette[int(number)] = [round(int(part) * 2.55) for part in colour.split(";")[2:]]
        elif number:
            place = int(number)
        elif move:
            column, top = 0, top + 6 * (move == "-")
        else:
            end = column + int(count or 1)
            for bit in range(6):
                if (ord(code) - 63) >> bit & 1:
                    picture[top + bit, column:end] = palette[place]
            column = end
    return picture
