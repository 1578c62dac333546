"""Write texts line by line: ``bookserve generate MODEL --interactive``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import click

from bookserve.errors import BookserveError, InvalidInput, did_you_mean

_HELP = """\
A line is the beginning of a text, which the model goes on with. An empty line goes on from the last text.

  /temperature 0.2 1    randomness; several write texts side by side
  /length 400           number of characters
  /seed 7               the same seed gives the same text; /seed alone forgets it
  /show                 the settings
  /help                 this
  /quit                 the end, as Ctrl-D

Ctrl-C stops a text."""
_SETTINGS = {"temperature": float, "length": int, "seed": int}
_WORDS = (*_SETTINGS, "show", "help", "quit")

#: Shows the texts of a prompt at some temperatures, and returns the first.
Write = Callable[[str, tuple[float, ...], dict[str, Any]], str]


def talk(write: Write, temperatures: tuple[float, ...], fields: dict[str, Any]) -> None:
    """Read lines until the end of the input, and call ``write`` for each; errors are shown and change nothing."""
    click.echo("Type the beginning of a text. /help shows what else there is.", err=True)
    settings = {"length": fields["length"], "seed": fields["seed"], "temperature": temperatures}
    text = ""
    for line in _lines():
        try:
            if line.startswith("/"):
                if line.strip() == "/quit":
                    return
                _set(settings, line)
                continue
            prompt = line or text
            asked = {**fields, "length": settings["length"], "seed": settings["seed"]}
            text = prompt + write(prompt, settings["temperature"], asked)
        except BookserveError as error:
            click.echo(f"{click.style('error:', fg='red')} {error}", err=True)
        except KeyboardInterrupt:
            click.echo("  stopped", err=True)


def _lines() -> Iterator[str]:
    terminal = sys.stdin.isatty()
    if terminal:
        with suppress(ImportError):  # arrow keys and history, where Python has them
            import readline  # noqa: F401
    while True:
        try:
            yield input("> " if terminal else "")
        except EOFError:
            if terminal:
                click.echo(err=True)
            return
        except KeyboardInterrupt:
            click.echo("\nCtrl-D or /quit ends this.", err=True)


def _set(settings: dict[str, Any], line: str) -> None:
    word, *given = line[1:].split() or [""]
    if word == "help":
        click.echo(_HELP, err=True)
    elif word == "show":
        shown = {**settings, "temperature": " ".join(f"{value:g}" for value in settings["temperature"])}
        click.echo("  ".join(f"{name} {'random' if v is None else v}" for name, v in shown.items()), err=True)
    elif word not in _SETTINGS:
        raise InvalidInput(f"there is no '/{word}'.", did_you_mean(word, _WORDS) + "See /help.")
    elif not given and word == "seed":
        settings[word] = None
    else:
        try:
            values: tuple[Any, ...] = tuple(map(_SETTINGS[word], given))
        except ValueError:
            values = ()
        if not values or (word != "temperature" and len(values) > 1) or min(values) < (word == "length"):
            raise InvalidInput(f"'{line}' is no setting.", f"Write it as: /{word} NUMBER")
        settings[word] = values if word == "temperature" else values[0]
