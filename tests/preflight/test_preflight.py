"""What a run needs is looked at before the first token, all of it, and the same list is given wherever one asks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_models import causal_lm, classifier

from safety_eval.cli import main
from safety_eval.core import plugins
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ScorerSpec
from safety_eval.core.requires import ModelNeed, Requires
from safety_eval.core.task import ScorerChoice, TaskOptions
from safety_eval.preflight import look as preflight
from safety_eval.preflight.checks import State

NOWHERE = "http://127.0.0.1:9"
README_COMMAND = ["run", "--model", "meta-llama/Llama-2-7b-chat-hf", "--tasks", "code-llama"]
SMALL = ["--tasks", "bold", "--data-version", "quickstart", "--limit", "4"]


def program(*argv: object, at: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The installed program in a folder of its own, without network, data and caches unless they are given."""
    script = Path(sys.executable).parent / "safety-eval"
    ours = {"HF_HOME": str(at / "hf"), "XDG_CACHE_HOME": str(at / "cache"), "TORCH_HOME": str(at / "torch")}
    no_network = {
        "http_proxy": NOWHERE,
        "https_proxy": NOWHERE,
        "no_proxy": "127.0.0.1",
        "HF_HUB_OFFLINE": "0",
    }
    env = {k: v for k, v in os.environ.items() if not k.startswith("SAFETY_EVAL_")} | ours | no_network | environment
    return subprocess.run([str(script), *map(str, argv)], capture_output=True, text=True, check=False, cwd=at, env=env)


@pytest.mark.parametrize("offline", ["0", "1"], ids=["no network", "HF_HUB_OFFLINE"])
def test_the_readme_command_without_its_judges_names_all_that_is_missing(tmp_path: Path, offline: str) -> None:
    ran = program(*README_COMMAND, at=tmp_path, HF_HUB_OFFLINE=offline)
    said = " ".join(ran.stderr.split())
    assert ran.returncode == 2 and "Traceback" not in said
    for name in (
        "meta-llama/Llama-2-7b-chat-hf",
        "(gated)",
        "HF_TOKEN",
        "allenai/truthfulqa-truth-judge-llama2-7B",
        "allenai/truthfulqa-info-judge-llama2-7B",
        "at least 13.4 GB",
        "tomh/toxigen_roberta",
        "at least 1.4 GB",
        "TruthfulQA v0",
        "TruthfulQA's QA prompt",
        "SafeNLP",
        "BOLD",
        "--scorer truthfulqa_generation=truth_similarity",
        "--scorer toxigen=profanity_check",
        "--data",
        "smollm2",
    ):
        assert name in said, name
    assert not (tmp_path / "runs").exists()
    assert said.count("Give local judges") == 1, "the same advice is given once"


class Hub(BaseHTTPRequestHandler):
    """Knows some/model (two files of weights and a smaller copy), and the gated closed/model."""

    weights = 1_000_000

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/closed/model/auth-check"):
            self._say(403, {}, GatedRepo="GatedRepo")
        elif path.startswith("/api/models/some/model") or path.startswith("/api/models/closed/model"):
            name = "/".join(path.split("/")[3:5])
            sizes = {
                "config.json": 100,
                "model.safetensors": self.weights,
                "pytorch_model.bin": 7,
                "onnx/m.onnx": 9,
            }
            files = [{"rfilename": file, "size": size} for file, size in sizes.items()]
            self._say(200, {"id": name, "siblings": files, "gated": "auto" if name.startswith("closed") else False})
        else:
            self._say(404, {}, GatedRepo="RepoNotFound")

    def _say(self, code: int, body: dict[str, object], GatedRepo: str = "") -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        if GatedRepo:
            self.send_header("X-Error-Code", GatedRepo)
        self.end_headers()
        self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_would_be_downloaded_is_told_with_its_size_by_doctor_and_dry_run(hub: str, tmp_path: Path) -> None:
    model = ["--model", "some/model", *SMALL[:4]]
    dry = program("run", *model, "--dry-run", at=tmp_path, HF_ENDPOINT=hub)
    looked = program("doctor", *model, at=tmp_path, HF_ENDPOINT=hub)
    lines = [line for line in dry.stdout.splitlines() if line.startswith("get")]
    assert dry.returncode == looked.returncode == 0, dry.stderr + looked.stderr
    assert len(lines) == 1 and "some/model" in lines[0] and "would be downloaded, 1.0 MB" in lines[0]
    assert lines[0] in looked.stdout.splitlines()


def test_a_gated_model_and_an_unknown_one_stop_the_run(hub: str, tmp_path: Path) -> None:
    gated = program("run", "--model", "closed/model", *SMALL, at=tmp_path, HF_ENDPOINT=hub)
    assert gated.returncode == 2 and "gated" in gated.stderr and "huggingface.co/closed/model" in gated.stderr
    unknown = program("run", "--model", "some/modle", *SMALL, at=tmp_path, HF_ENDPOINT=hub)
    assert unknown.returncode == 2 and "neither a folder nor a model of the Hub" in unknown.stderr
    assert not (tmp_path / "runs").exists()


def test_a_download_that_finds_no_room_stops_the_run(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "weights", 10**18)
    ran = program("run", "--model", "some/model", *SMALL, at=tmp_path, HF_ENDPOINT=hub)
    assert ran.returncode == 2 and "the downloads may take 1000000000.0 GB" in ran.stderr


def said(capsys: pytest.CaptureFixture[str], *argv: object, code: int = 2) -> str:
    assert main([*map(str, argv)]) == code
    return " ".join("".join(capsys.readouterr()).split())


