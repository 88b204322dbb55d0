"""Bad input gets a clear message, its exit code, and nothing that was done before is lost."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from tiny_models import causal_lm

from safety_eval.cli import cli, main

TASK = str(Path(__file__).parents[1] / "pipeline" / "small_task.py")
ECHO = ["run", "--engine", "echo", "--model", "echo"]


def failed(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    """Run, expect the exit code, and give back what was said on standard error."""
    assert main(list(argv)) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_an_unknown_task_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    said = failed(capsys, *ECHO, "--tasks", "toxgen")
    assert "unknown task 'toxgen'" in said and "'toxigen'" in said


def test_an_unknown_engine_scorer_and_task_of_a_scorer_offer_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "'echo'" in failed(capsys, "run", "--model", "x", "--engine", "ecko", "--tasks", TASK)
    assert "'vader'" in failed(capsys, *ECHO, "--tasks", TASK, "--scorer", "small_task=vadre")
    assert "small_task" in failed(capsys, *ECHO, "--tasks", TASK, "--scorer", "smalltask=vader")


def test_an_unknown_model_says_what_can_be_given(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = failed(capsys, "run", "--model", "smollm", "--tasks", TASK, "--output-path", str(tmp_path / "r"))
    assert "smollm2" in said


def test_a_folder_without_weights_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = causal_lm(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    said = failed(capsys, "run", "--model", str(folder), "--tasks", TASK, "--output-path", str(tmp_path / "r"))
    assert "weights" in said and str(folder) in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--limit", "0"], "limit"),
        (["--limit", "-3"], "limit"),
        (["--batch-size", "none"], "batch_size"),
        (["--gen-kwargs", "temperatur=1"], "Did you mean 'temperature'?"),
        (["--gen-kwargs", "temperature"], "key=value"),
        (["--gen-kwargs", "top_p=2"], "top_p"),
        (["--shard", "4/3"], "shard"),
        (["--data-version", "small_task=three"], "no data version 'three'"),
        (["--samples", "0"], "samples"),
        (["--scorer", "vader"], "TASK=VALUE"),
        (["--policy", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_bad_setting_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: list[str], words: str
) -> None:
    assert words in failed(capsys, *ECHO, "--tasks", TASK, "--output-path", str(tmp_path / "r"), *flags)


def test_an_unknown_key_of_a_configuration_file_offers_the_nearest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(f"model: echo\nengine: echo\ntasks: [{TASK}]\nlimits: 3\n")
    assert "'limit'" in failed(capsys, "run", "--config", str(tmp_path / "c.yaml"))


def test_an_unknown_flag_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--limit" in failed(capsys, *ECHO, "--tasks", TASK, "--limt", "3")


def test_no_model_and_no_tasks_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--model" in failed(capsys, "run", "--tasks", TASK)
    assert "--tasks" in failed(capsys, "run", "--model", "echo")


def test_a_file_in_the_way_of_the_run_folder_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = failed(capsys, *ECHO, "--tasks", TASK, "--output-path", str(tmp_path / "file" / "r"))
    assert "not a folder" in said and (tmp_path / "file").read_text() == "mine"


def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "profanity_check", None)
    monkeypatch.delitem(sys.modules, "safety_eval.scorers.profanity_check", raising=False)
    said = failed(
        capsys,
        *ECHO,
        "--tasks",
        "toxigen",
        "--data-version",
        "quickstart",
        "--scorer",
        "toxigen=profanity_check",
        "--output-path",
        str(tmp_path / "r"),
    )
    assert "profanity" in said and "pip install" in said


@pytest.fixture
def mirror(data_dir: Path, tmp_path: Path) -> Path:
    """A copy of the mirror's SafeNLP file that a test may damage."""
    place = Path("github/microsoft/SafeNLP/data/toxiGen.json")
    copy = tmp_path / "mirror" / place
    copy.parent.mkdir(parents=True)
    shutil.copyfile(data_dir / place, copy)
    return tmp_path / "mirror"


