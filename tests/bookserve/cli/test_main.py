"""The entry point of the command line: it imports little, and its errors are clear."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bookserve.cli.main import COMMANDS

HEAVY = (
    "tensorflow",
    "keras",
    "onnx",
    "onnxruntime",
    "grpc",
    "starlette",
    "uvicorn",
    "httpx",
    "matplotlib",
    "PIL",
    "rich",
)


def bookserve(*arguments: str, before: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv = {['bookserve', *arguments]!r}\n{before}\nfrom bookserve.cli.main import main\n"
    code += f"try:\n    main()\nfinally:\n    {after or 'pass'}\n"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), *((name,) for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    done = bookserve(*arguments, "--help", after=f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert "Usage: bookserve" in done.stdout
    assert "HEAVY []" in done.stdout


def test_the_help_lists_every_command() -> None:
    listed = bookserve("--help").stdout
    for name, (_, line) in COMMANDS.items():
        assert name in listed
        assert line in listed


def test_unknown_commands_and_options_are_usage_errors() -> None:
    for arguments in (("nonsense",), ("serve", "--nonsense"), ("predict",)):
        done = bookserve(*arguments)
        assert done.returncode == 2
        assert "Error" in done.stderr
        assert "Traceback" not in done.stderr


FAIL = """import bookserve.cli.main, click
@click.command()
def broken(): {}
bookserve.cli.main.LazyGroup.get_command = lambda *a: broken
"""


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("from bookserve.errors import NotFound; raise NotFound('no x.', 'try y')", 3, "hint:  try y"),
        ("from bookserve.errors import InvalidInput; raise InvalidInput('bad x.')", 5, "error: bad x."),
        ("from bookserve.errors import NotReady; raise NotReady('no server.')", 4, "no server"),
        ("from bookserve.errors import Failed; raise Failed('broke.')", 1, "broke"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("raise RuntimeError('oops')", 1, "bug"),
        ("import no_such_package", 1, "no_such_package"),
    ],
)
def test_errors_are_a_sentence_and_an_exit_code(body: str, code: int, says: str) -> None:
    done = bookserve("x", before=FAIL.format(body))
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("--debug", "x"), ("x", "--debug")])
def test_debug_shows_the_traceback(arguments: tuple[str, ...]) -> None:
    done = bookserve(*arguments, before=FAIL.format("raise RuntimeError('oops')"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "import sys; sys.argv = ['bookserve', 'x']\n"
        + FAIL.format("[click.echo('y' * 1000) for _ in range(10000)]")
        + "\nbookserve.cli.main.main()"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout
    assert writer.stderr
    writer.stdout.read(10)
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait() == 1  # as click does
