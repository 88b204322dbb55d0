"""Ten kinds of tokenizers as models carry them, each trained in a moment on the same short texts.

The kinds differ where a context meets a choice: what is joined over the boundary, what stands before a text or behind
it, and whether a blank belongs to the word that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tiny_models import fast
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
"""The pattern of Llama 3's tokenizer (a published fact): numbers in threes, line ends by themselves."""


def _bpe(core: Tokenizer, alphabet: Sequence[str] = ()) -> tuple[Tokenizer, Any]:
    return core, trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, initial_alphabet=list(alphabet), show_progress=False
    )


def _bytes(regex: bool, prefix: bool = False) -> tuple[Tokenizer, Any]:
    core = Tokenizer(models.BPE(unk_token=None))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)
    core.decoder = decoders.ByteLevel()
    return _bpe(core, sorted(pre_tokenizers.ByteLevel.alphabet()))


def _llama3() -> tuple[Tokenizer, Any]:
    core, trainer = _bytes(regex=False)
    split = pre_tokenizers.Split(Regex(_LLAMA3), "isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return core, trainer


def _metaspace(split: bool) -> tuple[Tokenizer, Any]:
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=split)
    core.decoder = decoders.Metaspace(prepend_scheme="first", split=split)
    return _bpe(core)


def _llama2() -> tuple[Tokenizer, Any]:
    """No pre-tokenizer at all: blanks are letters, written by a normalizer, as in Llama 2's file."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)])
    return _bpe(core)


def _unigram() -> tuple[Tokenizer, Any]:
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    return core, trainers.UnigramTrainer(vocab_size=600, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)


def _word_pieces() -> tuple[Tokenizer, Any]:
    core = Tokenizer(models.WordPiece(unk_token="<unk>"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    return core, trainers.WordPieceTrainer(vocab_size=700, special_tokens=SPECIAL, show_progress=False)


def _words() -> tuple[Tokenizer, Any]:
    core = Tokenizer(models.WordLevel(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return core, trainers.WordLevelTrainer(vocab_size=900, special_tokens=SPECIAL, show_progress=False)


def _only_bytes() -> tuple[Tokenizer, Any]:
    core, _ = _bytes(regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=260, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    return core, trainer


KINDS: dict[str, Callable[[], tuple[Tokenizer, Any]]] = {
    "gpt2": lambda: _bytes(regex=True),
    "bytes, a blank before the text": lambda: _bytes(regex=True, prefix=True),
    "bytes, joined over blanks": lambda: _bytes(regex=False),
    "llama3, <s> before": _llama3,
    "metaspace, <s> before": lambda: _metaspace(split=True),
    "metaspace, joined over blanks": lambda: _metaspace(split=False),
    "llama2, <s> before": _llama2,
    "unigram": _unigram,
    "word pieces": _word_pieces,
    "words": _words,
    "only bytes": _only_bytes,
    "gpt2, </s> behind": lambda: _bytes(regex=True),
}


def tokenizer(kind: str, texts: Sequence[str]) -> Any:
    """A tokenizer of a kind, trained on `texts`."""
    core, trainer = KINDS[kind]()
    core.train_from_iterator(texts, trainer)
    single = "<s> $A" if "<s>" in kind else "$A </s>" if "</s>" in kind else ""
    if single:
        marks = [(mark, core.token_to_id(mark)) for mark in ("<s>", "</s>")]
        core.post_processor = processors.TemplateProcessing(single=single, pair=None, special_tokens=marks)
    return fast(core)


def model(folder: Any, tokens: Any, seed: int = 0) -> Any:
    """Write a tiny Llama with random weights for a tokenizer into `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).eval().save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
