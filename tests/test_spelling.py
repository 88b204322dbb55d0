"""A setting works in every form in which people write it, from each of the three doors; an engine is the one named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from safety_eval import api
from safety_eval.cli import main
from safety_eval.core.errors import UserError
from safety_eval.runs.config import RunConfig

BASE = {"model": "echo", "engine": "echo", "tasks": "bold"}


def configured(**settings: Any) -> RunConfig:
    return api.configure({**BASE, **settings})


@pytest.mark.parametrize(
    "written",
    ["quickstart", ["quickstart"], {"": "quickstart"}, {"bold": "quickstart"}, "bold=quickstart"],
    ids=str,
)
def test_a_data_version_in_any_form_runs(written: Any, tmp_path: Path) -> None:
    run = api.run(**BASE, data_version=written, limit=4, output_path=tmp_path / "r")
    assert {e.data_version for e in api.open_run(run.folder).estimates().itertuples()} == {"quickstart"}


@pytest.mark.parametrize(
    ("written", "field", "expected"),
    [
        ({"batch_size": 8}, "batch_size", "8"),
        ({"model": 7}, "model", "7"),
        (
            {"model_args": {"trust_remote_code": True, "revision": 12}},
            "model_args",
            {"trust_remote_code": "true", "revision": "12"},
        ),
        ({"model_args": "revision=a,path=plain"}, "model_args", {"revision": "a", "path": "plain"}),
        ({"scorer_args": {"vader": {"threshold": 0.5}}}, "scorer_args", {"vader": {"threshold": "0.5"}}),
        ({"scorer_args": "vader:threshold=0.5"}, "scorer_args", {"vader": {"threshold": "0.5"}}),
        ({"data_version": {"bold": 2025}}, "data_version", {"bold": "2025"}),
        ({"scorers": "bold=vader+detoxify"}, "scorers", {"bold": "vader+detoxify"}),
        ({"scorer": ["bold=vader"]}, "scorers", {"bold": "vader"}),
        ({"apply_chat_template": True}, "chat_template", "on"),
        ({"chat_template": False}, "chat_template", "off"),
        ({"gen_kwargs": "max_new_tokens=9"}, "generation", {"max_new_tokens": 9}),
        ({"shard": "1/3"}, "shard", (1, 3)),
        ({"model_args": {"dtype": "float32"}}, "dtype", "float32"),
    ],
    ids=lambda v: str(v)[:50],
)
def test_a_form_that_people_write_is_read(written: dict[str, Any], field: str, expected: Any) -> None:
    value = getattr(configured(**written), field)
    assert (value.model_dump(exclude_none=True) if field == "generation" else value) == expected


def test_yaml_reads_as_the_flags_do(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "model: echo\nengine: echo\ntasks: bold\nbatch_size: 8\ndata_version: quickstart\nlimit: 4\n"
        f"chat_template: on\ngen_kwargs: {{max_new_tokens: 9}}\noutput_path: {tmp_path / 'r'}\n"
    )
    assert main(["run", "--config", str(tmp_path / "c.yaml")]) == 0
    settings = api.open_run(tmp_path / "r").file.config
    assert (settings.batch_size, settings.chat_template) == ("8", "on")
    assert settings.generation.max_new_tokens == 9


def test_one_setting_under_two_names_is_refused() -> None:
    with pytest.raises(UserError, match="same setting"):
        configured(scorer="bold=vader", scorers={"bold": "vader"})


@pytest.mark.parametrize(
    ("written", "engine", "model"),
    [
        ({"model": "hf/gpt2"}, "transformers", "gpt2"),
        ({"model": "hf/meta-llama/Llama-2-7b-chat-hf"}, "transformers", "meta-llama/Llama-2-7b-chat-hf"),
        ({"model": "transformers/gpt2"}, "transformers", "gpt2"),
        ({"model": "hf", "model_args": {"pretrained": "gpt2"}}, "transformers", "gpt2"),
        ({"model_args": {"pretrained": "gpt2"}}, "transformers", "gpt2"),
        ({"model": "openai/gpt-oss-20b"}, "transformers", "openai/gpt-oss-20b"),
        ({"model": "echo"}, "echo", "echo"),
        ({"model": "openai/gpt-oss-20b", "base_url": "http://h/v1"}, "openai_server", "gpt-oss-20b"),
        (
            {"model": "local-completions", "model_args": {"model": "gpt2", "base_url": "http://h/v1"}},
            "openai_server",
            "gpt2",
        ),
        ({"model": "hf/ray/tune"}, "transformers", "ray/tune"),
    ],
    ids=lambda v: str(v)[:60],
)
def test_the_engine_that_a_name_asks_for_is_taken(written: dict[str, Any], engine: str, model: str) -> None:
    config = api.configure({"tasks": "bold", **written})
    assert (config.engine, config.model) == (engine, model) and "pretrained" not in config.model_args


def test_a_folder_is_a_model_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vllm" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = api.configure({"tasks": "bold", "model": "vllm/mine"})
    assert (config.engine, config.model) == ("transformers", "vllm/mine")


@pytest.mark.parametrize(
    "argv",
    [
        ["--model", "vllm", "--model_args", "pretrained=gpt2"],
        ["--model", "vllm/gpt2"],
        ["--engine", "sglang", "--model", "gpt2"],
    ],
    ids=" ".join,
)
def test_an_engine_that_is_not_here_is_never_replaced(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safety_eval.core import plugins
    from safety_eval.runs.engine_names import ALIASES

    asked = argv[1].partition("/")[0]
    if ALIASES[asked] in plugins.names("engines"):
        pytest.skip("this installation has it")
    assert main(["run", *argv, "--tasks", "bold", "--output-path", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert (
        ALIASES[asked] in said
        and "Available: echo, openai_server, transformers" in said
        and not (tmp_path / "r").exists()
    )


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"model": "hf"}, "no model"),
        ({"model": "hf/a", "engine": "echo"}, "two engines"),
        ({"model": "a", "model_args": {"pretrained": "b"}}, "two models"),
        ({"model": "hf/a", "model_args": {"pretrained": "b"}}, "two models"),
        ({"model": "hf/a", "dtype": "float16", "model_args": {"dtype": "float32"}}, "two precisions"),
    ],
    ids=lambda v: str(v)[:60],
)
def test_contradictions_are_refused(written: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        api.configure({"tasks": "bold", **written})


def test_the_door_runs_a_model_without_loading_anything_heavy_at_import(tmp_path: Path) -> None:
    code = (
        "import sys, safety_eval\n"
        "assert not {'torch', 'pandas', 'transformers'} & set(sys.modules)\n"
        "bold = {'tasks': ['bold'], 'data_version': 'quickstart', 'limit': 4}\n"
        "run = safety_eval.run(model='echo', output_path=sys.argv[1], **bold)\n"
        "import safety_eval.runs.opened, safety_eval.cli\n"
        "assert callable(safety_eval.run) and 'run' in dir(safety_eval)\n"
        "print(type(run).__name__, len(run.estimates()) > 0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "r")], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["Run", "True"], ran.stderr
