"""Public files at a pinned commit -> local files: the Hub's through `datasets`, GitHub's into our own cache.

An access token is read by the Hub's own tools from where `hf auth login` or HF_TOKEN put it; none passes
through here. GitHub's files are few and small; each is kept under its commit, so it is fetched once.
"""

from __future__ import annotations

import os
import time
import urllib.request
from pathlib import Path

from safety_eval.core import packages

GITHUB = "https://raw.githubusercontent.com"
TIMEOUT, TRIES = 60.0, 3


def cache_folder() -> Path:
    """SAFETY_EVAL_CACHE, or safety-eval in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    given = os.environ.get("SAFETY_EVAL_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "safety-eval"


def from_hub(repo: str, revision: str, file: str) -> Path:
    """A file of a data set repository of the Hugging Face Hub.

    Raises:
        OSError, ValueError: out of reach, gated, or no such file. MissingPackageError: `datasets` is not installed.
    """
    packages.need("datasets", f"fetching {repo} from the Hub")
    import datasets

    config = datasets.DownloadConfig(disable_tqdm=True, max_retries=TRIES - 1)
    manager = datasets.DownloadManager(download_config=config)
    try:
        return Path(str(manager.download(f"hf://datasets/{repo}@{revision}/{file}")))
    except Exception as error:
        # The Hub's client lets errors of its HTTP library through, and that library is another in each version.
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise ConnectionError(str(error) or type(error).__name__) from error
        raise


def from_github(repo: str, revision: str, file: str) -> Path:
    """A file of a GitHub repository.

    Raises:
        OSError: out of reach, no such file, or a cache that cannot be written.
    """
    kept = cache_folder() / "github" / repo / revision / file
    if not kept.is_file():
        content = _read(f"{GITHUB}/{repo}/{revision}/{file}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
        draft.write_bytes(content)
        draft.replace(kept)
    return kept


def _read(url: str) -> bytes:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        raise ConnectionError("HF_HUB_OFFLINE is set")
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                return bytes(answer.read())
        except urllib.request.HTTPError as error:
            if error.code < 500 or not left:
                raise ConnectionError(f"HTTP {error.code} from {url}") from error
        except OSError as error:
            if not left:
                raise ConnectionError(f"{getattr(error, 'reason', error)} ({url})") from error
        time.sleep(1.0)
    raise AssertionError("not reached")


def forget(file: Path) -> None:
    """Drop a file of our cache, so that it is fetched again; other files are left alone."""
    if file.is_relative_to(cache_folder()):
        file.unlink(missing_ok=True)
