"""Arguments of ``connect`` and their environment variables, without a server."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from bookserve.client import connect
from bookserve.client.certificates import trusted_roots
from bookserve.client.retry import RetryPolicy, TryAgain
from bookserve.client.settings import RETRIES, TIMEOUT, Settings, parse_headers, read_settings
from bookserve.errors import BookserveError, InvalidInput, NotFound, Overloaded


def test_nothing_given() -> None:
    assert read_settings(environment={}) == Settings((), None, None, None, TIMEOUT, RETRIES)


def test_the_environment_is_used_where_nothing_is_given(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    environment = {
        "BOOKSERVE_API_KEY": "secret",
        "BOOKSERVE_HEADER": "X-Team: birds\n\nx-run: 7: a",
        "BOOKSERVE_CA": str(tmp_path / "ca.pem"),
        "BOOKSERVE_TIMEOUT": "2.5",
        "BOOKSERVE_RETRIES": "0",
    }
    sent = (("x-team", "birds"), ("x-run", "7: a"), ("authorization", "Bearer secret"))
    assert read_settings(environment=environment) == Settings(sent, tmp_path / "ca.pem", None, None, 2.5, 0)
    given = read_settings("other", {}, timeout=3, retries=1, environment=environment)
    assert given == Settings((("authorization", "Bearer other"),), tmp_path / "ca.pem", None, None, 3.0, 1)


@pytest.mark.parametrize(
    ("kind", "complaint", "given"),
    [
        (InvalidInput, "timeout is '0'", {"timeout": 0}),
        (InvalidInput, "timeout is 'nan'", {"timeout": float("nan")}),
        (InvalidInput, "retries is '-1'", {"retries": -1}),
        (InvalidInput, "name of a header", {"headers": {"a b": "c"}}),
        (InvalidInput, "value of 'x'", {"headers": {"x": "a\r\nb: c"}}),
        (InvalidInput, "value of 'API key'", {"api_key": "schlüssel"}),
        (NotFound, r"no file 'nowhere.pem' \(ca\)", {"ca": "nowhere.pem"}),
        (InvalidInput, "without its certificate", {"key": __file__}),
    ],
)
def test_what_cannot_be_used(kind: type[BookserveError], complaint: str, given: dict[str, Any]) -> None:
    with pytest.raises(kind, match=complaint):
        read_settings(**given, environment={})


def test_a_secret_is_not_printed() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_settings(api_key="geheim\x00", environment={})
    assert "geheim" not in str(caught.value)
    with pytest.raises(InvalidInput, match="is not a header"):
        parse_headers(["no colon"])


def test_connect_takes_the_address_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BOOKSERVE_URL", raising=False)
    with pytest.raises(InvalidInput, match="BOOKSERVE_URL"):
        connect()
    monkeypatch.setenv("BOOKSERVE_URL", f"local:{tmp_path}")
    with connect() as client:
        assert client.models() == []


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_certificates_have_no_use_without_encryption(scheme: str) -> None:
    with pytest.raises(InvalidInput, match=f"Use {scheme}s://host:1"):
        connect(f"{scheme}://host:1", ca=__file__)


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
@pytest.mark.parametrize("name", ["ca", "cert"])
def test_files_that_hold_no_certificate(scheme: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("certificates")
    with pytest.raises(InvalidInput, match=r"no\.pem"):
        connect(f"{scheme}://host:1", **{name: tmp_path / "no.pem"})


def test_the_system_says_whom_grpc_trusts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    file.write_bytes(b"-----BEGIN CERTIFICATE-----")
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(file))
    assert trusted_roots(Settings()) == file.read_bytes()


def test_what_may_succeed_later_is_tried_again_after_a_pause() -> None:
    pauses: list[float] = []
    busy = Overloaded("the queue is full.")
    failures = [TryAgain(busy), TryAgain(busy, after=3)]

    def attempt(left: float) -> str:
        assert 0 < left <= 60
        if failures:
            raise failures.pop(0)
        return "answer"

    assert RetryPolicy(2, 60, pauses.append).call(attempt) == "answer"
    assert 0.05 <= pauses[0] <= 0.1
    assert pauses[1] == 3


@pytest.mark.parametrize(("retries", "timeout", "tried"), [(0, 60, 1), (3, 60, 4), (3, 0.01, 1)])
def test_the_last_error_is_raised(retries: int, timeout: float, tried: int) -> None:
    calls = []

    def attempt(left: float) -> None:
        calls.append(left)
        raise TryAgain(Overloaded("the queue is full."))

    with pytest.raises(Overloaded, match="queue is full"):
        RetryPolicy(retries, timeout, lambda seconds: None).call(attempt)
    assert len(calls) == tried
