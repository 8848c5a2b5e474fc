"""A real Chromium without a window, that of the machine, for tests of pages that people click."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PATIENCE_MS = 30_000
# Tests run as whoever runs them, root included, whom its own sandbox refuses; and it asks nobody for updates.
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Yield the machine's Chromium; skip where there is none. No async test can run while it is open."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium found; install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: Browser) -> Iterator[Page]:
    """Yield a page of its own, as a new visitor has it."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield context.new_page()
    finally:
        context.close()


def fill_in(page: Page, number: str, *, email: str = "buyer@example.com", method: str = "card") -> None:
    """Fill the stand-in's Checkout page in, and send it."""
    page.fill("#email", email)
    page.select_option("#method", method)
    page.fill("#number", number)
    page.click("#submit")
