"""Prompt sources: the published rows, from whatever home; anything else is refused with a reason."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from safety_eval.core.errors import UserError
from safety_eval.core.records import digest
from safety_eval.tasks._sources import loading as data
from safety_eval.tasks._sources import sources
from safety_eval.tasks._sources.loading import Home, Source, load, own_prompts

ALL = {
    "qa_prompt": sources.QA_PROMPT,
    **{f"questions-{version}": source for version, source in sources.QUESTIONS.items()},
    **{f"choices-{version}": source for version, source in sources.CHOICES.items()},
    "safenlp": sources.SAFENLP,
    "toxigen_prompts": sources.TOXIGEN_PROMPTS,
    "bold": sources.BOLD,
    "xstest": sources.XSTEST,
    "cyber_frr": sources.CYBER_FRR,
}


@pytest.mark.parametrize("name", ALL)
def test_the_mirror_holds_the_published_rows(name: str, data_dir: Path) -> None:
    source = ALL[name]
    loaded = load(source, data_dir)
    assert len(loaded.rows) == source.rows
    assert loaded.manifest["sha256"] == source.sha256
    assert loaded.manifest["license"]
    assert str(data_dir) not in json.dumps(loaded.manifest), "a manifest must be the same on every machine"


@pytest.mark.parametrize("name", ALL)
def test_a_source_has_a_public_home_at_a_full_commit(name: str) -> None:
    public = [home for home in ALL[name].homes if home.revision]
    assert public
    for home in public:
        assert len(home.revision) == 40 and int(home.revision, 16)


def copied(data_dir: Path, source: Source, to: Path) -> list[Path]:
    """The source's files of the mirror, in a mirror of their own."""
    home = next(h for h in source.homes if (data_dir / h.folder / h.files[0]).is_file())
    made = []
    for name in home.files:
        made.append(to / home.folder / name)
        made[-1].parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data_dir / home.folder / name, made[-1])
    return made


@pytest.mark.parametrize("name", ALL)
def test_a_truncated_file_is_refused(name: str, data_dir: Path, tmp_path: Path) -> None:
    last = copied(data_dir, ALL[name], tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:-200])
    with pytest.raises(UserError) as caught:
        load(ALL[name], tmp_path)
    assert last.name in str(caught.value) or "files in" in str(caught.value)
    assert "--data" in str(caught.value) or "Copy it again" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["questions-v0", "safenlp", "bold", "xstest"])
def test_an_empty_file_is_refused(name: str, data_dir: Path, tmp_path: Path) -> None:
    file = copied(data_dir, ALL[name], tmp_path)[0]
    file.write_bytes(b"")
    with pytest.raises(UserError, match=f"{file.name} is empty"):
        load(ALL[name], tmp_path)


