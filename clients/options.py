"""Options that several commands of this program share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bookserve.cli.completion import complete_models

model_argument = click.argument("model", shell_complete=complete_models)
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
