"""Chromium without a screen, for the tests that open edgeq's pages and for pictures of them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
"""The sandbox needs rights that a container's root lacks; the others keep Chromium itself off the network."""
PHONE, DESKTOP = 390, 1280


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Fails where none is installed: a page that no browser has opened is not tested."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise FileNotFoundError("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Browser, path: Path, width: int = DESKTOP, scheme: str = "light") -> tuple[Page, list[str]]:
    """The page in a window so wide, and a list of all it asked for or complained of, itself left out; it grows."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    said: list[str] = []
    page.on("console", lambda message: said.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    url = path.resolve().as_uri()
    page.on("request", lambda request: said.append(f"request: {request.url}") if request.url != url else None)
    page.goto(url)
    return page, said


if __name__ == "__main__":  # python tests/browser.py PAGE PNG HEIGHT
    with chromium() as found:
        shown, _ = opened(found, Path(sys.argv[1]))
        shown.screenshot(path=sys.argv[2], clip={"x": 0, "y": 0, "width": DESKTOP, "height": int(sys.argv[3])}, full_page=True)
