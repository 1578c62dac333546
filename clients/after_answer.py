"""What a command prints after its answer: a note on a model trained on sample data, and the next command to type."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click
from click.core import ParameterSource

from bookserve.bundle.notes import SAMPLE
from bookserve.cli.terminal import next_command
from bookserve.client.client import Client
from bookserve.errors import BookserveError
from clients.connection import Connection


def sample_note(client: Client, model: str, version: int | None = None) -> None:
    """Print a note to standard error if ``model`` was trained on sample data; ``predict`` gets it with its answers."""
    found = summary_of(client, model, version)
    if found and found.get("data") == "sample":
        click.echo(f"{click.style('note:', fg='yellow')}  {SAMPLE}", err=True)


def summary_of(client: Client, model: str, version: int | None = None) -> dict[str, Any] | None:
    """The entry of a model in ``Client.models``; None if that list cannot be had, or has no such version."""
    try:
        listed = client.models()
    except BookserveError:
        return None  # the answer itself has been given: what is said beside it must not fail
    return next(
        (each for each in listed if each["name"] == model and version in (None, each["version"])),
        None,
    )


def next_call(connection: Connection, *words: object, about: str = "") -> None:
    """Say on a terminal what to type next, at the address that this command was given; ``words`` are quoted."""
    if not sys.stdout.isatty():
        return
    address = ("--url", connection.url) if _typed_address() else ()
    line = shlex.join(["bookserve", *map(str, words), *address])
    next_command(f"{line}   ({about})" if about else line)


def next_after_predict(connection: Connection, found: dict[str, Any] | None, model: str, first: str) -> None:
    """After a prediction: what speaks for the answer where the model can tell, else a whole table of rows.

    ``found`` is the model's ``summary_of``.
    """
    if not sys.stdout.isatty():
        return
    if found and "head" in found["graphs"] and first.lower().endswith((".png", ".jpg", ".jpeg", ".webp", ".bmp")):
        next_call(connection, "explain", model, first, about="which parts of the picture count")
    elif _typed_address():
        next_call(connection, "predict", model, "rows.csv", "-o", "answers.csv", about="a whole table")
    else:
        next_command("bookserve serve   (a page to try it in a browser)")


def _typed_address() -> bool:
    """Whether the address stood on the command line; one of the environment is found by the next command, too."""
    return click.get_current_context().get_parameter_source("url") is ParameterSource.COMMANDLINE
