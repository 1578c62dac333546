"""One visit to the playground: what the browser complains about, what it asks elsewhere, what axe finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page

#: Findings of axe that count; those of ``minor`` and ``moderate`` are advice.
SERIOUS = ("serious", "critical")
WIDTHS = (390, 1280)


class Visit:
    """A page of the browser at one width, with everything that must not happen."""

    def __init__(self, browser: Browser, server: str, width: int, axe: str, pictures: Path | None = None) -> None:
        """``axe`` is the script of axe-core; ``pictures`` the folder for screenshots, if they are wanted."""
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            base_url=server,
            bypass_csp=False,
            permissions=["clipboard-read", "clipboard-write", "camera"],
            accept_downloads=True,
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.problems: list[str] = []
        self.width = width
        self._server = server
        self._axe = axe
        self._pictures = pictures
        self.expected = ""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"an exception: {error}"))
        self.page.on("request", self._request)

    def open(self, path: str) -> Page:
        """Open a page; it must not be wider than the screen."""
        self.page.goto(path)
        return self.page

    def look(self, name: str) -> None:
        """Check the page as it is now, and keep a picture of it."""
        page = self.page
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1"):
            self.problems.append(f"{name}: wider than {self.width} pixels")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for finding in self._findings():
                self.problems.append(f"{name}, {scheme}: {finding}")
            if self._pictures:
                page.evaluate("window.scrollTo(0, 0)")
                page.screenshot(path=self._pictures / f"{name}-{self.width}-{scheme}.png", full_page=True)
        page.emulate_media(color_scheme="light")

    def close(self) -> None:
        """Close the page."""
        self.context.close()

    def _findings(self) -> list[str]:
        # Through the protocol of the debugger, since the policy of the page forbids scripts from elsewhere.
        session = self.context.new_cdp_session(self.page)
        session.send("Runtime.evaluate", {"expression": self._axe})
        code = "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)"
        reply: Any = session.send("Runtime.evaluate", {"expression": code, "awaitPromise": True, "returnByValue": True})
        session.detach()
        return [
            f"axe {found['id']}: {found['help']}: {node['html'][:160]}"
            for found in reply["result"]["value"]
            if found["impact"] in SERIOUS
            for node in found["nodes"][:3]
        ]

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not (self.expected and self.expected in message.text):
            self.problems.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https") and f"{parts.scheme}://{parts.netloc}" != self._server:
            self.problems.append(f"a request to elsewhere: {request.url}")
