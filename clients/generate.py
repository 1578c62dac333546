"""Command ``bookserve generate``."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import closing, suppress
from typing import Any

import click
import msgspec

from bookserve.api.requests import MAX_LOGPROBS, MAX_TEMPERATURE, MAX_TEXTS
from bookserve.cli.terminal import json_option, print_json, print_table
from clients.after_answer import next_call, sample_note
from clients.connection import Connection, connection_options
from clients.options import seed_option, version_option


@click.command()
@click.argument("model")
@click.option(
    "--prompt", default="", help="Text to continue; - reads it from standard input.  [default: the model's own]"
)
@click.option(
    "--length", type=click.IntRange(1), default=400, show_default=True, help="Number of characters to generate."
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, MAX_TEMPERATURE),
    default=0.5,
    show_default=True,
    help="Randomness: 0 always takes the likeliest character; more than 1 gives wilder text.",
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
@seed_option
@connection_options
@version_option
@json_option
def generate(
    model: str, prompt: str, connection: Connection, as_json: bool, n: int, logprobs: int | None, **options: Any
) -> None:
    """Generate text with a character model.

    The text appears while it is generated. A terminal shows the prompt in front of it; a pipe receives only the new
    text. Several texts, and texts with log-probabilities, are printed when they are complete.
    """
    from clients.input_rows import decode_utf8

    if prompt == "-":
        prompt = decode_utf8(sys.stdin.buffer.read(), "standard input")
    fields = {**options, "prompt": prompt, "stop": list(options["stop"])}
    with connection.open() as client:
        if n == 1 and logprobs is None and not as_json:
            _show_as_it_comes(prompt, client.generate(model, **fields))
            sample_note(client, model, options["version"])
            wilder = min(MAX_TEMPERATURE, 2 * options["temperature"] or 0.5)
            short = ("--prompt", prompt) if prompt.isprintable() and 0 < len(prompt) <= 60 else ()
            words = ("generate", model, *short, "--temperature", f"{wilder:g}")
            next_call(connection, *words, about="wilder")
            return
        texts = client.complete(model, **fields, n=n, logprobs=logprobs)
        sample_note(client, model, options["version"])
    if as_json:
        print_json(msgspec.to_builtins(texts))
        return
    for text in texts:
        if logprobs is None:
            click.echo(f"--- {text.index + 1}\n{text.text}")
        else:
            rows = ([repr(d.text), d.logprob, "  ".join(f"{t!r} {log:.3f}" for t, log in d.top)] for d in text.drawn)
            print_table(("character", "log-probability", "likeliest"), rows, f"text {text.index + 1}: {text.finish}")
    next_call(connection, "generate", model, about="one text, as it is written")


def _show_as_it_comes(prompt: str, text: Generator[str]) -> None:
    begun = False
    try:
        with closing(text):
            for piece in text:
                if not begun and sys.stdout.isatty():
                    click.secho(prompt, dim=True, nl=False)
                begun = True
                click.echo(piece, nl=False)
    finally:
        if begun:
            with suppress(BrokenPipeError):
                click.echo()
