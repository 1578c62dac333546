"""The files of the playground, without a browser: what they may load, how large they are, that their parts exist."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import PurePosixPath

import httpx
import pytest

from serve.app.pages.static_files import HEADERS, PAGES, POLICY, needs_no_key, static_files

FILES = static_files()
TEXTS = {path: file.content.decode() for path, file in FILES.items() if file.media_type != "image/svg+xml"}


class Tags(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_they_are_small() -> None:
    assert sum(len(text.encode()) for text in TEXTS.values()) < 150_000
    assert not [path for path, text in TEXTS.items() if text.count("\n") > 600]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_inline_code_and_all_that_it_names_exists(page: str) -> None:
    for tag, attributes in Tags(TEXTS[page]).found:
        assert tag != "style" and not [name for name in attributes if name.startswith("on") or name == "style"]
        assert tag != "script" or attributes.get("src")
        for name in ("src", "href"):
            target = attributes.get(name) or ""
            assert not target or target.startswith(("#", "/api/")) or target in FILES, target


def test_every_module_that_is_imported_exists() -> None:
    imports = re.compile(r"(?:from|import) *\(?[\"'`](\.[^\"'`]+)[\"'`]")
    seen = 0
    for path, text in TEXTS.items():
        for target in imports.findall(text) if path.endswith(".js") else ():
            if "${" in target:
                continue
            parts: list[str] = []
            for part in (PurePosixPath(path).parent / target).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            assert "/".join(parts).replace("//", "/") in FILES, f"{path} imports {target}"
            seen += 1
    assert seen > 30


def test_every_widget_that_can_be_chosen_exists() -> None:
    text = TEXTS["/static/widgets/index.js"]
    names = set(re.findall(r': "(\w+)"', text)) | set(re.findall(r'(?:return|\?\?) "(\w+)"', text))
    assert {"digit", "photo", "text", "sliders", "series", "rows", "generate", "latent", "transform"} == names
    assert not [name for name in names if f"/static/widgets/{name}.js" not in FILES]


def test_nothing_comes_from_elsewhere() -> None:
    for path, text in TEXTS.items():
        found = re.findall(r"https?://(?!www\.w3\.org/)[^\s\"'`]*", text)
        assert not found, f"{path}: {found}"


def test_the_policy_forbids_inline_code() -> None:
    assert "unsafe" not in POLICY and POLICY.startswith("default-src 'none'; script-src 'self'; style-src 'self';")


def test_pages_are_sent_with_the_policy_and_only_when_they_changed(http: httpx.Client) -> None:
    for path in ("/", "/docs", "/models/affine", "/static/style.css", "/static/widgets/index.js"):
        reply = http.get(path)
        assert reply.status_code == 200
        assert {name: reply.headers[name] for name in HEADERS} == HEADERS
        assert http.get(path, headers={"if-none-match": reply.headers["etag"]}).status_code == 304
    assert http.get("/static/nothing.js").status_code == 404
    assert http.get("/static/../style.css").status_code == 404
    assert http.get("/models/a/b").status_code == 404


def test_only_the_files_themselves_need_no_key() -> None:
    assert all(needs_no_key(path) for path in FILES) and needs_no_key("/models/any")
    for path in (
        "/models",
        "/models/",
        "/models/a/b",
        "/static/",
        "/static/x.js",
        "/static/../metrics",
        "/openapi.json",
    ):
        assert not needs_no_key(path)
