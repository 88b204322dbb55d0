"""Look at the built site: every link and anchor on it leads somewhere, and no page loads anything from another host.

python docs/check_site.py [FOLDER]    exit 1 where something is wrong, one line each

The generator's strict mode looks at pages and anchors alone; a picture, a file or a folder that is not there passes it.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements that make a browser fetch, and by which attribute."""
ELSEWHERE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)")
"""What a style sheet loads from another host."""


class Page(HTMLParser):
    """What a page points at and what can be pointed at on it.

    Attributes:
        links: (element, target) as written.
        ids: Anchors.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.ids: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {given[name] or "" for name in ("id", "name") if name in given}
        target = given.get("href" if tag == "a" else LOADED.get(tag, ""))
        if target is not None:
            self.links.append((tag, target))


def faults(site: Path) -> list[str]:
    """One line for every link that leads nowhere and everything that would be loaded from elsewhere."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    if not pages:
        return [f"no page in {site}"]
    lines = []
    for path, page in pages.items():
        wrong = (_fault(site, path, pages, link) for link in page.links)
        lines += [f"{path.relative_to(site).as_posix()}: {words}" for words in wrong if words]
    for sheet in sorted(site.rglob("*.css")):
        text = sheet.read_text(encoding="utf-8")
        lines += [f"{sheet.name} loads {address}" for address in ELSEWHERE.findall(text)]
    return lines


def _fault(site: Path, path: Path, pages: dict[Path, Page], link: tuple[str, str]) -> str:
    """What is wrong with a link of a page; '' where nothing is."""
    tag, target = link
    parts = urlsplit(target)
    if parts.scheme in ("data", "mailto") or (tag == "a" and parts.netloc):
        return ""
    if parts.scheme or parts.netloc:
        return f"<{tag}> loads {target}"
    # The page of a missing address is served at any depth: its own links start at the root.
    start = site if parts.path.startswith("/") else path.parent
    file = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
    file = file / "index.html" if file.is_dir() else file
    if not file.is_file():
        return f"{target} does not exist"
    known = pages.get(file)
    return f"{target}: no such anchor" if known is not None and unquote(parts.fragment) not in known.ids else ""


def main(site: Path) -> int:
    """Say what is wrong."""
    lines = faults(site.resolve())
    print("\n".join(lines) or f"{site}: every link leads somewhere, nothing is loaded from another host")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "site")))