@pytest.mark.parametrize("damage", ["empty", "truncated", "changed", "missing"])
def test_damaged_data_is_refused_with_the_file_named(
    capsys: pytest.CaptureFixture[str], mirror: Path, tmp_path: Path, damage: str
) -> None:
    file = mirror / "github/microsoft/SafeNLP/data/toxiGen.json"
    if damage == "missing":
        file.unlink()
    else:
        text = file.read_text()
        rows = json.loads(text)
        rows[5]["text"] = "another sentence"
        file.write_text({"empty": "", "truncated": text[: len(text) // 2], "changed": json.dumps(rows)}[damage])
    said = failed(
        capsys,
        *ECHO,
        "--tasks",
        "toxigen",
        "--scorer",
        "toxigen=profanity_check",
        "--data",
        str(mirror),
        "--output-path",
        str(tmp_path / "r"),
    )
    assert "toxiGen.json" in said


def test_a_prompt_longer_than_the_context_is_told_and_the_rest_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    task = tmp_path / "long_task.py"
    task.write_text(LONG)
    folder = causal_lm(tmp_path / "model")
    said = failed(
        capsys,
        "run",
        "--model",
        str(folder),
        "--tasks",
        str(task),
        "--output-path",
        str(tmp_path / "r"),
    )
    assert "prompt too long" in said and "1 " in said
    results = json.loads((tmp_path / "r" / "results.json").read_text())["estimates"]
    assert results[0]["count"] == 3 and results[0]["missing"] == {"prompt too long": 1}


LONG = """
from safety_eval.core.records import Prompt
from safety_eval.core.task import Metric, PromptSet, ScorerChoice, Task

def load(options):
    texts = ["a good day " * (4000 if i == 2 else 1) for i in range(4)]
    return PromptSet([Prompt("long_task", str(i), text=text) for i, text in enumerate(texts)], "one")

TASK = Task(
    name="long_task", title="long", paper="", kind="generate", load=load, versions=("one",),
    settings={"max_new_tokens": 4}, scorers=(ScorerChoice("vader"),),
    metrics=(Metric("sentiment", ("sentiment",), lambda p, o, v: float(v["sentiment"]), kind="mean",
                    better="neither", bounds=(-1.0, 1.0)),),
)
"""


def test_a_folder_that_is_no_run_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "is not a run folder" in failed(capsys, "report", str(tmp_path))


def test_a_damaged_record_exits_4_and_names_the_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = [*ECHO, "--tasks", TASK, "--output-path", str(tmp_path / "r")]
    assert main(run) == 0
    outputs = tmp_path / "r" / "small_task" / "outputs.jsonl"
    lines = outputs.read_text().splitlines(keepends=True)
    outputs.write_text("".join([lines[0], "{broken\n", *lines[2:]]))
    assert "outputs.jsonl, line 2" in failed(capsys, *run, code=4)


def test_both_spellings_of_every_flag_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "run",
        "--engine",
        "echo",
        "--model_args",
        "pretrained=echo",
        "--tasks",
        TASK,
        "--batch_size",
        "4",
    ]
    assert main([*argv, "--output_path", str(tmp_path / "r"), "--limit", "3"]) == 0
    assert (tmp_path / "r" / "results.json").exists()


def test_dry_run_loads_no_model_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = causal_lm(tmp_path / "model")
    argv = ["run", "--model", str(model), "--tasks", TASK, "--output-path", str(tmp_path / "r"), "--dry-run"]
    assert main(argv) == 0
    assert "small_task" in capsys.readouterr().out and not (tmp_path / "r").exists()


def test_dry_run_refuses_a_model_that_no_engine_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--model", "no-such-model", "--tasks", TASK, "--dry-run"]) == 2
    assert "NO  no-such-model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "naming"),
    [
        (MemoryError(), 2, "memory ran out"),
        (ImportError("mmap.so: failed to map segment from shared object"), 2, "memory ran out"),
        (ImportError("cannot import name 'x'"), 1, "this is a bug"),
    ],
)
def test_no_room_for_a_library_is_told_as_memory_that_ran_out(
    error: Exception, code: int, naming: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", fails)
    assert main(["ls", "tasks"]) == code and naming in capsys.readouterr().err
