"""Runs several worker processes that serve the same addresses, and replaces those that die.

The parent process loads no models and answers no requests. It holds the ports, so that no other program takes them.
Each worker listens on them itself, and the kernel distributes the connections. A worker listens only after its models
are loaded, so a killed worker loses only the requests that it was working on.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import msgspec

from bookserve.errors import BY_CODE, BookserveError, Failed
from serve.app import server
from serve.app.server import Ready, Worker
from serve.app.settings import Settings
from serve.observability.metrics import Metrics
from serve.transport.sockets import bind_tcp

#: Seconds to wait before replacing a worker that died soon after its start.
_BACKOFF = 1.0
#: A worker that ran for this many seconds has not died at its start.
_STARTED_SECONDS = 5.0
#: File with the sum of the counts of workers that have ended.
ENDED_WORKERS = "gone"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

logger = logging.getLogger("bookserve")


class _StartReport(msgspec.Struct):
    """The message of a worker to its parent: it is ready, or it could not start."""

    ready: list[object] | None = None
    error: tuple[str, str, str] | None = None


def run(settings: Settings, ready: Callable[[Ready], None]) -> None:
    """Serve with ``settings.workers`` processes; otherwise like ``server.run``.

    Raises:
        NotFound, InvalidInput, Failed: see ``server.run``; the error of the first worker that could not start.
    """
    with (
        bind_tcp("HTTP", settings.host, settings.http_port, shared=True) as http,
        bind_tcp("gRPC", settings.host, settings.grpc_port, shared=True) as grpc,
        tempfile.TemporaryDirectory(prefix="bookserve-") as counts,
    ):
        ports = {"http_port": http.getsockname()[1], "grpc_port": grpc.getsockname()[1]}
        _Supervisor(msgspec.structs.replace(settings, **ports), Path(counts)).run(ready)


class _Supervisor:
    def __init__(self, settings: Settings, counts: Path) -> None:
        self._settings = settings
        self._counts = counts
        #: Number and start time (``time.monotonic``) of each worker by process id.
        self._workers: dict[int, tuple[int, float]] = {}
        self._stopping = False
        self._lifeline, self._life = os.pipe()

    def run(self, ready: Callable[[Ready], None]) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._stop)
        pipes = [self._start(number) for number in range(self._settings.workers)]
        reports = [self._read_report(pipe) for pipe in pipes]
        errors = [report.error for report in reports if report.error]
        if errors:
            self._stop(signal.SIGTERM)
        elif all(report.ready for report in reports):
            ready(msgspec.convert(reports[0].ready, Ready))
        self._watch()
        os.close(self._life)
        os.close(self._lifeline)
        if errors:
            code, message, hint = errors[0]
            raise BY_CODE.get(code, Failed)(message, hint)
        logger.info("stopped")

    def _start(self, number: int) -> int:
        """Start the worker of that number; the read end of the pipe for its report."""
        read_end, write_end = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # no signal may come before the new worker is recorded
        pid = os.fork()
        if not pid:
            os.close(read_end)
            os.close(self._life)
            self._work(number, write_end)
        os.close(write_end)
        self._workers[pid] = number, time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return read_end

    def _work(self, number: int, write_end: int) -> NoReturn:
        """The whole life of a worker process."""
        code = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C reaches only the parent, which forwards it
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)  # the server installs its own handlers
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

            def send_report(report: _StartReport) -> None:
                with suppress(OSError):
                    os.write(write_end, msgspec.json.encode(report) + b"\n")
                    os.close(write_end)

            try:
                worker = Worker(number, self._counts, self._lifeline)
                server.run(self._settings, lambda ready: send_report(_StartReport(list(ready))), worker)
                code = 0
            except BookserveError as error:
                send_report(_StartReport(error=(error.code, error.message, error.hint)))
                logger.error("worker %d: %s", os.getpid(), error)
        except BaseException:
            logger.exception("worker %d failed", os.getpid())
        finally:
            logging.shutdown()
            os._exit(code)  # skips the cleanup of what the parent process opened

    def _read_report(self, pipe: int) -> _StartReport:
        with os.fdopen(pipe, "rb") as reader:
            line = reader.readline()
        return (
            msgspec.json.decode(line, type=_StartReport)
            if line
            else _StartReport(error=("failed", "a worker did not start.", ""))
        )

    def _watch(self) -> None:
        """Replace workers that end, until the last one has stopped."""
        while self._workers:
            pid, status = os.waitpid(-1, 0)
            ended = self._workers.pop(pid, None)
            if ended is None:
                continue
            number, started = ended
            self._keep_counts(pid)
            if not self._stopping:
                logger.error("worker %d ended (%s); another takes its place", pid, _exit_reason(status))
                if time.monotonic() - started < _STARTED_SECONDS:
                    time.sleep(_BACKOFF)
                if not self._stopping:
                    os.close(self._start(number))

    def _keep_counts(self, pid: int) -> None:
        """Keep the counts of a worker that has ended: a total that decreases would look like a restart."""
        total, ended = Metrics(self._counts, self._settings.metrics_models), self._counts / ENDED_WORKERS
        path = self._counts / str(pid)
        for source in (ended, path):
            with suppress(OSError, msgspec.DecodeError):
                total.add(source.read_bytes(), gauges=False)
        path.unlink(missing_ok=True)
        (self._counts / ".gone").write_bytes(total.state())
        (self._counts / ".gone").rename(ended)

    def _stop(self, number: int, _: object = None) -> None:
        self._stopping = True
        for pid in list(self._workers):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _exit_reason(status: int) -> str:
    return (
        f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.waitstatus_to_exitcode(status)}"
    )
