"""Find the trained models that come with bookserve, for commands that are given no directory.

They lie in ``pretrained/``: beside the package ``bookserve`` in a checkout, and in a wheel as well.
"""

from __future__ import annotations

from pathlib import Path

import click

from bookserve.cli.programs import home
from bookserve.errors import NotFound


def included_models() -> Path:
    """The directory of the models that come with bookserve.

    Raises:
        NotFound: this installation is without them.
    """
    directory = home() / "pretrained"
    if not directory.is_dir():
        raise NotFound(
            f"this installation has no directory {directory}.", "Install bookserve again, or use models of your own."
        )
    return directory


def given_or_included(models: Path) -> Path:
    """``models`` if that directory exists or the user named it; else the models that come with bookserve.

    Call it in a command with a parameter ``models``.
    """
    return models if was_given("models") or models.exists() else _announce_included(models)


def address_or_included(url: str) -> str:
    """``url``, unless it is the default and its directory does not exist: then that of the included models.

    Call it in a command with a parameter ``url``.
    """
    directory = Path(url.removeprefix("local:"))
    if was_given("url") or not url.startswith("local:") or directory.exists():
        return url
    return f"local:{_announce_included(directory)}"


def was_given(parameter: str) -> bool:
    """Whether the user gave a parameter of the running command, on the command line or in the environment."""
    return click.get_current_context().get_parameter_source(parameter) is not click.core.ParameterSource.DEFAULT


def _announce_included(models: Path) -> Path:
    included = included_models()
    click.echo(f"There is no directory '{models}' here: using the models that come with bookserve.", err=True)
    return included
