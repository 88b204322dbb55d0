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
        ({"model": "ray/gpt2"}, "ray", "gpt2"),
        ({"model": "ray", "model_args": {"pretrained": "gpt2"}}, "ray", "gpt2"),
        ({"model": "ray/vllm/gpt2"}, "ray", "gpt2"),
        ({"model": "ray/echo"}, "ray", "echo"),
    ],
    ids=lambda v: str(v)[:60],
)
def test_the_engine_that_a_name_asks_for_is_taken(written: dict[str, Any], engine: str, model: str) -> None:
    config = api.configure({"tasks": "bold", **written})
    assert (config.engine, config.model) == (engine, model) and "pretrained" not in config.model_args


@pytest.mark.parametrize(
    ("written", "inner"),
    [
        ({"model": "ray/gpt2"}, None),
        ({"model": "ray/vllm/gpt2"}, "vllm"),
        ({"model": "ray/hf/gpt2"}, "transformers"),
        ({"model": "ray/gpt2", "model_args": "inner=hf,replicas=2"}, "transformers"),
        ({"model": "gpt2", "engine": "ray", "model_args": "inner=vllm"}, "vllm"),
        ({"model": "ray/openai/gpt-oss-20b"}, None),
        ({"model": "ray/openai/gpt-oss-20b", "base_url": "http://h/v1"}, "openai_server"),
    ],
    ids=str,
)
def test_the_engine_inside_another_is_the_one_that_was_named(written: dict[str, Any], inner: str | None) -> None:
    config = api.configure({"tasks": "bold", **written})
    assert config.engine == "ray" and config.model_args.get("inner") == inner
    assert config.model == ("openai/gpt-oss-20b" if written == {"model": "ray/openai/gpt-oss-20b"} else config.model)


@pytest.mark.parametrize(
    ("written", "naming"),
    [
        ({"model": "ray/vllm/gpt2", "model_args": "inner=hf"}, "two inner engines"),
        ({"model": "ray/sglang/gpt2"}, "does not have"),
        ({"model": "ray/gpt2", "model_args": "inner=vlm"}, "vllm"),
        ({"model": "ray"}, "no model"),
    ],
    ids=str,
)
def test_an_inner_engine_is_never_replaced(written: dict[str, Any], naming: str) -> None:
    with pytest.raises(UserError, match=naming):
        api.configure({"tasks": "bold", **written})


def test_where_the_work_is_done_may_change_when_a_run_is_resumed() -> None:
    few, many = (
        api.configure({"tasks": "bold", "model": "ray/gpt2", "model_args": {"replicas": n, "split": "whole"}})
        for n in ("2", "8")
    )
    assert few.asked() == many.asked() and few.asked()["model_args"] == {"split": "whole"}
    assert few.model_args["replicas"] == "2", "the configuration itself is not changed"


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
        and "Available: echo, imported, openai_server, ray, transformers" in said
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


NOBODY = ("--base-url", "http://127.0.0.1:9/v1")
NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "vllm/ID": (("--model", "vllm/{tiny}"), ("vllm: package not installed", "safety-eval[vllm]")),
    "lm-eval's vllm": (
        ("--model", "vllm", "--model_args", "pretrained={tiny},tensor_parallel_size=8,dtype=bfloat16"),
        ("vllm: package not installed",),
    ),
    "vllm with a wrong number": (
        ("--model", "vllm", "--model_args", "pretrained={tiny},tensor_parallel_size=all"),
        ("tensor_parallel_size is 'all'", "a whole number"),
    ),
    "vllm with a device": (
        ("--model", "vllm/{tiny}", "--device", "cuda:1"),
        ("takes no device", "CUDA_VISIBLE_DEVICES"),
    ),
    "vllm with an adapter that is not there": (
        ("--model", "vllm/{tiny}", "--model-args", "lora=nowhere,quantization=awq"),
        ("nowhere/adapter_config.json: no such file",),
    ),
    "hf/ID": (("--model", "hf/nobody/no-such-model"), ("nobody/no-such-model",)),
    "hf with a quantisation": (
        ("--model", "hf/{tiny}", "--model-args", "quantization=awq"),
        ("the transformers engine takes no quantization", "--model vllm/ID"),
    ),
    "lm-eval's hf with a quantisation": (
        ("--model", "hf", "--model_args", "pretrained={tiny},load_in_4bit=True"),
        ("takes no load_in_4bit",),
    ),
    "lm-eval's hf with an adapter": (
        ("--model", "hf", "--model_args", "pretrained={tiny},peft=nowhere"),
        ("nowhere/adapter_model.safetensors: no such file",),
    ),
    "hf on a card that is not here": (("--model", "hf/{tiny}", "--device", "cuda:7"), ("cuda:7",)),
    "openai/ID": (("--model", "openai/gpt-oss-20b", *NOBODY), ("no model server answers",)),
    "openai/ID without a server": (("--model", "openai/gpt-oss-20b"), ("openai/gpt-oss-20b",)),
    "openai/ID with a precision": (
        ("--model", "openai/gpt-oss-20b", *NOBODY, "--dtype", "bfloat16"),
        ("takes no dtype", "the server holds the model"),
    ),
    "openai/ID with a device": (("--model", "openai/gpt-oss-20b", *NOBODY, "--device", "cpu"), ("takes no device",)),
    "openai/ID with an adapter": (
        ("--model", "openai/gpt-oss-20b", *NOBODY, "--model-args", "lora=nowhere"),
        ("takes no lora", "openai/ADAPTER"),
    ),
    "ray/vllm/ID": (
        ("--model", "ray/vllm/{tiny}", "--model-args", "replicas=2"),
        ("vllm: package not installed",),
    ),
    "ray with a mistyped argument": (
        ("--model", "ray/{tiny}", "--model-args", "replcas=2"),
        ("the ray engine has no model argument 'replcas'", "Did you mean 'replicas'"),
    ),
    "ray/ID with what the inner engine cannot": (
        ("--model", "ray/{tiny}", "--model-args", "quantization=awq"),
        ("the transformers engine takes no quantization",),
    ),
}
"""Names and arguments that people type -> what is said of them, on a machine without vLLM and without a server."""


@pytest.mark.parametrize("name", NAMES)
def test_a_name_reaches_its_engine_or_ends_with_the_reason(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_models import causal_lm

    from safety_eval.core import packages
    from safety_eval.engines._server import handshake

    if packages.installed("vllm"):
        pytest.skip("this environment has vLLM")
    monkeypatch.setattr(handshake, "LISTED_SECONDS", 0.2)
    argv, naming = NAMES[name]
    tiny = causal_lm(tmp_path / "tiny", "llama")
    argv = tuple(word.format(tiny=tiny) for word in argv)
    run = tmp_path / "r"
    quick = ("--tasks", "bold", "--data-version", "quickstart", "--output-path", str(run))
    assert main(["run", *argv, *quick]) == 2
    said = " ".join(capsys.readouterr().err.split())
    for words in naming:
        assert words in said, said
    assert not list(run.glob("*/outputs.jsonl"))
