"""The processes that rebuild models (``export/sources/old_keras/process.py``): started when needed, and used again.

A process that nobody uses waits for the next model, because its start takes many seconds. It ends with this one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import threading
from typing import Any

from bookserve.cli.programs import python_command

_SETTINGS = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_HOME": os.path.join(os.devnull, "keras"),  # noqa: PTH118 - the user's settings would change the model
    "KERAS_BACKEND": "tensorflow",
}
_idle: list[RebuildProcess] = []
_lock = threading.Lock()


class RebuildProcess:
    """A running process; it has one model at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            python_command("export.sources.old_keras.process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **_SETTINGS},
            start_new_session=True,  # its copies end with it
        )
        atexit.register(self.end)
        #: Whether a model is open, so that the process waits for its requests.
        self.opened = False

    def ask(self, request: dict[str, Any], patience: float) -> dict[str, Any]:
        """Send a request and return the answer; ``{"ended": exit code}`` if there is none within ``patience`` seconds.

        ``request`` is one of those of ``export/sources/old_keras/process.py``.
        """
        timer = threading.Timer(patience, self._kill)
        timer.start()
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline() if self._process.stdout else ""
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        answer: dict[str, Any] = json.loads(line) if line else {"ended": self._process.wait()}
        if "ended" in answer:
            self.opened = False
        elif request["do"] == "open":
            self.opened = "error" not in answer
        return answer

    def import_early(self, keras: str) -> None:
        """Let it import the package ``keras`` now; this does not wait for it."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"do": "import", "keras": keras}), file=self._process.stdin, flush=True)

    @property
    def pid(self) -> int:
        """Its number in the system; the model is in a child of it."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can take a model."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process, whatever it does."""
        atexit.unregister(self.end)
        self._kill()
        self._process.communicate()

    def _kill(self) -> None:
        if self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)


def start_process(keras: str) -> None:
    """Start a process for a model that the package ``keras`` will rebuild, while this one has something else to do."""
    process = RebuildProcess()
    process.import_early(keras)
    with _lock:
        _idle.append(process)


def take_process() -> RebuildProcess:
    """A process without a model: one that waits, else a new one."""
    with _lock:
        while _idle:
            process = _idle.pop()
            if process.alive:
                return process
            process.end()
    return RebuildProcess()


def give_back(process: RebuildProcess) -> None:
    """Close the model of ``process``, and let it wait for another. It is ended if that takes more than ten seconds."""
    if process.opened:
        with contextlib.suppress(OSError, ValueError):
            process.ask({"do": "close"}, patience=10)
    with _lock:
        if process.alive and not process.opened and not _idle:
            _idle.append(process)
            return
    process.end()
