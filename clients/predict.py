"""Commands ``bookserve models`` and ``predict``."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click

from bookserve.cli.completion import complete_files
from bookserve.cli.encoding import is_utf8
from bookserve.cli.included import given_or_included, was_given
from bookserve.cli.terminal import json_option, models_option, next_command, print_json, print_table
from bookserve.client.client import Client
from bookserve.errors import BookserveError, InvalidInput
from bookserve.verb import Answer, plain_answers
from clients.after_answer import next_after_predict, summary_of
from clients.answer_files import SUFFIXES, json_lines, open_writer
from clients.connection import ADDRESS, Connection, connection_options, server_options
from clients.input_rows import input_size, read_inputs
from clients.notes import Notes
from clients.options import model_argument, require_suffix, version_option
from clients.output import answer_cell, with_unit
from clients.predict_parts import Predictor, predict_parts
from clients.progress import Progress


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
        first = next((model for model in found if model["verb"] in ("generate", "sample")), found[0])
        next_command(_call_of(first, f" --url {url}" if was_given("url") or was_given("models") else ""))


@click.command()
@model_argument
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", shell_complete=complete_files)
@connection_options
@version_option
@click.option(
    "-o",
    "output",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    callback=require_suffix(*SUFFIXES, "-"),
    help=f"Write the answers to this {', '.join(SUFFIXES)} file; - prints a JSON line for each row.",
)
@click.option("--with-inputs", is_flag=True, help="Also write the columns of the input table.")
@click.option("--skip-errors", is_flag=True, help="Leave out inputs and rows that cannot be used, and name them.")
@click.option(
    "--distribute",
    type=click.Choice(["ray"]),
    help="Predict on all nodes of the Ray cluster at RAY_ADDRESS, or of this machine; see docs/scaling.md.",
)
@click.option("--table", "as_table", is_flag=True, help="Print a table even where the output is no terminal.")
@json_option
def predict(
    model: str,
    inputs: tuple[str, ...],
    connection: Connection,
    version: int | None,
    output: Path | None,
    with_inputs: bool,
    skip_errors: bool,
    distribute: str | None,
    as_table: bool,
    as_json: bool,
) -> None:
    """Predict files, directories, standard input or values.

    INPUT is a picture, CSV, TSV, JSON, JSONL, NPY, NPZ, Parquet, Arrow or TXT file, a directory of these, - for
    standard input, or the text, number or JSON value itself. Rows of any number are read, sent and written in parts. A
    terminal shows a table; a pipe receives a JSON line for each row.
    """
    is_stream = str(output) == "-" or not (output or as_json or as_table or sys.stdout.isatty())
    if with_inputs and not (is_stream or output):
        raise click.UsageError("--with-inputs needs -o FILE, or -o -.")
    found: list[tuple[str, Answer]] = []
    count, notes, units = 0, Notes(), dict[str, str]()
    with ExitStack() as stack:
        shown = Progress(input_size(inputs), shown=not (is_stream and sys.stdout.isatty()))
        progress = stack.enter_context(shown)

        def skip(name: str, error: BookserveError) -> None:
            progress.clear()
            reason = str(error)
            click.echo(f"skipped {reason if reason.startswith(name) else f'{name}: {reason}'}", err=True)

        parts = read_inputs(inputs, sys.stdin.buffer, skip if skip_errors else None)
        client: Predictor = (
            _on_all_nodes(stack, connection, model, version) if distribute else stack.enter_context(connection.open())
        )
        writer = stack.enter_context(open_writer(output, with_inputs)) if output and not is_stream else None
        predicted = predict_parts(client, model, parts, version, skip if skip_errors else None)
        for part, answers in stack.enter_context(closing(predicted)):
            count += len(answers)
            notes.add(part, answers)
            units |= answers.units
            if writer:
                writer.write(part, answers)
            if is_stream:
                click.echo(json_lines(part, answers, with_inputs, not is_utf8(sys.stdout)), nl=False)
            elif as_json or not output:
                found += ((part.name(index), answer) for index, answer in enumerate(answers))
            progress.add(len(answers), part.size)
        if not count:
            no_rows = InvalidInput("there are no rows to predict.", "Send at least one.")
            raise (
                InvalidInput("none of the rows can be used.", "The messages above say why.") if skip_errors else no_rows
            )
        summary = None
        if isinstance(client, Client) and sys.stdout.isatty():  # a cluster has no list of its models
            summary = summary_of(client, model, version)
    notes.show(count)
    if writer:
        click.echo(f"{count:,} answers written to {output}", err=True)
    if as_json and not is_stream:
        print_json(plain_answers([answer for _, answer in found]))
    elif not output and not is_stream:
        cells = ([name, *map(answer_cell, answer.values())] for name, answer in found)
        print_table(["input", *(with_unit(name, units) for name in found[0][1])], cells)
    next_after_predict(connection, summary, model, inputs[0])


def _on_all_nodes(stack: ExitStack, connection: Connection, model: str, version: int | None) -> Predictor:
    from bookserve.client.spread import Spread
    from bookserve.cluster import Cluster

    cluster = stack.enter_context(Cluster())
    return Spread(cluster, connection.url, model, version, connection.options)


def _call_of(model: dict[str, Any], address: str) -> str:
    """A command that calls a model, as an example."""
    row = {"predict": " INPUT", "sample": " -o pictures.png"}.get(model["verb"], "")
    command = {"transform": "dream"}.get(model["verb"], model["verb"])
    return f"bookserve {command} {model['name']}{row}{address}"
