"""The fast path gives the plain path's numbers: shared prefixes, answer trees, slots, back-off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_conformance import by_id, prompts, with_choices
from tiny_models import CHATML, causal_lm

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Output, Prompt
from safety_eval.engines._transformers import check, generation, likelihood, plain, tree
from safety_eval.engines._transformers.engine import TransformersEngine
from safety_eval.engines._transformers.work import Asked, Asking, Work, prepare, prepare_choices
from safety_eval.engines.transformers import ENGINE
from safety_eval.torch_runtime.batches import Limit, packs
from safety_eval.torch_runtime.onednn import matmul_mode

FLAT = ("llama", "gpt2", "gpt_neox", "mistral", "qwen2", "qwen3", "opt")
PRIMER = "Q: What is the capital of France?\nA: It is Paris.\n\nQ: One or two?\nA: Two.\n\nQ: "


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TransformersEngine]:
    made: dict[Any, Any] = {}

    def get(kind: str, path: str = "auto", **config: Any) -> TransformersEngine:
        name = (kind, *sorted(config.items()))
        if name not in made:
            made[name] = causal_lm(tmp_path_factory.mktemp(kind), kind, chat_template=CHATML, **config)
        if (name, path) not in made:
            spec = ModelSpec(str(made[name]), args={"path": path}, device="cpu")
            made[name, path] = ENGINE.build(spec)
        engine: TransformersEngine = made[name, path]
        return engine

    return get


def primed() -> list[Prompt]:
    """Prompts behind one primer, of many lengths, with choices that share beginnings."""
    words = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "so", "on"]
    choices = (" yes", " yes, it is", " yes, it was", " no", " no", " 1986 is", " n")
    return [
        Prompt("t", f"q{i}", text=PRIMER + " ".join(words[: 1 + i % 9]) + "?\nA:", choices=choices[: 1 + i % 7])
        for i in range(23)
    ]


def same_outputs(a: TransformersEngine, b: TransformersEngine, asked: list[Prompt], **settings: Any) -> None:
    given = Settings("t", **{"max_new_tokens": 14, **settings})
    assert by_id(a.generate(asked, given)) == by_id(b.generate(asked, given))


@pytest.mark.parametrize("kind", FLAT)
def test_log_likelihoods_are_those_of_the_plain_path(kind: str, engines: Callable[..., TransformersEngine]) -> None:
    fast, slow = engines(kind), engines(kind, "plain")
    assert fast.identity["path"] == "flat" and slow.identity["path"] == "plain (asked for)"
    for asked in (primed(), with_choices()):
        one, two = by_id(fast.choose(asked, Settings("t"))), by_id(slow.choose(asked, Settings("t")))
        for name, output in one.items():
            assert output.choice_logprobs == pytest.approx(two[name].choice_logprobs, abs=1e-4)
            assert replace(output, choice_logprobs=()) == replace(two[name], choice_logprobs=())


@pytest.mark.parametrize("kind", FLAT)
def test_answers_are_token_for_token_those_of_the_plain_path(
    kind: str, engines: Callable[..., TransformersEngine]
) -> None:
    fast, slow = engines(kind), engines(kind, "plain")
    for asked in (primed(), prompts()):
        same_outputs(fast, slow, asked)
        same_outputs(fast, slow, asked, temperature=0.8, top_p=0.9, seed=5, stop=("e", "th", "\n"))
    same_outputs(fast, slow, primed(), chat_template=True, temperature=1.2)


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 64])
def test_slots_are_refilled_and_closed_up_without_a_trace(
    rows: int, engines: Callable[..., TransformersEngine]
) -> None:
    engine, slow = engines("llama"), engines("llama", "plain")
    settings = Settings("t", max_new_tokens=14, temperature=0.9, top_p=0.95, stop=("e", "a", " "))
    expected = by_id(slow.generate(primed() + prompts(), settings))
    assert len({o.output_tokens for o in expected.values()}) > 3
    engine._path._limit = Limit(torch.device("cpu"), rows)
    found = by_id(engine.generate(primed() + prompts(), settings))
    engine._path._limit = Limit(torch.device("cpu"), 128)
    assert found == expected


def test_a_shared_prefix_is_read_once_and_each_prompt_once(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines("llama")
    model, read = engine._open().model, []
    forward = model.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        read.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", counted)
    outputs = list(engine.choose(primed(), Settings("t")))
    tokenizer = engine._open().tokenizer
    asked = prepare_choices(Asking(tokenizer), primed(), Settings("t"))
    works = [a for a in asked if isinstance(a, Asked)]
    start = len(tree.choices_prefix(works))
    assert start >= len(tokenizer(PRIMER)["input_ids"]) - 1
    assert read[0] == start and sum(read) == start + sum(len(tree.grow(a, start)) for a in works)
    assert sum(read) < sum(a.tokens for a in works) / 10
    assert len(outputs) == len(primed())
    read.clear()
    list(engine.generate(primed(), Settings("t", max_new_tokens=1)))
    ready = prepare(Asking(tokenizer), primed(), Settings("t"))
    lengths = [len(w.ids) for w in ready if isinstance(w, Work)]
    assert sum(read) == start + sum(n - start for n in lengths)


def test_logits_are_asked_for_only_where_an_answer_is_weighed(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines("llama")
    model, kept = engine._open().model, []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *a, **k: kept.append(len(k["logits_to_keep"])) or forward(*a, **k))
    list(engine.choose(primed(), Settings("t")))
    asked = [a for a in prepare_choices(Asking(engine._open().tokenizer), primed(), Settings("t"))]
    nodes = sum(len({n for n, _ in tree.grow(a, 0).asks}) for a in asked if isinstance(a, Asked))
    assert sum(kept) == 1 + nodes


@pytest.mark.parametrize("kind", FLAT)
def test_logits_in_parts_are_those_of_one_pass_and_the_body_runs_once(
    kind: str, engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines(kind)
    whole = by_id(engine.choose(primed(), Settings("t")))
    monkeypatch.setattr(likelihood, "LOGITS", {"cpu": 1})
    body, head = engine._open().model.base_model, engine._open().model
    read, asked = [], []
    own = vars(body).get("forward")
    embedded = engine._open().model.get_input_embeddings()
    hooks = [
        embedded.register_forward_hook(lambda _, given, __: read.append(given[0].numel())),
        head.register_forward_hook(lambda _, __, out: asked.append(out.logits.shape[1])),
    ]
    parts = by_id(engine.choose(primed(), Settings("t")))
    if kind == "opt":
        # It calls its decoder past its base model: found out in the first pass, and never tried again.
        read.clear()
        asked.clear()
        parts = by_id(engine.choose(primed(), Settings("t")))
        assert len(asked) == len(read) and max(asked) > 16
    else:
        assert max(asked) <= 16 and len(asked) > 2 * len(read)
    for hook in hooks:
        hook.remove()
    assert vars(body).get("forward") is own
    for name, output in whole.items():
        assert parts[name].choice_logprobs == pytest.approx(output.choice_logprobs, abs=1e-5)


def test_a_tree_holds_each_beginning_once_and_sees_only_its_own_branch() -> None:
    asked = Asked(Prompt("t", "a"), (((1, 2, 3, 4), 2), ((1, 2, 3, 5, 6), 2), ((1, 2, 7), 2)))
    grown = tree.grow(asked, 1)
    assert grown.tokens == [2, 3, 5] and grown.parents == [-1, 0, 1] and grown.depths == [1, 2, 3]
    assert grown.asks == [(0, 3), (1, 4), (1, 5), (2, 6), (0, 7)]
    assert grown.sums == [[0, 1], [0, 2, 3], [4]]
    assert grown.sees().int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_packs_hold_every_item_once_within_the_budget() -> None:
    sizes = [3, 50, 7, 7, 1, 20, 9]
    found = packs(sizes, Limit(torch.device("cpu"), tokens=21))
    assert sorted(i for part in found for i in part) == list(range(7))
    assert all(len(p) == 1 or len(p) * max(sizes[i] for i in p) <= 21 for p in found)


def test_short_prefixes_are_left_alone() -> None:
    assert tree.shared_prefix([range(5), range(5)], 4) == ()
    assert tree.shared_prefix([range(20), range(12)], 30) == tuple(range(12))
    assert tree.shared_prefix([range(20), range(12)], 9) == tuple(range(9))
    assert tree.shared_prefix([], 9) == ()


def test_groups_of_like_length_keep_all_works() -> None:
    works = [Work(Prompt("t", str(n)), tuple(range(n)), 10, 0, "") for n in (200, 190, 60, 50, 20, 5)]
    found = list(generation.groups_of_like_length(works))
    assert [w for group in found for w in group] == works
    assert [len(group) for group in found] == [2, 2, 2]


def test_slots_that_are_filled_anew_are_only_as_long_as_their_works_need(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, slow = engines("llama"), engines("llama", "plain")
    seen, plain_slots = [], generation.Slots

    def slots(cache: Any, prefix: Any, lengths: list[int]) -> Any:
        seen.append((cache[0][0].shape[3], cache[0][0].data_ptr(), max(lengths)))
        return plain_slots(cache, prefix, lengths)

    monkeypatch.setattr(generation, "Slots", slots)
    engine._path._limit = Limit(torch.device("cpu"), 4)
    given = [Prompt("t", str(i), text="word " * (20 - i)) for i in range(12)]
    same_outputs(engine, slow, given, max_new_tokens=9)
    engine._path._limit = Limit(torch.device("cpu"), 128)
    capacities = [capacity for capacity, _, _ in seen]
    assert capacities == sorted(capacities, reverse=True) and len(set(capacities)) == 3
    assert len({place for _, place, _ in seen}) == 1, "one piece of memory serves all fills"
    assert all(longest < capacity for capacity, _, longest in seen)


def test_half_precision_takes_twice_the_rows_on_a_processor() -> None:
    cpu = torch.device("cpu")
    assert Limit.of("auto", cpu, torch.bfloat16).rows == 2 * Limit.of("auto", cpu, torch.float32).rows
    assert Limit.of("7", cpu, torch.bfloat16).rows == 7


def test_an_architecture_without_our_attention_takes_the_plain_path_and_says_why(
    engines: Callable[..., TransformersEngine], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for kind, word in (("bloom", "attention interface"), ("mamba", "attention interface")):
        assert word in engines(kind).identity["path"]
        assert word in caplog.text


def test_a_window_that_a_prompt_outgrows_sends_it_to_the_plain_path(
    engines: Callable[..., TransformersEngine], caplog: pytest.LogCaptureFixture
) -> None:
    fast, slow = engines("mistral", sliding_window=24), engines("mistral", "plain", sliding_window=24)
    assert fast.identity["path"] == "flat"
    same_outputs(fast, slow, prompts(("short", "x y z " * 20)), max_new_tokens=12)
    asked = [replace(p, choices=(" yes",)) for p in prompts(("short", "x y z " * 20))]
    one, two = by_id(fast.choose(asked, Settings("t"))), by_id(slow.choose(asked, Settings("t")))
    assert one["p1"].choice_logprobs == pytest.approx(two["p1"].choice_logprobs, abs=1e-4)


def test_only_what_outgrows_the_window_takes_the_plain_path(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, slow = engines("mistral", sliding_window=24), []
    for name in ("weigh", "answer"):
        own = getattr(engine._path._plain, name)
        noted = lambda asked, given, own=own: slow.extend(a.prompt.id for a in asked) or own(asked, given)  # noqa: E731
        monkeypatch.setattr(engine._path._plain, name, noted)
    asked = [replace(p, choices=(" yes",)) for p in prompts(("short", "x y z " * 20))]
    assert len(list(engine.choose(asked, Settings("t")))) == 2
    assert len(list(engine.generate(asked, Settings("t", max_new_tokens=4)))) == 2
    assert slow == ["p1", "p1"]


def test_soft_capped_attention_runs_flat(engines: Callable[..., TransformersEngine]) -> None:
    fast = engines("gemma2", sliding_window=4096, attn_logit_softcapping=2.0)
    slow = engines("gemma2", "plain", sliding_window=4096, attn_logit_softcapping=2.0)
    assert fast.identity["path"] == "flat"
    same_outputs(fast, slow, primed())


def probed(engine: TransformersEngine) -> str:
    """The way that the check at load would choose now, whatever it remembers."""
    return str(check._Probe(engine._open()).way("auto"))


def test_a_wrong_tree_is_found_at_load(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probed(engines("llama")) == "flat"
    monkeypatch.setattr(tree.Tree, "sees", lambda self: torch.ones((len(self), len(self)), dtype=torch.bool).tril())
    assert "log-likelihoods differ" in probed(engines("llama"))


def test_wrong_slots_are_found_at_load_by_generation_alone(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_slots = generation.Slots
    monkeypatch.setattr(
        generation, "Slots", lambda cache, prefix, held: plain_slots(cache, prefix, [n + 1 for n in held])
    )
    assert "answers differ" in probed(engines("llama"))


def test_a_padded_batch_that_changes_its_rows_is_run_one_by_one(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines("bloom")
    model, forward = engine._open().model, engine._open().model.forward
    # As models do that carry a state through padding: rows of a batch see one another.
    monkeypatch.setattr(model, "forward", lambda *a, **k: _mixed(forward(*a, **k)))
    assert probed(engine).startswith("one by one (log-likelihoods differ")


def _mixed(out: Any) -> Any:
    if out.logits.shape[0] > 1:
        out.logits = out.logits.flip(0)
    return out


def test_what_is_not_causal_or_not_finite_is_refused(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines("gpt_neox")
    model, forward = engine._open().model, engine._open().model.forward

    def changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            out = forward(*args, **kwargs)
            out.logits = change(out.logits)
            return out

        return run

    monkeypatch.setattr(model, "forward", changed(lambda x: x + x.mean(dim=1, keepdim=True)))
    with pytest.raises(UserError, match="not causal"):
        probed(engine)
    monkeypatch.setattr(model, "forward", changed(lambda x: x * float("nan")))
    with pytest.raises(UserError, match="finite"):
        probed(engine)


@pytest.mark.parametrize("path", ["auto", "plain"])
@pytest.mark.parametrize("temperature", [0.0, 0.2, 0.9])
def test_numbers_that_are_not_finite_are_an_error_of_their_prompt_alone(
    path: str, temperature: float, engines: Callable[..., TransformersEngine]
) -> None:
    engine = engines("gpt_neox", path)
    bad = engine._open().tokenizer("Z", add_special_tokens=False)["input_ids"][0]
    settings = Settings("t", max_new_tokens=4, temperature=temperature, top_p=0.9)
    texts = ("one", "the Z fox jumps over", "two or three", "Z", "the lazy dog", "so on and so on")
    asked = [replace(p, choices=(" yes", " no")) for p in prompts(texts)]
    sound = by_id(engine.generate(asked, settings)), by_id(engine.choose(asked, settings))
    weight = engine._open().model.get_input_embeddings().weight
    kept = weight[bad].clone()
    try:
        weight[bad] = float("nan")
        broken = by_id(engine.generate(asked, settings)), by_id(engine.choose(asked, settings))
    finally:
        weight[bad] = kept
    for before, after in zip(sound, broken, strict=True):
        # A prompt meets the bad token in its text, or in the answer that it gives.
        hit = {p.id for p in asked if "Z" in p.text or "Z" in (before[p.id].text or "")}
        assert {"p1", "p3"} <= hit < set(after)
        for i, output in after.items():
            assert ("NaN or infinite" in output.error) == (i in hit)
            if i not in hit:
                assert output.text == before[i].text
                assert output.choice_logprobs == pytest.approx(before[i].choice_logprobs, abs=1e-5)


def test_values_narrower_than_keys_have_slots_of_their_own_width(
    tmp_path: Path,
) -> None:
    import transformers as t
    from tiny_models import byte_level_tokenizer

    tokenizer = byte_level_tokenizer()
    config = t.DeepseekV3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=64,
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        q_lora_rank=24,
        kv_lora_rank=16,
        qk_nope_head_dim=16,
        qk_rope_head_dim=8,
        v_head_dim=12,
        max_position_embeddings=128,
        initializer_range=0.2,
        head_dim=8,
    )
    torch.manual_seed(0)
    t.AutoModelForCausalLM.from_config(config).eval().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    fast, slow = (ENGINE.build(ModelSpec(str(tmp_path), {"path": p}, device="cpu")) for p in ("auto", "plain"))
    assert fast.identity["path"] == "flat"
    same_outputs(fast, slow, primed())


def test_half_precision_passes_the_check_at_load(engines: Callable[..., TransformersEngine]) -> None:
    assert engines("llama", dtype="bfloat16").identity["path"] == "flat"


def limited(model: Any, most: int, seen: list[int]) -> Callable[..., Any]:
    forward = model.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["input_ids"].numel())
        if seen[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **kwargs)

    return run


def test_out_of_memory_makes_smaller_passes_and_remembers(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, seen = engines("qwen2"), []
    settings = Settings("t", max_new_tokens=6)
    expected = by_id(engine.choose(primed(), settings)), by_id(engine.generate(primed(), settings))
    monkeypatch.setattr(engine._open().model, "forward", limited(engine._open().model, 60, seen))
    weighed, answers = by_id(engine.choose(primed(), settings)), by_id(engine.generate(primed(), settings))
    for name, output in weighed.items():
        assert output.choice_logprobs == pytest.approx(expected[0][name].choice_logprobs, abs=1e-4)
    assert answers == expected[1]
    assert max(seen) > 60
    seen.clear()
    by_id(engine.choose(primed(), settings))
    assert max(seen) <= 60


def test_a_prompt_too_large_alone_is_data_and_the_rest_goes_on(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines("gpt2")
    asked = [replace(p, choices=(" yes",)) for p in prompts(("short", "x y z " * 20, "small"))]
    monkeypatch.setattr(engine._open().model, "forward", limited(engine._open().model, 40, []))
    for found in (by_id(engine.choose(asked, Settings("t"))), by_id(engine.generate(asked, Settings("t")))):
        assert "out of memory" in found["p1"].error
        assert not found["p0"].error and not found["p2"].error


def test_torchs_settings_are_left_as_they_were(engines: Callable[..., TransformersEngine]) -> None:
    engine = engines("llama")
    before = torch.get_float32_matmul_precision(), engine._open().model.config._attn_implementation
    for output in engine.generate(primed(), Settings("t", max_new_tokens=3)):
        assert isinstance(output, Output)
        assert (
            torch.get_float32_matmul_precision(),
            engine._open().model.config._attn_implementation,
        ) == before
    assert engine.identity["matmul"].partition(",")[0] in ("oneDNN", "default")


def test_faster_products_are_refused_where_they_are_not_float32(
    engines: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda x, w: linear(x.bfloat16().float(), w.bfloat16().float()))
    assert matmul_mode(torch.device("cpu"), torch.float32) == "default"


def test_plain_and_fast_sums_agree_on_random_tokens(engines: Callable[..., TransformersEngine]) -> None:
    loaded = engines("gpt_neox")._open()
    probe = check._Probe(loaded).asked
    fast, slow = likelihood.weigh_all(loaded, probe, 1000), plain.choose(loaded, probe, Limit(loaded.device, 2))
    assert [v for row in fast for v in row] == pytest.approx([v for row in slow for v in row], abs=1e-4)


def test_weights_laid_out_once_give_the_same_products(tmp_path: Path) -> None:
    import transformers as t

    from safety_eval.torch_runtime import onednn as prepack

    folder = causal_lm(tmp_path, "qwen2")
    model = t.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.arange(20)[None] + 5
    with torch.inference_mode():
        plain_logits = model(ids).logits
        assert prepack.prepack(model, "default") is False
        if not prepack.prepack(model, "oneDNN"):
            pytest.skip("no oneDNN here, or little memory")
        assert torch.allclose(model(ids).logits, plain_logits, atol=1e-4)
        for layer in model.modules():
            vars(layer).pop("forward", None)
        assert torch.equal(model(ids).logits, plain_logits)