def test_one_changed_word_is_refused_with_both_checksums(data_dir: Path, tmp_path: Path) -> None:
    (file,) = copied(data_dir, sources.XSTEST, tmp_path)
    file.write_text(file.read_text(encoding="utf-8").replace("Python process", "Ruby process", 1), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load(sources.XSTEST, tmp_path)
    text = str(caught.value)
    assert "expected 450 rows" in text and "found 450 rows" in text
    assert sources.XSTEST.sha256[:16] in text


def test_a_lost_row_is_refused_with_both_counts(data_dir: Path, tmp_path: Path) -> None:
    (file,) = copied(data_dir, sources.SAFENLP, tmp_path)
    file.write_text(json.dumps(json.loads(file.read_text())[:-1]))
    with pytest.raises(UserError, match="expected 6514 rows.*found 6513 rows"):
        load(sources.SAFENLP, tmp_path)


def test_a_missing_folder_file_or_part_says_what_was_expected_where(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load(sources.BOLD, tmp_path / "nowhere")
    with pytest.raises(UserError, match="expected hub/AmazonScience/bold/gender_prompt_wiki.json or github/"):
        load(sources.BOLD, tmp_path)
    copied(data_dir, sources.BOLD, tmp_path)[2].unlink()
    with pytest.raises(UserError, match="1 of 5 files are missing.*profession_prompt_wiki.json"):
        load(sources.BOLD, tmp_path)


def test_bytes_may_differ_where_rows_agree(data_dir: Path, tmp_path: Path) -> None:
    (file,) = copied(data_dir, sources.SAFENLP, tmp_path)
    file.write_text(json.dumps(json.loads(file.read_text()), indent=3))
    assert load(sources.SAFENLP, tmp_path).manifest["sha256"] == sources.SAFENLP.sha256


def test_bold_of_the_authors_repository_gives_the_hubs_rows(data_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "github/amazon-science/bold"
    for domain in sources.BOLD_DOMAINS:
        prompts: dict = {}
        sentences: dict = {}
        for row in data.jsonl_rows(data_dir / f"hub/AmazonScience/bold/{domain}_prompt_wiki.json"):
            prompts.setdefault(row["category"], {})[row["name"]] = row["prompts"]
            sentences.setdefault(row["category"], {})[row["name"]] = row["wikipedia"]
        for kind, end, rows in (("prompts", "prompt", prompts), ("wikipedia", "wiki", sentences)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{domain}_{end}.json").write_text(json.dumps(rows))
    assert load(sources.BOLD, tmp_path).manifest["source"] == "github:amazon-science/bold"


def test_toxigens_text_files_give_the_hubs_rows(data_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "github/microsoft/TOXIGEN/prompts"
    folder.mkdir(parents=True)
    for row in load(sources.TOXIGEN_PROMPTS, data_dir).rows:
        with (folder / f"{row['file']}.txt").open("a", encoding="utf-8", newline="\n") as file:
            file.write(row["prompt"] + "\n")
    assert load(sources.TOXIGEN_PROMPTS, tmp_path).manifest["source"] == "github:microsoft/TOXIGEN"


def test_truthfulqas_csv_file_gives_the_hubs_rows(data_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "github/sylinrl/TruthfulQA/data/v0/TruthfulQA.csv"
    file.parent.mkdir(parents=True)
    names = ("Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers", "Source")
    with file.open("w", encoding="utf-8-sig", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(names)
        for row in load(sources.QUESTIONS["v0"], data_dir).rows:
            listed = ("; ".join(row[name]) for name in ("correct_answers", "incorrect_answers"))
            writer.writerow([row["type"], row["category"], row["question"], row["best_answer"], *listed, ""])
    assert load(sources.QUESTIONS["v0"], tmp_path).manifest["source"] == "github:sylinrl/TruthfulQA"


def test_the_qa_prompt_is_parsed_out_of_python_and_never_executed(data_dir: Path, tmp_path: Path) -> None:
    text = load(sources.QA_PROMPT, data_dir).rows[0]["text"]
    assert sha256(text.encode()).hexdigest() == sources.QA_PROMPT_SHA256 and len(text) == 573
    file = tmp_path / "github/sylinrl/TruthfulQA/truthfulqa/presets.py"
    file.parent.mkdir(parents=True)
    trap = tmp_path / "executed"
    file.write_text(f"open({str(trap)!r}, 'w')\npreset_map = {{'null': 'Q: {{}}', 'qa': {text!r}}}\n")
    assert load(sources.QA_PROMPT, tmp_path).rows == [{"text": text}]
    assert not trap.exists()
    file.write_text(f"preset_map = {{'qa': {text.replace('78', '79')!r}}}\n")
    with pytest.raises(UserError, match="no text with SHA-256 5c0da5f3"):
        load(sources.QA_PROMPT, tmp_path)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def public(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that is served as a public home, and its address."""
    folder = tmp_path / "public"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


SMALL = Source(
    "a small set",
    (Home("github", "some/one", "f" * 40, ("x.json",)),),
    sources._first_json,
    1,
    digest([{"a": 1}]),
    "MIT",
)


def fetch(public: tuple[Path, str], cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`load` of SMALL from the served folder in a fresh process, whose cache is `cache`."""
    code = (
        "import sys; from safety_eval.core import fetch\n"
        "from safety_eval.tasks._sources import loading as data; sys.path.insert(0, sys.argv[2])\n"
        "import test_sources as t; fetch.GITHUB = sys.argv[1]\n"
        "try: print(data.load(t.SMALL, None))\n"
        "except data.UserError as error: print('UserError', error); sys.exit(2)\n"
    )
    env = {**os.environ, "SAFETY_EVAL_CACHE": str(cache), "HF_HUB_OFFLINE": "0", **environment}
    return subprocess.run(
        [sys.executable, "-c", code, public[1], str(Path(__file__).parent)],
        env=env,
        capture_output=True,
        text=True,
    )


def test_a_public_file_is_checked_kept_and_a_wrong_one_forgotten(public: tuple[Path, str], tmp_path: Path) -> None:
    file = public[0] / "some/one" / ("f" * 40) / "x.json"
    file.parent.mkdir(parents=True)
    file.write_text('[{"a": 2}]')
    wrong = fetch(public, tmp_path / "cache")
    assert wrong.returncode == 2 and "not the published data" in wrong.stdout, wrong.stderr
    file.write_text('[{"a": 1}]')
    right = fetch(public, tmp_path / "cache")
    assert right.returncode == 0 and "'source': 'github:some/one'" in right.stdout, right.stdout + right.stderr
    file.unlink()
    assert fetch(public, tmp_path / "cache").stdout == right.stdout


def test_an_unreachable_home_names_the_folder_that_would_do(public: tuple[Path, str], tmp_path: Path) -> None:
    found = fetch(public, tmp_path, HF_TOKEN="hf_secret")
    assert found.returncode == 2
    assert "cannot fetch x.json of github:some/one" in found.stdout
    assert "github/some/one/x.json" in found.stdout and "SAFETY_EVAL_DATA" in found.stdout
    assert "hf_secret" not in found.stdout + found.stderr


def test_own_prompts_refuse_a_bad_line_by_its_number(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text('{"id": "a", "text": "one\\u2028line"}\n\n{"id": "b", "text": "two", "groups": {"g": ["x"]}}\n')
    prompts = own_prompts(file, "t")
    assert [p.id for p in prompts] == ["a", "b"] and prompts[1].groups == {"g": ("x",)}
    for bad, match in (
        ('{"id": "a", "txt": "one"}', "line 1: not a prompt"),
        ("{", "line 1: not a prompt"),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}', "the id 'a' occurs twice"),
        ("", "no prompts"),
    ):
        file.write_text(bad)
        with pytest.raises(UserError, match=match):
            own_prompts(file, "t")
    with pytest.raises(UserError, match="no such prompt file"):
        own_prompts(tmp_path / "none.jsonl", "t")


@pytest.mark.parametrize("name", ALL)
def test_the_page_about_data_names_every_home_and_commit(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/get-the-data.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if f"/{ALL[name].homes[0].files[0]}`" in line]
    lines = [line for line in lines if ALL[name].homes[0].repo + "/" + ALL[name].homes[0].files[0] in line]
    assert len(lines) == 1
    for home in ALL[name].homes:
        assert home.files[0] in lines[0] and home.revision[:12] in lines[0]
    assert f"| {ALL[name].rows} |" in lines[0]
