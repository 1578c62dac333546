"""Write the OpenAPI document of this server to ``docs/openapi.json``, or check that the file is up to date.

python -m serve.app.pages [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from serve.app.openapi import openapi_document
from serve.app.pages import describe
from serve.protocols.base import load_protocols

_FILE = Path(__file__).parents[3] / "docs/openapi.json"


@click.command()
@click.option("--check", is_flag=True, help="Fail where the file is out of date.")
def main(check: bool) -> None:
    """Write docs/openapi.json."""
    parts = [*(protocol.openapi() for protocol in load_protocols()), describe()]
    text = json.dumps(openapi_document(parts), indent=1, ensure_ascii=False) + "\n"
    if not check:
        _FILE.write_text(text, "utf-8")
    elif not _FILE.exists() or _FILE.read_text("utf-8") != text:
        sys.exit("docs/openapi.json is out of date; write it with: python -m serve.app.pages")


if __name__ == "__main__":
    main()
