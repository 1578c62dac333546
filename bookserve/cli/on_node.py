"""Run a command of bookserve on a node of a cluster, and carry the directory that it wrote to whoever asked for it."""

from __future__ import annotations

import io
import socket
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from bookserve.errors import BookserveError, Failed


class Written(NamedTuple):
    """What a command wrote: a tar archive, and the name of the machine that ran it."""

    host: str
    archive: bytes


def run_command(words: Sequence[str]) -> Written:
    """Run ``bookserve`` with the arguments ``words`` in this process; ``{}`` stands for a directory to write into.

    Raises:
        BookserveError: what the command raised.
        Failed: any other error of it.
    """
    from bookserve.cli.main import cli, missing_package

    host = socket.gethostname()
    with tempfile.TemporaryDirectory(prefix="bookserve-") as directory:
        try:
            code = cli.main([word.replace("{}", directory) for word in words], "bookserve", standalone_mode=False)
        except BookserveError:
            raise
        except click.ClickException as error:
            raise Failed(error.format_message()) from error
        except ModuleNotFoundError as error:
            raise Failed(f"{host}: {missing_package('this command', error)}") from error
        if code:
            raise Failed(f"bookserve {words[0]} ended with the exit code {code}.")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(directory, arcname=".")
    return Written(host, buffer.getvalue())


def unpack(written: Written, directory: Path) -> None:
    """Write what a command wrote into ``directory``."""
    with tarfile.open(fileobj=io.BytesIO(written.archive)) as archive:
        archive.extractall(directory, filter="data")
