"""``make test-clients`` runs every script beside it, with versions that are pinned."""

from __future__ import annotations

import re

import pytest

from tests.serve.protocols.clients import check


def test_every_script_is_run_and_every_package_is_pinned() -> None:
    scripts = {path.stem for path in check.HERE.glob("*_client.*")}
    assert scripts == {client.script for client in check.PYTHON} | {"openai_client", "httr2_client"}
    packages = [package for client in check.PYTHON for package in client.packages] + [check.NODE_PACKAGE]
    assert all(re.fullmatch(r"[a-z-]+(\[[a-z,]+\])?(==|@)[0-9.]+", package) for package in packages)


def test_a_client_that_nobody_knows_is_refused() -> None:
    with pytest.raises(SystemExit, match="no such client: curl"):
        check.main(["curl"])
