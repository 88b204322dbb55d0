"""Pictures of a report for these docs: python docs/screenshots.py RUN (of `make demo`: our own prompts, no text shown).

Needs what the tests need: playwright, and a Chromium on this machine.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
SIZES = {"desktop": (1200, 1000), "dark": (1200, 1000), "phone": (390, 844), "print": (794, 1123)}
COLOURS = 128
"""A page is flat: so many colours look the same in a third of the bytes."""


def keep(page: Any, name: str) -> None:
    """The part of the page in sight as docs/images/report-NAME.png."""
    with Image.open(io.BytesIO(page.screenshot())) as shown:
        shown.convert("RGB").quantize(COLOURS).save(IMAGES / f"report-{name}.png", optimize=True)


def main(report: str) -> None:
    """Every picture of one report."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
        )
        for name, size in (
            ("desktop", (1200, 1000)),
            ("dark", (1200, 1000)),
            ("phone", (390, 844)),
            ("print", (794, 1123)),
        ):
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            page.emulate_media(
                color_scheme="dark" if name == "dark" else "light", media="print" if name == "print" else "screen"
            )
            page.goto(report)
            page.wait_for_selector("html.scripted")
            if name == "dark":
                page.locator("#task-bold").evaluate("e => e.scrollIntoView()")
            keep(page, name)
        page = browser.new_page(viewport={"width": 1200, "height": 860})
        page.goto(f"{report}#answers?task=xstest&against=any")
        page.wait_for_selector("#answers-size .row")
        keep(page, "answers")
        browser.close()


if __name__ == "__main__":
    main((Path(sys.argv[1]).resolve() / "report.html").as_uri())
