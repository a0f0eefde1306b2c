"""A page in Debian's Chromium, driven by Playwright: one browser per process, one tab per test."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = "MOTEGPT_REQUIRE_BROWSER"  # set in continuous integration: a missing browser fails there
PATIENCE = 20_000  # ms until a wait fails
INSIDE = ("file:", "blob:", "data:", "about:")  # addresses that need no network


def why_no_browser() -> str | None:
    """Why no browser can be driven; None if one can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is missing: pip install playwright"
    return None if CHROMIUM else "chromium is missing: apt-get install chromium"


@contextmanager
def launched() -> Iterator[Any]:
    """A running browser; skips the test where there is none."""
    if why := why_no_browser():
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true: Playwright's own wait evaluates text, which the page forbids."""
    limit = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < limit, f"waited in vain for {expression}"
        page.wait_for_timeout(15)


def wait_for_text(page: Any, selector: str, part: str) -> None:
    """Wait until the text of an element contains a part."""
    until(page, f"document.querySelector({json.dumps(selector)})?.textContent.includes({json.dumps(part)})")


class Tabs:
    """Opens pages, and checks at the end that none asked for anything outside or reported an error."""

    def __init__(self, browser: Any, document: Path) -> None:
        self.browser = browser
        self.document = document
        self.contexts: list[Any] = []
        self.complaints: list[str] = []

    def open(
        self,
        hash: str = "",
        *,
        document: Path | None = None,
        size: tuple[int, int] = (1280, 900),
        before: str | None = None,
        ready: bool = True,
        **options: Any,
    ) -> Any:
        """A tab with the page. before: a script that runs first; ready: wait for the first model."""
        width, height = size
        context = self.browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: self._note(said.type in ("error", "warning"), said.text))
        page.on("pageerror", lambda error: self._note(True, str(error)))
        page.on("request", lambda request: self._note(not request.url.startswith(INSIDE), request.url))
        if before:
            page.add_init_script(before)
        page.goto((document or self.document).as_uri() + hash)
        if ready:
            until(page, "window.motegpt")
            page.evaluate("motegpt.ready.then(() => null)")
        return page

    def _note(self, is_bad: bool, what: str) -> None:
        if is_bad:
            self.complaints.append(what)

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        assert self.complaints == []


Open = Callable[..., Any]
