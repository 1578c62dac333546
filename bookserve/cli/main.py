"""Run the command ``bookserve``; the package behind a command is imported only when that command runs.

An error is printed to standard error as one sentence with a hint. Each kind (``bookserve.errors``) has its exit code:
0 success, 1 failed, 2 wrong usage, 3 not found, 4 unreachable or overloaded, 5 invalid input, 130 interrupted.
``--debug`` shows tracebacks.
"""

from __future__ import annotations

import io
import os
import sys

import click

from bookserve import __version__
from bookserve.cli.encoding import is_utf8
from bookserve.cli.programs import FLEET, PROGRAMS, import_module
from bookserve.environment import turn_off_telemetry
from bookserve.errors import BookserveError, did_you_mean

#: The variable that forbids colours (https://no-color.org).
_NO_COLOR = "NO_COLOR"

#: Command → module and function, and its line in the help (so that ``--help`` imports neither).
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("bookserve.cli.demo:demo", "Serve the trained models, call them, and train one more."),
    "doctor": ("bookserve.cli.doctor:doctor", "Show what works on this machine, and what is missing."),
    "tasks": ("trainers.cli.listing:tasks", "List the models of the book, with the book's figures and ours."),
    "train": ("trainers.cli.train:train", "Train models of the book."),
    "search": ("trainers.cli.search:search", "Search for better hyperparameters of a task."),
    "finish": ("trainers.cli.finish:finish", "Write what a training without TensorFlow left out."),
    "runs": ("trainers.cli.listing:runs", "List training runs."),
    "compare": ("trainers.cli.compare:compare", "Compare two runs: settings, figures, and which is better."),
    "inside": ("trainers.cli.inspect:inside", "Draw what a trained network sees in a picture, and why."),
    "export": ("export.cli:export", "Export a training run, or any model, as a bundle."),
    "compose": ("export.cli:compose", "Combine several models into one that averages their answers."),
    "verify": ("export.cli:verify", "Check that ONNX and SavedModel give the same answers."),
    "models": ("clients.predict:models", "List the models in a directory or on a server."),
    "push": ("bookserve.registry.cli:push", "Copy bundles to a directory, bucket or server."),
    "pull": ("bookserve.registry.cli:pull", "Copy bundles from a directory, bucket or web site."),
    "serve": ("serve.app.cli:serve", "Serve a directory of models over HTTP and gRPC."),
    "fleet": ("fleet.cli:fleet", "Serve from many machines, with Ray as control plane."),
    "config": ("clients.config:config", "Keep addresses and keys of servers in a file."),
    "completion": ("bookserve.cli.completion:completion", "Print a script that completes commands in a shell."),
    "predict": ("clients.predict:predict", "Predict files, standard input or values."),
    "generate": ("clients.generate:generate", "Generate text with a character model."),
    "sample": ("clients.sample:sample", "Generate pictures from a model's latent space."),
    "dream": ("clients.images:dream", "Change a picture by DeepDream."),
    "style": ("clients.images:style", "Apply the style of one picture to another."),
    "explain": ("clients.images:explain", "Show which parts of a picture count for a class (Grad-CAM)."),
    "activations": ("clients.images:activations", "Draw the activations of every layer for a picture."),
    "filters": ("clients.images:filters", "Draw the patterns that a convnet's filters respond to."),
    "bench": ("clients.bench.cli:bench", "Compare a served model's speed with ONNX Runtime alone."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when they run or show their help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click; a name that does not exist is answered with similar ones."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], COMMANDS) or "See all commands with: bookserve --help"
            ctx.fail(f"No such command '{args[0]}'. {hint.strip()}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in ("bookserve", *PROGRAMS, FLEET):
                raise
            raise click.ClickException(missing_package(cmd_name, error)) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bookserve")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors; allowed anywhere on the line.")
def cli(debug: bool) -> None:
    """Train, export, serve and call the models of Deep Learning with R."""


def main() -> None:
    """Run the command line and exit with its exit code."""
    _prepare_streams()
    turn_off_telemetry()  # here, too: the exporter imports tools of ONNX Runtime, and processes inherit it
    arguments, debug = _take_debug(list(map(_as_utf8, sys.argv[1:])))
    try:
        color = False if _NO_COLOR in os.environ else None
        code = cli.main(arguments, prog_name="bookserve", standalone_mode=False, color=color)
        sys.stdout.flush()
        if isinstance(code, int):  # from Context.exit
            sys.exit(code)
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no one reads standard output any more
        sys.exit(1)
    except ModuleNotFoundError as error:
        _fail(missing_package("this command", error), "", 1, debug)
    except Exception as error:  # a bug must not show a traceback unless --debug asks for one
        _fail(f"{type(error).__name__}: {error}", "This is a bug in bookserve; --debug shows where.", 1, debug)


def _prepare_streams() -> None:
    """In a locale that is not UTF-8, characters that it lacks become question marks; they end no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not is_utf8(stream):
            stream.reconfigure(errors="replace")


def _as_utf8(argument: str) -> str:
    """An argument as it was typed, where the locale's encoding could not read it."""
    try:
        return argument if argument.isprintable() else os.fsencode(argument).decode()
    except UnicodeError:
        return argument


def _take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Split ``--debug`` off the arguments before ``--``, wherever it stands."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return kept + arguments[end:], len(kept) < end


def _fail(message: str, hint: str, exit_code: int, debug: bool) -> None:
    if debug:
        raise
    color = False if _NO_COLOR in os.environ else None
    click.echo(f"{click.style('error:', fg='red')} {message}", err=True, color=color)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')}  {hint}", err=True, color=color)
    sys.exit(exit_code)


def missing_package(command: str, error: ModuleNotFoundError) -> str:
    """What a user is told when a package is not installed."""
    return f"{command} needs the package '{error.name}'. Install everything with: pip install 'bookserve[all]'"
