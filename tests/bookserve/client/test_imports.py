"""What importing the client library and connecting with it import."""

from __future__ import annotations

import subprocess
import sys

import pytest

TABLES = {"pandas", "polars", "pyarrow", "torch"}
HEAVY = {*TABLES, "httpx", "grpc", "onnxruntime", "PIL", "rich", "google.protobuf", "tensorflow", "scipy", "starlette"}


def imported(code: str) -> set[str]:
    """Those of ``HEAVY`` that ``code`` imports in a new process."""
    script = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    "code", ["import bookserve", "from bookserve import connect", "import bookserve.client", "import clients.predict"]
)
def test_importing_the_client_imports_nothing_heavy(code: str) -> None:
    assert imported(code) == set()


@pytest.mark.parametrize(
    ("address", "expected"),
    [("http://127.0.0.1:1", {"httpx"}), ("grpc://127.0.0.1:1", {"grpc", "google.protobuf"})],
)
def test_connecting_imports_what_the_address_needs(address: str, expected: set[str]) -> None:
    found = imported(f"from bookserve import connect; connect('{address}').close()")
    assert expected <= found
    assert not (found - expected) & {"httpx", "grpc", "onnxruntime", "tensorflow"}


def test_the_name_that_older_model_cards_show_still_works() -> None:
    assert imported("from clients import connect; assert connect is __import__('bookserve').connect") == set()
