"""TLS and mutual TLS, over HTTP and gRPC, with certificates made by openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.serve.processes import FREE, refused
from tests.servers import GRPC_SERVERS, Server, start

pytestmark = [
    pytest.mark.slow,  # starts servers
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed"),
]

MODELS = "/bookserve.v1.Bookserve/Models"


def openssl(home: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority ``ca``, and ``server``, ``client`` signed by it; ``stranger`` is signed by itself."""
    home = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    ca = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(home, "req", "-x509", *key, "-subj", "/CN=authority", *ca, "-keyout", "ca.key", "-out", "ca.pem")
    openssl(home, "req", "-x509", *key, "-subj", "/CN=stranger", "-keyout", "stranger.key", "-out", "stranger.pem")
    (home / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        openssl(home, "req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl(home, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    return home


def options(home: Path, mutual: bool) -> list[str]:
    given = ["--tls-certificate", str(home / "server.pem"), "--tls-key", str(home / "server.key")]
    return [*given, "--tls-client-ca", str(home / "ca.pem")] if mutual else given


@pytest.fixture(scope="module", params=GRPC_SERVERS)
def secure(request: pytest.FixtureRequest, models: Path, certificates: Path) -> Iterator[Server]:
    with start(models, *options(certificates, mutual=False), "--grpc-server", request.param) as running:
        yield running


@pytest.fixture(scope="module", params=GRPC_SERVERS)
def mutual(request: pytest.FixtureRequest, models: Path, certificates: Path) -> Iterator[Server]:
    with start(models, *options(certificates, mutual=True), "--grpc-server", request.param) as running:
        yield running


def context(home: Path, name: str = "") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=home / "ca.pem")
    if name:
        made.load_cert_chain(home / f"{name}.pem", home / f"{name}.key")
    return made


def over_grpc(server: Server, home: Path, name: str = "", root: str = "ca") -> bytes:
    pair = [(home / f"{name}.{part}").read_bytes() for part in ("key", "pem")] if name else [None, None]
    credentials = grpc.ssl_channel_credentials((home / f"{root}.pem").read_bytes(), *pair)
    target = server.grpc.removeprefix("grpcs://")
    with grpc.secure_channel(target, credentials, [("grpc.enable_http_proxy", 0)]) as channel:
        return channel.unary_unary(MODELS)(b"", timeout=10)  # type: ignore[no-any-return]


def test_both_protocols_are_encrypted(secure: Server, certificates: Path) -> None:
    assert secure.http.startswith("https://")
    assert secure.grpc.startswith("grpcs://")
    answer = httpx.get(f"{secure.http}/api/models", verify=context(certificates), trust_env=False)
    assert len(answer.json()["models"]) == 6
    assert b"affine" in over_grpc(secure, certificates)


def test_plain_text_is_refused_and_the_server_lives_on(secure: Server, certificates: Path) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http{secure.http.removeprefix('https')}/healthz", trust_env=False)
    target = secure.grpc.removeprefix("grpcs://")
    with (
        grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel,
        pytest.raises(grpc.RpcError),
    ):
        channel.unary_unary(MODELS)(b"", timeout=5)
    assert b"affine" in over_grpc(secure, certificates)


def test_a_client_that_trusts_another_authority_does_not_connect(secure: Server, certificates: Path) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{secure.http}/healthz", trust_env=False)
    with pytest.raises(grpc.RpcError):
        over_grpc(secure, certificates, root="stranger")


def test_old_versions_of_tls_are_refused(secure: Server, certificates: Path) -> None:
    old = context(certificates)
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{secure.http}/healthz", verify=old, trust_env=False)


def test_mutual_tls_admits_who_the_authority_signed(mutual: Server, certificates: Path) -> None:
    answer = httpx.get(f"{mutual.http}/healthz", verify=context(certificates, "client"), trust_env=False)
    assert answer.status_code == 200
    assert b"affine" in over_grpc(mutual, certificates, "client")


@pytest.mark.parametrize("name", ["", "stranger"])
def test_mutual_tls_refuses_everybody_else(mutual: Server, certificates: Path, name: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{mutual.http}/healthz", verify=context(certificates, name), trust_env=False)
    with pytest.raises(grpc.RpcError) as caught:
        over_grpc(mutual, certificates, name)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_files_that_do_not_belong_together_are_told_before_anything_starts(models: Path, certificates: Path) -> None:
    for given, code, said in (
        (["--tls-certificate", str(certificates / "server.pem")], 5, "both --tls-certificate and --tls-key"),
        (
            ["--tls-certificate", str(certificates / "server.pem"), "--tls-key", str(certificates / "client.key")],
            5,
            "key",
        ),
        (["--tls-certificate", str(certificates / "names"), "--tls-key", str(certificates / "server.key")], 5, "PEM"),
        (["--tls-certificate", "nowhere.pem", "--tls-key", str(certificates / "server.key")], 3, "nowhere.pem"),
    ):
        exit_code, told = refused(str(models), *FREE, *given)
        assert exit_code == code
        assert said in told
