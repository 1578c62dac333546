"""Commands ``bookserve models``, ``predict`` and ``generate``."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click
import msgspec

from bookserve.api.requests import MAX_LOGPROBS, MAX_TEMPERATURE, MAX_TEXTS
from bookserve.cli.included import given_or_included, was_given
from bookserve.cli.terminal import json_option, models_option, next_command, print_json, print_table
from bookserve.client.answers import Answers
from bookserve.client.client import BATCH, Client
from bookserve.errors import BookserveError, InvalidInput
from bookserve.verb import Answer, Note
from clients.connection import ADDRESS, Connection, connection_options, server_options
from clients.output import SUFFIXES

version_option = click.option("--version", type=int, help="Version of the model.  [default: newest]")
seed_option = click.option("--seed", type=click.IntRange(0), help="Random seed; the same seed gives the same result.")


def require_suffix(*known: str) -> Any:
    """A click callback for ``-o FILE`` that accepts only these suffixes."""

    def check(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
        if value is not None and value.suffix.lower() not in known and str(value) not in known:
            raise click.BadParameter(
                f"'{value}' must end in one of {', '.join(name for name in known if name != '-')}."
            )
        return value

    return check


@click.command()
@models_option
@click.option(
    "--url", envvar="BOOKSERVE_URL", show_envvar=True, help=f"List the models at this address instead: {ADDRESS}"
)
@server_options
@json_option
@click.pass_context
def models(ctx: click.Context, models: Path, connection: Connection, as_json: bool) -> None:
    """List the models in a directory or on a server."""
    url = connection.url
    here = click.core.ParameterSource.COMMANDLINE
    if ctx.get_parameter_source("models") is here:
        if ctx.get_parameter_source("url") is here:
            raise click.UsageError("Give --models or --url, not both.")
        url = ""
    url = url or f"local:{given_or_included(models)}"
    with dataclasses.replace(connection, url=url).open() as client:
        found = client.models()
    on_disk: list[
        list[str]
    ] = []  # only known without a server: all versions in the directory, and when they were created
    if url.startswith("local:"):
        from bookserve.bundle import versions
        from bookserve.client.wires.local import list_bundles

        directory = Path(url.removeprefix("local:"))
        bundles, errors = list_bundles(directory)
        on_disk = [[", ".join(map(str, versions(directory, b.name))), b.manifest.created] for b in bundles]
        for error in errors:
            click.echo(f"skipped: {error}", err=True)
    if as_json:
        print_json(found)
    elif not found:
        click.echo(f"There are no models at {url}. Write some with: bookserve export")
    else:
        columns = ["name", "version", "verb", "graphs", "parameters", "KB", "figure"]
        rows = []
        for index, model in enumerate(found):
            figures, metric = model["metrics"], model["metric"]
            figure = f"{metric} {figures[metric]:.4g}" if metric in figures else None
            sample = " (sample)" if figure and model["data"] == "sample" else ""
            cells = [model["name"], model["version"], model["verb"], ", ".join(model["graphs"]), model["parameters"]]
            cells += [round(model["bytes"] / 1000), figure and figure + sample]
            rows.append([*cells, *(on_disk[index] if on_disk else ())])
        optional = ("figure", "KB", "version", "parameters", "graphs", "on disk", "created")
        print_table([*columns, *(("on disk", "created") if on_disk else ())], rows, optional=optional)
        next_command(_call_of(found[0], f" --url {url}" if was_given("url") or was_given("models") else ""))


@click.command()
@click.argument("model")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@connection_options
@version_option
@click.option(
    "-o",
    "output",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    callback=require_suffix(*SUFFIXES, "-"),
    help="Write the answers to this .json, .jsonl, .csv, .npy or .npz file; - prints a JSON line for each row.",
)
@click.option("--skip-errors", is_flag=True, help="Leave out inputs and rows that cannot be used, and name them.")
@click.option("--table", "as_table", is_flag=True, help="Print a table even where the output is no terminal.")
@json_option
def predict(
    model: str,
    inputs: tuple[str, ...],
    connection: Connection,
    version: int | None,
    output: Path | None,
    skip_errors: bool,
    as_table: bool,
    as_json: bool,
) -> None:
    """Predict files, directories, standard input or values.

    INPUT is a picture, CSV, TSV, JSON, JSONL, NPY, NPZ or TXT file, a directory of these, - for standard input, or the
    text, number or JSON value itself. Many rows are sent in several requests. A terminal shows a table; a pipe receives
    a JSON line for each row.
    """
    from bookserve.verb import plain_answers
    from clients.input_rows import read_rows
    from clients.output import answer_cell, json_line, with_unit, write_answers

    names, rows = read_rows(inputs, sys.stdin.buffer, _skip if skip_errors else None)
    is_stream = str(output) == "-" or not (output or as_json or as_table or sys.stdout.isatty())
    found, remarks = [], Answers()
    with (
        connection.open() as client,
        closing(_answers(client, model, names, rows, version, skip_errors, remarks)) as answers,
    ):
        for name, answer in answers:
            if is_stream:
                click.echo(json_line(answer), nl=False)
            else:
                found.append((name, answer))
    _show_notes(remarks, [name for name, _ in found] or names)
    if is_stream:
        return
    names, kept = [name for name, _ in found], Answers((answer for _, answer in found), units=remarks.units)
    if output:
        write_answers(output, names, kept)
        click.echo(f"{len(kept)} answers written to {output}", err=True)
    if as_json:
        print_json(plain_answers(kept))
    elif not output:
        cells = ([name, *map(answer_cell, answer.values())] for name, answer in zip(names, kept, strict=True))
        print_table(["input", *(with_unit(name, kept.units) for name in kept[0])], cells)


def _call_of(model: dict[str, Any], address: str) -> str:
    """A command that calls a model, as an example."""
    row = {"predict": " INPUT", "sample": " -o pictures.png"}.get(model["verb"], "")
    command = {"transform": "dream"}.get(model["verb"], model["verb"])
    return f"bookserve {command} {model['name']}{row}{address}"


def _answers(
    client: Client,
    model: str,
    names: list[str],
    rows: list[Any],
    version: int | None,
    skip_errors: bool,
    remarks: Answers,
) -> Generator[tuple[str, Answer]]:
    """The name of each row and the answer to it, in order, as answers arrive; errors name the row.

    ``remarks`` receives the notes and units.

    Raises:
        InvalidInput: a row cannot be used; with ``skip_errors`` if that holds for all rows.
    """
    if not skip_errors:
        try:
            yield from zip(names, client.predict_each(model, rows, version, remarks.add_remarks), strict=True)
        except InvalidInput as error:
            raise _with_name(error, names) from error
        return
    count = 0
    for start in range(0, len(rows), BATCH):
        part = slice(start, start + BATCH)
        for name, answer in _usable(client, model, names[part], rows[part], version, remarks):
            count += 1
            yield name, answer
    if not count:
        raise InvalidInput("none of the rows can be used.", "The messages above say why.")


def _usable(
    client: Client, model: str, names: list[str], rows: list[Any], version: int | None, remarks: Answers
) -> Iterator[tuple[str, Answer]]:
    """The answers to the rows that can be used; if not all can, the rows are sent one by one."""
    try:
        answers = client.predict(model, rows, version)
        for note in answers.notes:
            _show_note(note, names)
        remarks.units |= answers.units
        yield from zip(names, answers, strict=True)
        return
    except InvalidInput as error:
        if len(rows) == 1:
            _skip(names[0], error)
            return
    for name, row in zip(names, rows, strict=True):
        yield from _usable(client, model, [name], [row], version, remarks)


#: Notes on single rows that are printed at most.
_SHOWN = 10


def _show_notes(answers: Answers, names: list[str]) -> None:
    """Print notes on answers to standard error: what a reader of the answers should know."""
    for note in answers.notes[:_SHOWN]:
        _show_note(note, names)
    if len(answers.notes) > _SHOWN:
        click.echo(f"note: {len(answers.notes) - _SHOWN} more notes of this kind.", err=True)


def _show_note(note: Note, names: list[str]) -> None:
    place = f"{names[note.row]}: " if note.row is not None and len(names) > 1 else ""
    click.echo(f"{click.style('note:', fg='yellow')}  {place}{note.message}", err=True)


def _skip(name: str, error: BookserveError) -> None:
    click.echo(f"skipped {name}: {error}", err=True)


def _with_name(error: InvalidInput, names: list[str]) -> InvalidInput:
    """The error with the name of its row: the file and the place in it."""
    match = re.match(r"row (\d+)\b", error.message)
    if not match or int(match[1]) >= len(names):
        return error
    return InvalidInput(f"{match[0]} ({names[int(match[1])]}){error.message[match.end() :]}", error.hint)


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
            return
        texts = client.complete(model, **fields, n=n, logprobs=logprobs)
    if as_json:
        print_json(msgspec.to_builtins(texts))
        return
    for text in texts:
        if logprobs is None:
            click.echo(f"--- {text.index + 1}\n{text.text}")
        else:
            rows = ([repr(d.text), d.logprob, "  ".join(f"{t!r} {log:.3f}" for t, log in d.top)] for d in text.drawn)
            print_table(("character", "log-probability", "likeliest"), rows, f"text {text.index + 1}: {text.finish}")


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
