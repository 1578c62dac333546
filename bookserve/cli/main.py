"""The command ``bookserve``: a lazy front door that imports a room only when one of its commands runs.

Errors leave as one sentence with a hint on standard error and the exit code of their kind (``bookserve/errors.py``):
0 ok, 1 failed, 2 usage, 3 not found, 4 unreachable, 5 invalid input, 130 interrupted. ``--debug`` shows tracebacks.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from bookserve import __version__
from bookserve.errors import BookserveError

#: Command → where it lives, and its line in the help (so that ``--help`` needs no import).
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("bookserve.cli.demo:demo", "Run the whole way once, on sample data, in a few minutes."),
    "tasks": ("trainers.cli.listing:tasks", "List the models of the book and how ours compare."),
    "train": ("trainers.cli.train:train", "Train tasks of the book; each leaves a run."),
    "search": ("trainers.cli.search:search", "Search for better parameters of a task."),
    "runs": ("trainers.cli.listing:runs", "List the runs that training left."),
    "compare": ("trainers.cli.listing:compare", "Compare the parameters and figures of two runs."),
    "inside": ("trainers.cli.inspect:inside", "Look inside a trained network."),
    "export": ("export.cli:export", "Write runs or anyone's models as servable bundles."),
    "compose": ("export.cli:compose", "Make one model of several, which answers with their mean."),
    "verify": ("export.cli:verify", "Prove that a bundle's ONNX and SavedModel agree."),
    "models": ("clients.predict:models", "List the models in a directory or on a server."),
    "push": ("bookserve.registry.cli:push", "Send bundles to another place."),
    "pull": ("bookserve.registry.cli:pull", "Bring bundles from another place."),
    "serve": ("serve.app.cli:serve", "Serve a directory of models over HTTP and gRPC."),
    "predict": ("clients.predict:predict", "Predict files, standard input or literals."),
    "generate": ("clients.predict:generate", "Let a character model write."),
    "sample": ("clients.sample:sample", "Draw pictures from a model's latent space."),
    "dream": ("clients.images:dream", "Let a network dream of a picture (DeepDream)."),
    "style": ("clients.images:style", "Paint a photo in the style of another picture."),
    "explain": ("clients.images:explain", "Show which parts of a picture speak for a class (Grad-CAM)."),
    "activations": ("clients.images:activations", "Draw what every layer of a convnet gives for a picture."),
    "filters": ("clients.images:filters", "Fetch the patterns that a convnet's filters answer to."),
    "bench": ("clients.bench.cli:bench", "Measure a served model beside the bare runtime."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run or asked for help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in ("bookserve", "trainers", "export", "serve", "clients"):
                raise
            raise click.ClickException(_missing(cmd_name, error)) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bookserve")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors (accepted anywhere on the line).")
def cli(debug: bool) -> None:
    """Train, export, serve and call every model of Deep Learning with R."""


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    arguments, debug = _take_debug(sys.argv[1:])
    try:
        cli.main(arguments, prog_name="bookserve", standalone_mode=False)
        sys.stdout.flush()
    except BookserveError as error:
        _fail(error.message, error.hint, error.exit_code, debug)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing more to flush
        sys.exit(1)
    except ModuleNotFoundError as error:
        _fail(_missing("this command", error), "", 1, debug)
    except Exception as error:  # the last net: a bug must not end in a traceback for a reader of the book
        _fail(f"{type(error).__name__}: {error}", "This is a bug in bookserve; --debug shows where.", 1, debug)


def _take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Split ``--debug`` off the arguments before ``--``, wherever it stands."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return kept + arguments[end:], len(kept) < end


def _fail(message: str, hint: str, exit_code: int, debug: bool) -> None:
    if debug:
        raise
    click.echo(f"{click.style('error:', fg='red')} {message}", err=True)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')}  {hint}", err=True)
    sys.exit(exit_code)


def _missing(command: str, error: ModuleNotFoundError) -> str:
    return f"{command} needs the package '{error.name}'. Install everything with: pip install 'bookserve[all]'"
