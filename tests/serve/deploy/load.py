"""Asks one address for predictions from several threads until its standard input ends; prints what it met as JSON.

``python -m tests.serve.deploy.load HOST PORT THREADS PATH BODY ANSWER``. Each thread keeps its connection, as clients
do, and pauses a little between two requests.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time


class Client(threading.Thread):
    """One client: every answer must be 200 and exact."""

    def __init__(self, host: str, port: int, path: str, body: str, answer: object) -> None:
        super().__init__(daemon=True)
        self._address = host, port
        self._path = path
        self._body = body
        self._answer = answer
        self.stopping = threading.Event()
        self.seconds: list[float] = []
        self.failures: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        while not self.stopping.wait(0.02):
            began = time.perf_counter()
            try:
                connection.request("POST", self._path, self._body)
                response = connection.getresponse()
                content = response.read()
                if response.status != 200 or json.loads(content) != self._answer:
                    self.failures.append(f"{response.status}: {content[:200]!r}")
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                connection.close()
            self.seconds.append(time.perf_counter() - began)


def main() -> None:
    host, port, threads, path, body, answer = sys.argv[1:]
    clients = [Client(host, int(port), path, body, json.loads(answer)) for _ in range(int(threads))]
    for client in clients:
        client.start()
    for _ in sys.stdin:  # each line asks for what was met since the last one
        met = [(client.seconds, client.failures) for client in clients]
        for client in clients:
            client.seconds, client.failures = [], []
        seconds = sorted(second for found, _ in met for second in found)
        report = {
            "count": len(seconds),
            "failures": [failure for _, found in met for failure in found],
            "p99": seconds[int(len(seconds) * 0.99)] if seconds else 0.0,
            "longest": seconds[-1] if seconds else 0.0,
        }
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join(60)


if __name__ == "__main__":
    main()