def test_a_classifier_is_no_model_to_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = classifier(tmp_path / "c", "roberta", seed=1)
    words = said(capsys, "run", "--model", folder, *SMALL, "--output-path", tmp_path / "r")
    assert "RobertaForSequenceClassification is not a causal language model" in words
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "config.json").write_text("{"), "no readable config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text(
                json.dumps({"weight_map": {"a": "model-2.safetensors"}})
            ),
            "not all of them",
        ),
    ],
    ids=["config", "weights", "shard"],
)
def test_a_damaged_model_folder_stops_the_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, damage: object, words: str
) -> None:
    folder = causal_lm(tmp_path / "m")
    damage(folder)  # type: ignore[operator]
    assert words in said(capsys, "run", "--model", folder, *SMALL, "--output-path", tmp_path / "r")


def test_arguments_of_every_instrument_are_checked_before_the_first_token(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in plugins.names("scorers"):
        entry = plugins.find("scorers", name)
        with pytest.raises(UserError, match="no argument 'colour'"):
            requires = entry.requires({"colour": "red", **({"judge": "m"} if name == "refusal" else {})})
            assert requires.bare
            entry.build(ScorerSpec(name, {"colour": "red"}))
    words = said(
        capsys,
        "run",
        "--model",
        "echo",
        *SMALL,
        "--scorer-args",
        "vader:colour=red",
        "--output-path",
        tmp_path / "r",
    )
    assert "no argument 'colour'" in words and not (tmp_path / "r").exists()


@pytest.mark.parametrize("name", plugins.names("scorers"))
def test_what_preflight_calls_ready_can_be_built_and_what_it_calls_missing_cannot(name: str, tmp_path: Path) -> None:
    task = plugins.find("tasks", "bold")
    wanted = preflight.WantedTask(task, TaskOptions(version="quickstart"), (ScorerChoice(name),))
    checks = preflight.look(preflight.Wanted("", None, (wanted,)))
    states = {check.state for check in checks}
    spec = ScorerSpec(name, {})
    if states == {State.READY}:
        plugins.find("scorers", name).build(spec).close()
    else:
        assert State.MISSING in states
        with pytest.raises(UserError):
            plugins.find("scorers", name).build(spec)


@pytest.mark.parametrize("name", plugins.names("tasks"))
def test_a_task_that_reads_a_data_set_says_so_and_no_other_does(name: str, tmp_path: Path) -> None:
    """Beside an empty mirror exactly those versions cannot be loaded that declare what they read."""
    task = plugins.find("tasks", name)
    for version in task.versions:
        options = TaskOptions(data=tmp_path, version=version)
        if not task.requires(options).bare:
            with pytest.raises(UserError):
                task.load(options)
        else:
            assert task.load(options).prompts


def test_a_finished_run_needs_nothing_any_more(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its model and its classifier may be gone: the same command again reads what is there."""
    model, mine = causal_lm(tmp_path / "m"), classifier(tmp_path / "c", "roberta", seed=1)
    argv = [
        "run",
        "--model",
        model,
        "--tasks",
        "toxigen",
        "--data-version",
        "quickstart",
        "--limit",
        "4",
        "--gen-kwargs",
        "max_new_tokens=4",
        "--scorer-args",
        f"hf_classifier:model={mine},index=1",
        "--output-path",
        tmp_path / "r",
    ]
    said(capsys, *argv, code=0)
    shutil.rmtree(model)
    shutil.rmtree(mine)
    said(capsys, *argv, code=0)
    (tmp_path / "r" / "toxigen" / "scores" / "hf_classifier.jsonl").unlink()
    assert "no such folder" in said(capsys, *argv)


def test_predict_only_asks_although_nothing_can_score(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = [
        "run",
        "--model",
        "echo",
        "--tasks",
        "toxigen",
        "--data-version",
        "quickstart",
        "--limit",
        "4",
        "--scorer-args",
        f"hf_classifier:model={tmp_path / 'nowhere'},index=1",
        "--output-path",
        tmp_path / "r",
    ]
    assert "add --predict-only" in said(capsys, *argv) and not (tmp_path / "r").exists()
    said(capsys, *argv, "--predict-only", code=0)
    assert (tmp_path / "r" / "toxigen" / "outputs.jsonl").exists()


def test_a_file_in_a_mirror_that_lacks_some_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "hub" / "AmazonScience" / "bold"
    folder.mkdir(parents=True)
    (folder / "gender_prompt_wiki.json").write_text("{}")
    argv = [
        "run",
        "--model",
        "echo",
        "--tasks",
        "bold,xstest",
        "--data",
        tmp_path / "data",
        "--output-path",
        tmp_path / "r",
    ]
    words = said(capsys, *argv)
    assert "4 of 5 files are missing" in words and "XSTest" in words and not (tmp_path / "r").exists()


def test_scoring_again_looks_at_its_instruments_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = ["run", "--model", "echo", "--tasks", "toxigen", "--data-version", "quickstart", "--limit", "4"]
    said(capsys, *argv, "--scorer", "toxigen=profanity_check", "--output-path", tmp_path / "r", code=0)
    words = said(
        capsys,
        "score",
        tmp_path / "r",
        "--scorer",
        "hf_classifier",
        "--scorer-args",
        f"hf_classifier:model={tmp_path / 'nowhere'},index=1",
    )
    assert "no such folder" in words and "instrument hf_classifier" in words


def test_what_a_need_says_is_bare_only_where_nothing_can_be_missing() -> None:
    assert Requires().bare and not Requires(models=(ModelNeed("m"),)).bare and not Requires(packages=("p",)).bare
