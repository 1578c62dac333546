"""Open a Keras model that needs classes and functions of the user's own module, in a process of its own.

A model file cannot bring code along. The user names a Python file that he trusts (``--trust-module``); it is run in a
process beside the exporter, which loads the model, writes it as a SavedModel, and answers for it. The process is
``export/sources/trusted_process.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bookserve.bundle.examples import Example, Examples
from bookserve.cli.programs import python_command
from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays

_GRAPH = "serving_default"


class TrustedModel:
    """A Keras model in a process that has the user's module; it has what ``KerasFile`` has."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process, self._directory = process, directory
        #: See ``KerasFile.names``.
        self.names: dict[str, list[str]] = self._request({"do": "load"})

    def save(self, directory: Path) -> None:
        """See ``KerasFile.save``."""
        self._request({"do": "save", "directory": str(directory)})

    def run(self, feeds: Arrays) -> Arrays:
        """See ``KerasFile.run``."""
        given, answered = self._directory / "inputs.npz", self._directory / "outputs.npz"
        Examples({_GRAPH: Example(feeds, {})}).save(given)
        self._request({"do": "run", "inputs": str(given), "outputs": str(answered)})
        return Examples.load(answered).graphs[_GRAPH].outputs

    def _request(self, request: dict[str, str]) -> Any:
        """Send one request and return the answer.

        Raises:
            InvalidInput, Failed: what the process raised; ``Failed`` if it ended.
        """
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline() if self._process.stdout else ""
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            raise Failed(f"the process with the trusted module ended with exit code {code} (request: {request['do']}).")
        answer = json.loads(line)
        if "error" in answer:
            kind = InvalidInput if answer["kind"] == "InvalidInput" else Failed
            raise kind(answer["error"], answer["hint"])
        return answer


@contextmanager
def open_trusted(path: Path, module: Path) -> Iterator[TrustedModel]:
    """Load the ``.keras`` file ``path`` in a process that has run ``module``; the process ends afterwards.

    Raises:
        InvalidInput: the module cannot be run, or the file needs code that it does not have.
        Failed: the process ended.
    """
    settings = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    process = subprocess.Popen(
        python_command("export.sources.trusted_process", str(path), str(module)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **settings},
    )
    try:
        with tempfile.TemporaryDirectory(prefix="bookserve-") as directory:
            yield TrustedModel(process, Path(directory))
    finally:
        process.kill()
        process.communicate()
