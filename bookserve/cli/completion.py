"""Command ``bookserve completion``: scripts for bash, zsh and fish that complete commands, options and names.

click makes the scripts. They call bookserve with the variable ``_BOOKSERVE_COMPLETE`` at every press of Tab, so what
completes a name imports no heavy package, and an address that does not answer at once completes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from bookserve.errors import BookserveError

VARIABLE = "_BOOKSERVE_COMPLETE"
#: Seconds to wait for a server's list of models.
_PATIENCE = 2.0
_INSTALL = {
    "bash": 'eval "$(bookserve completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(bookserve completion zsh)"   in ~/.zshrc, after compinit',
    "fish": "bookserve completion fish > ~/.config/fish/completions/bookserve.fish",
}


@click.command(epilog="\b\n" + "\n".join(_INSTALL.values()))
@click.argument("shell", type=click.Choice(list(_INSTALL)))
def completion(shell: str) -> None:
    """Print a script that completes commands, options, and names of models and tasks in a shell.

    Put it to use so:
    """
    from bookserve.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click has all three
    click.echo(found(cli, {}, "bookserve", VARIABLE).source())


def complete_models(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of the models that the command would reach, for ``shell_complete`` of an argument."""
    return _starting(incomplete, _model_names(ctx.params.get("url"), ctx.params.get("models")))


def complete_tasks(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of the models of the book that can be trained."""
    from bookserve.cli.programs import import_module

    names: Iterable[str] = import_module("trainers.catalogue").task_names()
    return _starting(incomplete, names)


def complete_files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell's own completion of file names, for an argument that may also be something else."""
    return [CompletionItem(incomplete, type="file")]


def _model_names(url: str | None, models: Path | None) -> Iterable[str]:
    from bookserve.cli.included import included_models
    from bookserve.client.address import connect
    from bookserve.client.profiles import find_profile

    try:
        url = url or ("" if models else find_profile(None, None).get("url", ""))
        directory = Path(url.removeprefix("local:").partition("?")[0]) if url else models or Path("models")
        if url and not url.startswith("local:"):
            with connect(url, timeout=_PATIENCE, retries=0) as client:
                return [model["name"] for model in client.models()]
        from bookserve.bundle import model_names

        return model_names(directory if directory.is_dir() else included_models())
    except BookserveError:
        return []


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
