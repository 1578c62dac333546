"""Commands that copy bundles between machines: ``bookserve push`` and ``bookserve pull``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bookserve.cli.included import given_or_included
from bookserve.cli.terminal import json_option, model_and_version, models_option, next_command, print_json

if TYPE_CHECKING:
    from bookserve.registry.transfer import Progress, Transfer

_ADDRESS = "ADDRESS is a directory or any address that fsspec supports: s3://bucket/models, gs://…, sftp://…, https://…"


@click.command(epilog=_ADDRESS)
@click.argument("names", type=model_and_version, nargs=-1, required=True, metavar="MODEL[/VERSION]...")
@click.argument("address")
@models_option
@json_option
def push(names: tuple[tuple[str, int | None], ...], address: str, models: Path, as_json: bool) -> None:
    """Copy bundles to a directory, bucket or server.

    Without a version the newest one is copied. Files that are already there are skipped, and a partly copied file is
    continued where the destination allows it. Others see the version only when all files have arrived and their
    checksums are right.
    """
    from bookserve import bundle
    from bookserve.registry import transfer
    from bookserve.registry.location import Location

    models = given_or_included(models)
    found = [bundle.open_bundle(models, name, version) for name, version in names]
    target = Location(address)
    moved = []
    for one in found:
        with _bar(f"{one.name}/{one.version}") as progress:
            moved.append(transfer.push(one, target, progress))
    _say(moved, as_json)
    if not as_json:
        next_command(f"bookserve pull {address}   (on another machine)")


@click.command(epilog=_ADDRESS)
@click.argument("address")
@click.argument("names", type=model_and_version, nargs=-1, metavar="[MODEL[/VERSION]...]")
@models_option
@json_option
def pull(address: str, names: tuple[tuple[str, int | None], ...], models: Path, as_json: bool) -> None:
    """Copy bundles from a directory, bucket or web site.

    Without a model all models are copied; without a version the newest one. After an interruption the next pull
    continues with what has arrived. A version appears only when all files have arrived and their checksums are right.
    """
    from bookserve.registry import transfer
    from bookserve.registry.location import Location

    source = Location(address)
    if names:
        moved = []
        for name, given in names:
            version = transfer.newest_version(source, name) if given is None else given
            with _bar(f"{name}/{version}") as progress:
                moved.append(transfer.pull(source, name, version, models, progress))
    else:
        with _bar("all models") as progress:
            moved = transfer.pull_all(source, models, progress)
    _say(moved, as_json)
    if moved and not as_json:
        next_command(f"bookserve serve {models}")


def _say(moved: list[Transfer], as_json: bool) -> None:
    if as_json:
        print_json([one._asdict() for one in moved])
        return
    if not moved:
        click.echo("There are no models.")
    for one in moved:
        there = "already there" if not one.sent else f"{one.sent / 1e6:.1f} of {one.size / 1e6:.1f} MB copied"
        click.echo(f"{one.name}/{one.version}: {one.files} files, {there} -> {one.where}/{one.version}")


@contextmanager
def _bar(name: str) -> Iterator[Progress]:
    """A progress bar on standard error; nothing if that is not a terminal."""
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        bar = shown.add_task(name, total=None)
        yield lambda more, total: shown.update(bar, advance=more, total=total)
