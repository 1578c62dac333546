"""Reads the blocks of commands of a page of the documentation, and runs them as a reader would.

A block of commands is fenced as ``console``: lines with ``$ `` are typed, the others are what they print. A comment
before the block says what a test does with it:

``<!-- run -->``                         runs it and compares what it prints
``<!-- run until ADDRESS answers -->``   starts it in the background, and goes on when the address answers
``<!-- not run: REASON -->``             does not

In the output ``…`` stands for any text within a line, for numbers and paths that vary; a line ``…`` stands for any
number of lines.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tests.servers import free_ports

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
#: Languages whose blocks hold commands, and so need a mark.
COMMANDS = ("console", "sh", "bash")


class Block(NamedTuple):
    """One block of a page."""

    page: Path
    line: int
    mark: str
    language: str
    body: str

    @property
    def reason(self) -> str:
        """Why it is not run; '' if it is."""
        return self.mark.partition("not run: ")[2].strip()


def pages() -> list[Path]:
    """All pages of the documentation."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "deploy").glob("*.md"))]
    return [page for page in found if "decisions" not in page.parts]


def blocks(page: Path) -> list[Block]:
    """The blocks of commands of a page."""
    text = page.read_text("utf-8")
    return [
        Block(page, text[: found.start()].count("\n") + 1, found["mark"] or "", found["language"], found["body"])
        for found in _BLOCK.finditer(text)
        if found["language"] in COMMANDS
    ]


class Reader:
    """Runs the blocks of a page in order, in one directory, with ports of its own in place of 8501 and 8500."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        commands = directory.with_name(f"{directory.name}-bin")
        commands.mkdir()
        for name in ("bookserve", "python"):
            (commands / name).symlink_to(Path(sys.executable).with_name(name))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BOOKSERVE_")},
            "PATH": f"{commands}:{os.environ['PATH']}",
            "COLUMNS": "80",
        }
        first = free_ports(2)
        self.ports = {"8501": str(first), "8500": str(first + 1)}
        self._serve_options = f"bookserve serve --http-port {self.ports['8501']} --grpc-port {self.ports['8500']}"
        self._servers: list[subprocess.Popen[bytes]] = []

    def run(self, block: Block) -> None:
        """Run one block.

        Raises:
            AssertionError: it prints something else than the page shows.
        """
        body = block.body
        for shown, own in self.ports.items():
            body = body.replace(shown, own)
        commands, outputs = [], list[str]()
        for line in body.splitlines():
            if line.startswith("$ "):
                commands.append(line[2:])
                outputs.append("")
            elif commands and commands[-1].endswith("\\"):
                commands[-1] += "\n" + line
            else:
                outputs[-1] += line + "\n"
        for command, output in zip(commands, outputs, strict=True):
            where = f"{block.page.relative_to(ROOT)}:{block.line}: $ {command}"
            if background := re.fullmatch(r"run until (\S+) answers", block.mark):
                self._start(command, re.sub(r"850[01]", lambda port: self.ports[port[0]], background[1]), where)
                continue
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert matches(output, done.stdout), f"{where}\nshown:\n{output}\nprinted:\n{done.stdout}"

    def _start(self, command: str, address: str, where: str) -> None:
        path = self.directory.with_name(f"{self.directory.name}-{len(self._servers)}.log")
        with path.open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", command.replace("bookserve serve", self._serve_options)],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._servers.append(process)
        while True:
            assert process.poll() is None, f"{where}\n{path.read_text('utf-8')}"
            try:
                urllib.request.urlopen(address, timeout=5).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
            else:
                return

    def close(self) -> None:
        """Stop what runs in the background."""
        for process in self._servers:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


def missing_program(block: Block) -> str:
    """The first program of a block that this machine does not have, in words; '' if it has all."""
    words = [line[2:].split()[0] for line in block.body.splitlines() if line.startswith("$ ")]
    missing = (word for word in words if word not in ("bookserve", "python") and not shutil.which(word))
    return next((f"{word} is missing" for word in missing), "")


def matches(shown: str, printed: str) -> bool:
    """Whether output is what a page shows, where ``…`` stands for any text."""
    pattern = ""
    for line in shown.strip().splitlines():
        text = r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line.rstrip()).replace("…", ".*") + r"[ ]*\n"
        pattern += text
    return re.fullmatch(pattern, printed.strip() + "\n" if printed.strip() else "") is not None
