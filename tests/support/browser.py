"""A real Chromium, Debian's, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, expect, sync_playwright

# The first is the same without windows: half as much work, and the network, the cookies and the pages are no others.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
# As few processes as it can do with: most of what a visit costs is the start of another one.
FEW_PROCESSES = [
    "--in-process-gpu", "--enable-features=NetworkServiceInProcess2", "--renderer-process-limit=1",
    "--disable-site-isolation-trials",
]  # fmt: skip

expect.set_options(timeout=20_000)  # of a machine that runs other tests meanwhile


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS + FEW_PROCESSES)
        try:
            yield browser
        finally:
            browser.close()
