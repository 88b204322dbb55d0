"""What a run takes is told before it is asked: tokens as the engine then counts them, hours measured, a price."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from tiny_models import CHATML, causal_lm

from safety_eval.cli import main
from safety_eval.core.errors import UserError
from safety_eval.runs import answers, cost, pipeline
from safety_eval.runs.config import run_config

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("bold", "truthfulqa_choice")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    where = tmp_path_factory.mktemp("cost")
    return str(causal_lm(where, "llama", seed=2, chat_template=CHATML, add_bos=True, max_position_embeddings=2048))


def asked(model: str, **more: object) -> dict[str, object]:
    decoding = {"max_new_tokens": 5}
    return {"model": model, "tasks": TASKS, "data_version": "quickstart", "generation": decoding, **more}


def test_tokens_are_counted_as_the_engine_then_counts_them(model: str, tmp_path: Path) -> None:
    told = {c.task: c for c in cost.costs(run_config(asked(model)), probe=4)}
    folder = pipeline.run(run_config(asked(model, output_path=tmp_path / "run", predict_only=True)))
    for task, estimate in told.items():
        outputs = answers.outputs(folder, task).values()
        assert estimate.counted and estimate.answers == len(outputs)
        assert estimate.tokens_in == sum(output.prompt_tokens for output in outputs)
        written = sum(output.output_tokens for output in outputs)
        assert written <= estimate.most_out and estimate.asking and estimate.scoring
        if task == "truthfulqa_choice":
            assert estimate.tokens_out == written, "choices are counted, not guessed"
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "the probe leaves nothing"


def test_without_a_tokenizer_it_is_an_estimate_and_without_a_probe_there_are_no_hours() -> None:
    (told,) = cost.costs(run_config({**asked("echo"), "engine": "echo", "tasks": ("bold",)}))
    assert not told.counted and told.tokens_in > 0 and told.asking is None and told.tokens_out is None
    assert cost.paid(told, cost.Price(gpu_hour=2)) is None and cost.paid(told, cost.Price(million_out=1)) is None
    assert cost.paid(told, cost.Price(million_in=2)) == pytest.approx(told.tokens_in * 2e-6)


def test_a_price_is_hours_on_all_cards_and_tokens() -> None:
    told = cost.TaskCost("t", 10, 10, 2_000_000, True, 9, 500_000.0, asking=1.5, scoring=0.5)
    rates = cost.price("gpu_hour=3,gpus=4,million_in=0.5,million_out=2")
    assert cost.paid(told, rates) == pytest.approx(2 * 4 * 3 + 2 * 0.5 + 0.5 * 2)
    for text in ("gpu_hour=-1", "gpu_hour=nan", "gpu_hour=inf", "gpu_hour=dear", "hour=1", "gpu_hour"):
        with pytest.raises(UserError):
            cost.price(text)


def test_a_dry_run_and_a_plan_say_it(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["run", "--model", model, "--tasks", "bold", "--data-version", "quickstart", "--dry-run"]
    assert main([*ask, "--price", "gpu_hour=2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "What it takes" in said and "at most 2,176" in said and "not known without --probe" in said
    assert main([*ask[:-1], "--probe", "3", "--output-path", str(tmp_path / "r")]) == 2
    assert "Add --dry-run" in capsys.readouterr().err
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: 1\nname: p\ndata: {bold: quickstart}\nrules:\n"
        "  - {id: sad, task: bold, metric: negative_rate, group: all, max: 0.99, because: a test,\n"
        "     floor_met_because: a test}\n"
    )
    main(["plan", "--policy", str(policy), "--model", model])
    assert "What it takes" in capsys.readouterr().out
    assert main(["plan", "--policy", str(policy), "--probe", "3"]) == 2


def test_the_table_of_scale_is_what_its_script_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("scale", ROOT / "benchmarks" / "speed" / "scale.py")
    assert spec is not None and spec.loader is not None
    scale = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scale", scale)
    spec.loader.exec_module(scale)
    page = (ROOT / "docs" / "explanation" / "scale.md").read_text(encoding="utf-8")
    assert "\n".join(scale.table()) in page
