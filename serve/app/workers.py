"""Workers: several processes that serve the same addresses, and the one that starts them and replaces those that die.

That one loads nothing and answers nothing. It holds the ports, so that nobody else takes them; each worker listens on
them itself, and the kernel spreads the connections over those that do. A worker listens only once it can answer, so
one that is killed costs the requests that it had, and no others.
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

#: Seconds to wait before a worker is replaced that died as soon as it had started.
_BACKOFF = 1.0
#: A worker that lived for so many seconds had started well.
_STARTED_SECONDS = 5.0
#: Where the counts of dead workers are kept.
ENDED_WORKERS = "gone"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

logger = logging.getLogger("bookserve")


class _StartReport(msgspec.Struct):
    """What a worker tells once: that it is ready, or why it never will be."""

    ready: list[object] | None = None
    error: tuple[str, str, str] | None = None


def run(settings: Settings, ready: Callable[[Ready], None]) -> None:
    """Serve with ``settings.workers`` processes; else as ``server.run``.

    Raises:
        NotFound, InvalidInput, Failed: as ``server.run``, from whichever worker said so first.
    """
    with (
        bind_tcp("HTTP", settings.host, settings.http_port, shared=True) as http,
        bind_tcp("gRPC", settings.host, settings.grpc_port, shared=True) as grpc,
        tempfile.TemporaryDirectory(prefix="bookserve-") as counts,
    ):
        found = {"http_port": http.getsockname()[1], "grpc_port": grpc.getsockname()[1]}
        _Supervisor(msgspec.structs.replace(settings, **found), Path(counts)).run(ready)


class _Supervisor:
    def __init__(self, settings: Settings, counts: Path) -> None:
        self._settings = settings
        self._counts = counts
        #: Start of each worker by its process number.
        self._workers: dict[int, float] = {}
        self._stopping = False
        self._lifeline, self._life = os.pipe()

    def run(self, ready: Callable[[Ready], None]) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._stop)
        pipes = [self._start() for _ in range(self._settings.workers)]
        told = [self._hear(pipe) for pipe in pipes]
        errors = [one.error for one in told if one.error]
        if errors:
            self._stop(signal.SIGTERM)
        elif all(one.ready for one in told):
            ready(msgspec.convert(told[0].ready, Ready))
        self._watch()
        os.close(self._life)
        os.close(self._lifeline)
        if errors:
            code, message, hint = errors[0]
            raise BY_CODE.get(code, Failed)(message, hint)
        logger.info("stopped")

    def _start(self) -> int:
        """Start a worker; the end of a pipe from which to hear what it tells."""
        hears, tells = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # none may come between the fork and knowing of the worker
        pid = os.fork()
        if not pid:
            os.close(hears)
            os.close(self._life)
            self._work(tells)
        os.close(tells)
        self._workers[pid] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return hears

    def _work(self, tells: int) -> NoReturn:
        """The whole life of a worker process."""
        code = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C goes to the parent alone, which hands it on
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)  # the server has its own
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

            def tell(told: _StartReport) -> None:
                with suppress(OSError):
                    os.write(tells, msgspec.json.encode(told) + b"\n")
                    os.close(tells)

            try:
                worker = Worker(self._counts, self._lifeline)
                server.run(self._settings, lambda ready: tell(_StartReport(list(ready))), worker)
                code = 0
            except BookserveError as error:
                tell(_StartReport(error=(error.code, error.message, error.hint)))
                logger.error("worker %d: %s", os.getpid(), error)
        except BaseException:
            logger.exception("worker %d broke", os.getpid())
        finally:
            logging.shutdown()
            os._exit(code)  # what the parent process opened is the parent's to close

    def _hear(self, pipe: int) -> _StartReport:
        with os.fdopen(pipe, "rb") as reader:
            line = reader.readline()
        return (
            msgspec.json.decode(line, type=_StartReport)
            if line
            else _StartReport(error=("failed", "a worker did not start.", ""))
        )

    def _watch(self) -> None:
        """Replace workers that die, until the last one has stopped."""
        while self._workers:
            pid, status = os.waitpid(-1, 0)
            started = self._workers.pop(pid, None)
            if started is None:
                continue
            self._bury(pid)
            if not self._stopping:
                logger.error("worker %d ended (%s); another takes its place", pid, _exit_reason(status))
                if time.monotonic() - started < _STARTED_SECONDS:
                    time.sleep(_BACKOFF)
                if not self._stopping:
                    os.close(self._start())

    def _bury(self, pid: int) -> None:
        """Keep the counts of a worker that is gone: a total that shrinks would look like a restart."""
        kept, gone = Metrics(), self._counts / ENDED_WORKERS
        path = self._counts / str(pid)
        for source in (gone, path):
            with suppress(OSError, msgspec.DecodeError):
                kept.add(source.read_bytes(), gauges=False)
        path.unlink(missing_ok=True)
        (self._counts / ".gone").write_bytes(kept.state())
        (self._counts / ".gone").rename(gone)

    def _stop(self, number: int, _: object = None) -> None:
        self._stopping = True
        for pid in list(self._workers):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _exit_reason(status: int) -> str:
    return (
        f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.waitstatus_to_exitcode(status)}"
    )
