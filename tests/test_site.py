"""The docs as a site: what is wrong on it is told, and the built one is right, on a desktop and on a phone."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_site", ROOT / "docs" / "check_site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("markup", "said"),
    [
        ('<a href="other/">', ""),
        ('<a href="other/#there"><a href="#here"><a id="here"><a href="https://example.org/x">', ""),
        ('<img src="data:image/png;base64,xx"><a href="../site/other/index.html">', ""),
        ('<a href="nothing/">', "nothing/ does not exist"),
        ('<a href="other/#nowhere">', "other/#nowhere: no such anchor"),
        ('<a href="#nowhere">', "#nowhere: no such anchor"),
        ('<a href="empty/">', "empty/ does not exist"),
        ('<img src="images/none.png">', "images/none.png does not exist"),
        ('<script src="https://cdn.example.org/x.js"></script>', "<script> loads https://cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="//fonts.example.org/x">', "<link> loads //fonts.example.org/x"),
        ('<img src="http://example.org/x.png">', "<img> loads http://example.org/x.png"),
    ],
)
def test_what_is_wrong_on_a_site_is_told(tmp_path: Path, markup: str, said: str) -> None:
    site = tmp_path / "site"
    (site / "other").mkdir(parents=True)
    (site / "empty").mkdir()
    (site / "index.html").write_text(f"<html>{markup}</html>")
    (site / "other" / "index.html").write_text('<h2 id="there">')
    assert checker().faults(site) == ([f"index.html: {said}"] if said else [])


def test_a_style_sheet_that_loads_a_font_from_elsewhere_is_told_and_so_is_an_empty_folder(tmp_path: Path) -> None:
    assert checker().main(tmp_path) == 1
    (tmp_path / "index.html").write_text("<html>")
    assert checker().main(tmp_path) == 0
    (tmp_path / "x.css").write_text(
        'a{background:url("data:x")} @font-face{src:url(https://fonts.example.org/x.woff2)}'
    )
    assert checker().faults(tmp_path) == ["x.css loads https://fonts.example.org/x.woff2"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The docs and their settings, built."""
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed: make docs")
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    """The built site, served."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(project / "site"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_every_page_is_on_the_site_and_every_link_leads_somewhere(project: Path) -> None:
    site = project / "site"
    assert checker().faults(site) == []
    pages = {p.relative_to(project / "docs").with_suffix("") for p in (project / "docs").rglob("*.md")}
    shown = {p.parent.relative_to(site) for p in site.rglob("index.html")}
    assert shown == {Path() if page.name == "README" else page for page in pages}
    assert not list(site.rglob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["[x](nothing.md)", "[x](get-the-data.md#nowhere)", "[x](#nowhere)"])
def test_a_link_that_leads_nowhere_stops_the_build(project: Path, wrong: str) -> None:
    page = project / "docs" / "how-to" / "install.md"
    right = page.read_text(encoding="utf-8")
    page.write_text(f"{right}\n{wrong}\n", encoding="utf-8")
    assert build(project).returncode != 0
    page.write_text(right, encoding="utf-8")
    assert build(project).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_site_in_a_browser(address: str, browser: Any, width: int, scheme: str) -> None:
    """Four kinds in their order, nothing from another host, no error, no page wider than the screen, search."""
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: wrong.append(asked.url) if not _own(asked.url, address) else None)
    for path in ("", "how-to/sign-off-a-release/", "reference/plugins/", "explanation/performance/"):
        page.goto(address + path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)")
    assert (max(shade) < 80) if scheme == "dark" else (min(shade) > 180)
    if width > 1000:
        tabs = [text.strip() for text in page.locator(".md-tabs__item").all_inner_texts()]
        assert tabs == ["Home", "Tutorial", "How to", "Reference", "Explanation"]
        page.keyboard.press("Control+k")
        page.keyboard.type("sentiment_wikipedia")
        page.get_by_text(re.compile(r"^[1-9]\d* results?$")).first.wait_for()
    page.close()
    assert not wrong, wrong


def _own(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))
