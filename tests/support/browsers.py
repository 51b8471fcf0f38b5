"""Chromium, driven by Playwright. Importing this skips the test where one of them is missing."""

import importlib.util
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

HOW = "needs Chromium and Playwright: apt install chromium, pip install playwright; then pytest"
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None or importlib.util.find_spec("playwright") is None:
    if os.environ.get("RELAY_REQUIRE_BROWSER"):
        raise RuntimeError(HOW)
    pytest.skip(HOW, allow_module_level=True)

from playwright.async_api import Browser, async_playwright  # noqa: E402  # the module skips above without it

QUIET_FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
MICROPHONE_FLAGS = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@asynccontextmanager
async def running_browser(*flags: str) -> AsyncIterator[Browser]:
    """Run Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*QUIET_FLAGS, *flags]
        )
        try:
            yield browser
        finally:
            await browser.close()
