"""What lm-eval's and inspect's users type works, or says what to type."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from safety_eval import api
from safety_eval.cli import cli, lm_eval, main
from safety_eval.core.errors import UserError
from safety_eval.core.plugins import names

FLAGS_OF_LM_EVAL = {
    "config": "C",
    "tasks": "t",
    "model": "M",
    "model_args": "a",
    "apply_chat_template": "",
    "limit": "L",
    "use_cache": "c",
    "num_fewshot": "f",
    "batch_size": "b",
    "max_batch_size": "",
    "device": "",
    "gen_kwargs": "",
    "output_path": "o",
    "log_samples": "s",
    "samples": "E",
    "cache_requests": "",
    "check_integrity": "",
    "system_instruction": "",
    "fewshot_as_multiturn": "",
    "include_path": "",
    "verbosity": "v",
    "write_out": "w",
    "show_config": "",
    "wandb_args": "",
    "wandb_config_args": "",
    "trackio_args": "",
    "hf_hub_log_args": "",
    "predict_only": "x",
    "seed": "",
    "trust_remote_code": "",
    "confirm_run_unsafe_code": "",
    "metadata": "",
}
"""Of `lm_eval run` 0.4.13, read off its parser (.ci/consumers compares them)."""
ASK = ["--model", "echo", "--engine", "echo", "--tasks", "xstest", "--data-version", "quickstart", "--dry-run"]


def test_the_table_holds_every_flag_of_lm_eval() -> None:
    assert {flag.name: flag.short for flag in lm_eval.FLAGS} == FLAGS_OF_LM_EVAL


@pytest.mark.parametrize("flag", lm_eval.FLAGS, ids=lambda flag: flag.name)
@pytest.mark.parametrize("short", [False, True], ids=["long", "short"])
def test_a_flag_of_lm_eval_works_or_says_what_to_write(
    flag: lm_eval.Flag,
    short: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if short and not flag.short:
        return
    monkeypatch.chdir(tmp_path)
    Path("settings.yaml").write_text("seed: 3\n", encoding="utf-8")
    written = f"-{flag.short}" if short else flag.written
    values = {"model": ("echo",), "tasks": ("xstest", "red_team")}.get(flag.name, flag.example)
    given = [word for word in ASK if not (flag.name in ("model", "tasks") and word in ("--" + flag.name,))]
    if flag.name in ("model", "tasks"):
        given.remove({"model": "echo", "tasks": "xstest"}[flag.name])
    given += ["--scorer", "red_team=risk_words"] if flag.name == "tasks" else []
    code = main(["run", *given, written, *values])
    said = capsys.readouterr()
    text = said.out + said.err
    if flag.deed is lm_eval.Deed.REFUSED:
        assert code == 2 and "No such option" not in text
        assert "->" in text and flag.name.partition("_")[0] in text
    elif flag.name == "trust_remote_code":
        assert code == 2 and "the echo engine has no model argument 'trust_remote_code'" in text
    else:
        assert code == 0, text
        assert (flag.words in said.err) == (flag.deed is lm_eval.Deed.IDLE)


SETTINGS = {
    "limit": (["--limit", "0.25"], 0.25),
    "batch_size": (["--batch_size", "auto:4"], "auto"),
    "system_prompt": (["--system_instruction", "Be brief."], "Be brief."),
    "model_args": (
        ["--model_args", "revision=a", "path=plain", "--trust_remote_code"],
        {"revision": "a", "path": "plain", "trust_remote_code": "true"},
    ),
    "seed": (["--seed", "7"], 7),
    "predict_only": (["-x"], True),
    "chat_template": (["--apply_chat_template"], "on"),
    "tasks": (["-t", "toxi*,bold", "xstest"], ("toxigen", "toxigen_likelihood", "bold", "xstest")),
}


@pytest.mark.parametrize("field", SETTINGS)
def test_a_flag_sets_what_it_says(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words, expected = SETTINGS[field]
    asked = {}
    monkeypatch.setattr(api, "preflight", lambda config: asked.update(config=config) or [])
    monkeypatch.setattr(api, "preview", lambda config: [])
    tasks = [] if field == "tasks" else ["--tasks", "bold"]
    assert main(["--model", "x", *tasks, "--dry-run", *words]) == 0  # no subcommand = run
    assert getattr(asked["config"], field) == expected


def test_decoding_by_lm_evals_names() -> None:
    base = {"model": "echo", "engine": "echo", "tasks": "bold"}
    made = api.configure({**base, "gen_kwargs": "do_sample=False,max_gen_toks=9"}).generation
    assert (made.temperature, made.max_new_tokens) == (0, 9)
    assert api.configure({**base, "gen_kwargs": "do_sample=True"}).generation.temperature == 1
    for wrong in ("until=x", "do_sample=False,temperature=0.7", "max_gen_toks=9,max_new_tokens=8"):
        with pytest.raises(UserError):
            api.configure({**base, "gen_kwargs": wrong})


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--limit", "10-20"], "--limit 10: drawn by --seed"),
        (["--limit", "1.5"], "share between 0 and 1"),
        (["--limit", "0"], "at least 1"),
        (["--limit", "ten"], "share of each task's"),
        (["--seed", "0,1234,1234,1234"], "--seed 0."),
        (["--samples", '{"bold": [0]}'], "--limit N"),
        (["--num_fewshot", "5"], "Each task's own protocol"),
        (["--tasks", "zz*"], "no task matches 'zz*'"),
    ],
    ids=str,
)
def test_what_would_break_a_promise_is_explained(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ASK, *words]) == 2
    assert hint in capsys.readouterr().err


def test_a_share_of_the_prompts_is_drawn_and_told(tmp_path: Path) -> None:
    run = api.run(
        model="echo", engine="echo", tasks="xstest", data_version="quickstart", limit=0.25, output_path=tmp_path / "r"
    )
    listed = sum(stratum.listed for stratum in run.drawn("xstest").strata)
    assert run.file.tasks["xstest"].prompts == -(-listed // 4) and run.file.config.limit == 0.25


def test_a_folder_of_own_tasks(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("", encoding="utf-8")
    flags, _ = lm_eval.settled({"tasks": "own,bold", "lm_eval_include_path": str(tmp_path)})
    assert flags["tasks"] == f"{tmp_path / 'own.py'},bold"


def completed(words: str) -> set[str]:
    """What bash would offer for the last word."""
    environment = {
        "_SAFETY_EVAL_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    told = CliRunner().invoke(cli, prog_name="safety-eval", env=environment).output
    return {line.partition(",")[2] for line in told.splitlines()}


def test_a_shell_completes_tasks_engines_and_scorers() -> None:
    assert completed("safety-eval run --tasks bo") == {"bold"}
    assert completed("safety-eval run --tasks bold,xs") == {"bold,xstest"}
    assert completed("safety-eval run --engine ec") == {"echo"}
    assert completed("safety-eval run --scorer toxigen=det") == {"toxigen=detoxify"}
    assert completed("safety-eval audit va") == {"vader"}
    assert completed("safety-eval run --tasks qui") == {"quickstart"}
    assert {f"{task}=" for task in names("tasks")} >= completed("safety-eval run --scorer tox") != set()


def test_python_m_is_the_command_line() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "safety_eval", "ls", "suites"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=True,
    )
    assert "code-llama" in ran.stdout
