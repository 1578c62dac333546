"""Use every widget of the playground in Debian's Chromium, at the widths of a phone and of a desk.

python -m tests.serve.app.browser.check AXE [--pictures DIRECTORY] [--only NAMES]

AXE is the file ``axe.min.js`` of axe-core. It fails if a widget does not answer, if axe has a serious finding, if the
console shows an error, or if anything is asked of another server. It prints the time of the first paint and the sizes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import click
from playwright.sync_api import Browser, expect, sync_playwright

from serve.app.pages.static_files import static_files
from tests import bundles, picture_bundles
from tests.serve.app.browser import use
from tests.serve.app.browser.visit import WIDTHS, Visit
from tests.servers import start

CHROMIUM = "/usr/bin/chromium"
#: The camera is one that Chromium makes up: a green picture with a moving spot.
CHROMIUM_FLAGS = ("--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PRETRAINED = Path(__file__).parents[4] / "pretrained"


def main() -> None:
    """Run all, print what failed, and exit with 1 if something did."""
    parser = argparse.ArgumentParser()
    parser.add_argument("axe", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of functions of use.py, with commas")
    given = parser.parse_args()
    if not Path(CHROMIUM).exists():
        sys.exit(f"there is no {CHROMIUM}. Install it: apt-get install chromium")
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=40_000)
    axe = given.axe.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        models = Path(folder) / "models"
        shutil.copytree(PRETRAINED, models)
        bundles.write_all(models)
        bundles.write_reviews(models, "reviews_too")
        picture_bundles.write_dreamer(models)
        picture_bundles.write_painter(models)
        keys = Path(folder) / "keys"
        keys.write_text(f"{use.KEY}\n")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        problems: list[str] = []
        with start(models) as server:
            for width in WIDTHS:
                for action in use.WITHOUT_KEYS:
                    if not given.only or action.__name__ in given.only:
                        visit = Visit(browser, server.http, width, axe, given.pictures)
                        problems += run(visit, action)
            click.echo(first_paint(browser, server.http))
        if not given.only or "with_keys" in given.only:
            with start(models, "--api-key-file", str(keys)) as server:
                for width in WIDTHS:
                    problems += run(Visit(browser, server.http, width, axe, given.pictures), use.with_keys)
            problems += dead_server(browser, models, axe, given.pictures)
        browser.close()
    click.echo(sizes())
    if problems:
        sys.exit(f"{len(problems)} problems")


def run(visit: Visit, action: Callable[[Visit], None]) -> list[str]:
    """What went wrong while a person did this."""
    name = f"{action.__name__} at {visit.width} pixels"
    try:
        action(visit)
    except Exception:
        visit.problems.append(traceback.format_exc(limit=-2))
    visit.close()
    click.echo(f"{'FAIL' if visit.problems else 'ok  '} {name}")
    for problem in visit.problems:
        click.echo(f"     {problem}")
    return visit.problems


def dead_server(browser: Browser, models: Path, axe: str, pictures: Path | None) -> list[str]:
    """A server that ends while a page is open is told in words."""

    def use_it(visit: Visit) -> None:
        with start(models) as server:
            page = visit.open(f"{server.http}/models/reviews")
            expect(page.locator(".answer").first).to_be_visible()
        visit.expected = "ERR_CONNECTION_REFUSED"
        page.get_by_label("A text, such as a review").fill("good")
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
        expect(page.locator("#state")).to_contain_text("Is it still running?")
        visit.look("dead")
        visit.problems = [problem for problem in visit.problems if "a request to elsewhere" not in problem]

    return run(Visit(browser, "http://nowhere.invalid", WIDTHS[0], axe, pictures), use_it)


def first_paint(browser: Browser, server: str) -> str:
    """Milliseconds until something is painted, the middle of five new visits to the first page."""
    times = []
    for _ in range(5):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(server)
        found: list[float] = []
        while not found:  # the debugger may run this, the page's own policy forbids it to evaluate text
            page.wait_for_timeout(100)
            found = page.evaluate(
                "performance.getEntriesByName('first-contentful-paint').map(paint => paint.startTime)"
            )
        times += found
        context.close()
    return f"first contentful paint of /: {sorted(times)[2]:.0f} ms"


def sizes() -> str:
    """Bytes of all files of the playground, pictures aside."""
    kinds: dict[str, int] = {}
    for file in static_files().values():
        kinds[file.media_type] = kinds.get(file.media_type, 0) + len(file.content)
    kinds.pop("image/svg+xml", None)
    return f"{sum(kinds.values()):,} bytes: {', '.join(f'{kind} {size:,}' for kind, size in sorted(kinds.items()))}"


if __name__ == "__main__":
    main()
