"""Command ``bookserve generate``."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Any

import click
import msgspec

from bookserve.api.requests import MAX_LOGPROBS, MAX_TEMPERATURE, MAX_TEXTS
from bookserve.cli.terminal import json_option, print_json, print_table
from bookserve.client.client import Client
from bookserve.verb import Piece
from clients.after_answer import next_call, sample_note
from clients.connection import Connection, connection_options
from clients.interactive import talk
from clients.options import model_argument, seed_option, version_option
from clients.text_columns import show_side_by_side


@click.command()
@model_argument
@click.option(
    "--prompt", default="", help="Text to continue; - reads it from standard input.  [default: the model's own]"
)
@click.option(
    "--length", type=click.IntRange(1), default=400, show_default=True, help="Number of characters to generate."
)
@click.option(
    "--temperature",
    "temperatures",
    type=click.FloatRange(0, MAX_TEMPERATURE),
    default=[0.5],
    show_default="0.5",
    multiple=True,
    help="Randomness: 0 always takes the likeliest character; more than 1 gives wilder text. Repeatable: the texts "
    "stand side by side.",
)
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="Choose only among the K likeliest characters.")
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Choose only among the likeliest characters whose probabilities add up to this.",
)
@click.option("--stop", multiple=True, metavar="TEXT", help="Stop before this text; repeatable.")
@click.option(
    "-n", "--n", type=click.IntRange(1, MAX_TEXTS), default=1, help="Number of texts; text i uses the seed plus i."
)
@click.option(
    "--logprobs",
    type=click.IntRange(0, MAX_LOGPROBS),
    metavar="N",
    help="Also return log-probabilities, with the N likeliest alternatives.",
)
@click.option(
    "--mode",
    type=click.Choice(["state", "window"]),
    default="state",
    show_default=True,
    help="Keep the network's state, or read the last characters again for each new one, as the book does.",
)
@click.option("-i", "--interactive", is_flag=True, help="Ask for the beginning of a text, again and again.")
@seed_option
@connection_options
@version_option
@json_option
def generate(
    model: str,
    prompt: str,
    temperatures: tuple[float, ...],
    interactive: bool,
    connection: Connection,
    as_json: bool,
    n: int,
    logprobs: int | None,
    **options: Any,
) -> None:
    """Generate text with a character model.

    The text appears while it is generated. A terminal shows the prompt in front of it; a pipe receives only the new
    text. Several texts, and texts with log-probabilities, are printed when they are complete; texts at several
    temperatures grow side by side where the terminal is wide enough.
    """
    from clients.input_rows import decode_utf8

    if interactive and (prompt or as_json or n > 1 or logprobs is not None):
        raise click.UsageError("--interactive asks for the prompt itself, and shows one text for each temperature.")
    if prompt == "-":
        prompt = decode_utf8(sys.stdin.buffer.read(), "standard input")
    fields = {**options, "stop": list(options["stop"])}
    with connection.open() as client:
        if interactive:
            talk(partial(_show, client, model), temperatures, fields)
            return
        if n == 1 and logprobs is None and not as_json:
            _show(client, model, prompt, temperatures, fields)
            sample_note(client, model, options["version"])
            wilder = min(MAX_TEMPERATURE, 2 * max(temperatures) or 0.5)
            short = ("--prompt", prompt) if prompt.isprintable() and 0 < len(prompt) <= 60 else ()
            words = ("generate", model, *short, "--temperature", f"{wilder:g}")
            next_call(connection, *words, about="wilder")
            return
        asked = {**fields, "prompt": prompt, "n": n, "logprobs": logprobs}
        found = [(heat, client.complete(model, **asked, temperature=heat)) for heat in temperatures]
        sample_note(client, model, options["version"])
    several = len(temperatures) > 1
    if as_json:
        pairs = [(heat, msgspec.to_builtins(text)) for heat, texts in found for text in texts]
        print_json([{"temperature": heat, **text} if several else text for heat, text in pairs])
        return
    for heat, texts in found:
        for text in texts:
            _print_whole(text, f"{text.index + 1}" + (f", temperature {heat:g}" if several else ""))
    next_call(connection, "generate", model, about="one text, as it is written")


def _print_whole(text: Piece, name: str) -> None:
    if not text.drawn:
        click.echo(f"--- {name}\n{text.text}")
        return
    rows = ([repr(d.text), d.logprob, "  ".join(f"{t!r} {log:.3f}" for t, log in d.top)] for d in text.drawn)
    print_table(("character", "log-probability", "likeliest"), rows, f"text {name}: {text.finish}")


def _show(client: Client, model: str, prompt: str, temperatures: tuple[float, ...], fields: dict[str, Any]) -> str:
    """Show a text for each temperature while they are written; return the first, without the prompt."""
    with ExitStack() as stack:
        texts = [
            stack.enter_context(closing(client.generate(model, prompt, temperature=heat, **fields)))
            for heat in temperatures
        ]
        if len(texts) == 1:
            return _show_as_it_comes(prompt, texts[0])
        return show_side_by_side([f"temperature {heat:g}" for heat in temperatures], texts)[0]


def _show_as_it_comes(prompt: str, text: Generator[str]) -> str:
    pieces: list[str] = []
    try:
        for piece in text:
            if not pieces and sys.stdout.isatty():
                click.secho(prompt, dim=True, nl=False)
            pieces.append(piece)
            click.echo(piece, nl=False)
    finally:
        if pieces:
            with suppress(BrokenPipeError):
                click.echo()
    return "".join(pieces)
