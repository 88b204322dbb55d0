"""Real models of transformers' own classes, tiny, with random weights: what the tests run instead of mocks.

Each builder writes a folder as `save_pretrained` leaves it (config, safetensors weights, tokenizer), in well
under a second, the same for the same seed. Import it as `from tiny_models import causal_lm, classifier`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

CORPUS = (
    "The quick brown fox jumps over the lazy dog. What is the capital of France? It is Paris.",
    "Q: What happens to you if you eat watermelon seeds?\nA: Nothing happens. They pass through you.",
    "Many women and men work as nurses, engineers, teachers and dancers; they are kind and strong.",
    "1. one 2. two 3. three 10 20 30 1986 2024. Yes, no. True, false. I have no comment. I cannot help.",
    "Straße, naïve, café, garçon; Привет мир; 你好，世界; مرحبا بالعالم; שלום; हिन्दी; emoji 🙂.",
    "user assistant system think answer question the a of and to in is it for on with as was that by from",
)
"""What the tiny tokenizers are trained on (ours)."""

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<mask>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A ChatML template, as many instruct models carry one."""


def fast(core: Any) -> Any:
    """The tokenizer of `tokenizers` as transformers' own class; pads on the left."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def byte_level_tokenizer(vocab_size: int = 420, chat_template: str | None = None, add_bos: bool = False) -> Any:
    """A byte-level BPE tokenizer (any text round-trips) with the SPECIAL tokens first; pads on the left."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    core = Tokenizer(models.BPE(unk_token=None))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL[:7]),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    core.add_tokens(list(SPECIAL[7:]))
    if add_bos:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", core.token_to_id("<s>"))]
        )
    tokenizer = fast(core)
    tokenizer.chat_template = chat_template
    return tokenizer


_SIZES = {"hidden": 32, "layers": 2, "heads": 4, "context": 256}


def _causal_config(kind: str, vocab: int, extra: dict[str, Any]) -> Any:
    import transformers as t

    hidden, layers, heads, context = _SIZES.values()
    common = {
        "vocab_size": vocab,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "initializer_range": 0.25,
    }
    gpt = {"n_embd": hidden, "n_layer": layers, "n_head": heads, "n_positions": context}
    modern = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": context,
    }
    grouped = {**modern, "num_key_value_heads": 2}
    families: dict[str, tuple[Any, dict[str, Any]]] = {
        "llama": (t.LlamaConfig, {**grouped, "tie_word_embeddings": True}),
        "gpt2": (t.GPT2Config, gpt),
        "gpt_neox": (t.GPTNeoXConfig, modern),
        "mistral": (t.MistralConfig, {**grouped, "sliding_window": None}),
        "qwen2": (t.Qwen2Config, grouped),
        "qwen3": (t.Qwen3Config, {**grouped, "head_dim": 8}),
        "gemma2": (t.Gemma2Config, {**grouped, "head_dim": 8, "sliding_window": 32}),
        "opt": (
            t.OPTConfig,
            {
                **{k: v for k, v in modern.items() if k != "intermediate_size"},
                "ffn_dim": 64,
                "word_embed_proj_dim": hidden,
            },
        ),
        "bloom": (t.BloomConfig, {"hidden_size": hidden, "n_layer": layers, "n_head": heads}),
        "mamba": (t.MambaConfig, {"hidden_size": hidden, "num_hidden_layers": layers, "state_size": 4}),
    }
    make, sizes = families[kind]
    return make(**{**common, **sizes, **extra})


def causal_lm(
    folder: Path,
    kind: str = "llama",
    seed: int = 0,
    chat_template: str | None = None,
    add_bos: bool = False,
    dtype: str = "float32",
    **config: Any,
) -> Path:
    """Write a causal language model and its tokenizer into `folder` and return it.

    Args:
        kind: llama, gpt2, gpt_neox, mistral, qwen2, qwen3, gemma2, opt, bloom or mamba.
        chat_template: e.g. CHATML; None = a base model.
        add_bos: the tokenizer puts <s> before every text.
        config: overrides of the configuration's own names, e.g. max_position_embeddings=64.
    """
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = byte_level_tokenizer(chat_template=chat_template, add_bos=add_bos)
    settings = _causal_config(kind, len(tokenizer), config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(settings)
    model.to(getattr(torch, dtype)).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def thinker(folder: Path, chat_template: str, seed: int = 5, **config: Any) -> Path:
    """A Llama of random weights that closes a thought now and then: its marks are tokens, as in real vocabularies."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    causal_lm(folder, "llama", seed=seed, chat_template=chat_template, **config)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=True)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    head, close = model.get_output_embeddings().weight.data, tokenizer.convert_tokens_to_ids("</think>")
    head[close] = head[tokenizer.eos_token_id].clone()  # where it would have ended, it closes its thought
    head[tokenizer.eos_token_id] = 0.0
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def ponderer(folder: Path, chat_template: str, until: int, answer: str, context: int = 1024) -> Path:
    """A GPT-2 that thinks until position `until` of its context, then closes its thought, gives `answer` and ends,
    whatever it was asked: each position's embedding alone decides the next token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    causal_lm(folder, "gpt2", chat_template=chat_template, n_positions=context, n_layer=1, tie_word_embeddings=False)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    thought, close, said = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("Well, Q: hm.\n\n", "</think>", answer)
    )
    script = [thought[i % len(thought)] for i in range(until)] + close + said
    script += [tokenizer.eos_token_id] * (context - len(script))
    tokens = sorted(set(script))
    assert len(tokens) <= model.config.n_embd, "one dimension for each token of the script"
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.transformer.ln_f.weight.fill_(1.0)
        for at, token in enumerate(script):
            model.transformer.wpe.weight[at, tokens.index(token)] = 1.0
        for dimension, token in enumerate(tokens):
            model.lm_head.weight[token, dimension] = 30.0
    model.save_pretrained(folder)
    return folder


def _word_pieces() -> dict[str, int]:
    words = sorted({w.strip(".,;:?!").lower() for text in CORPUS for w in text.split()} - {""})
    letters = sorted({c for text in CORPUS for c in text.lower() if not c.isspace()} | set(ascii_lowercase))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), *words]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}


def classifier_tokenizer(kind: str) -> Any:
    """The tokenizer that `classifier` saves: RobertaTokenizer (byte-level BPE) or BertTokenizer (pieces)."""
    import transformers as t

    if kind == "bert":
        return t.BertTokenizer(vocab=_word_pieces(), do_lower_case=True, model_max_length=128)
    core = json.loads(byte_level_tokenizer().backend_tokenizer.to_str())["model"]
    merges = [tuple(m) for m in core["merges"]]
    return t.RobertaTokenizer(vocab=core["vocab"], merges=merges, model_max_length=128)


def classifier(
    folder: Path,
    kind: str = "roberta",
    labels: Sequence[str] = ("LABEL_0", "LABEL_1"),
    seed: int = 0,
    **config: Any,
) -> Path:
    """Write a sequence classifier ('roberta' or 'bert') and its tokenizer into `folder` and return it.

    `problem_type="multi_label_classification"` makes it a multi-label one, as detoxify's are.
    """
    import torch
    import transformers as t

    tokenizer = classifier_tokenizer(kind)
    make = {"roberta": t.RobertaConfig, "bert": t.BertConfig}[kind]
    settings = make(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=130,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
        **config,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = t.AutoModelForSequenceClassification.from_config(settings)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
