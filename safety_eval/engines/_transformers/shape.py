"""What a model's configuration says of its size: context, window, where sequences mix, and bytes of a token's cache."""

from __future__ import annotations

from typing import Any


def inner(config: Any) -> Any:
    """The configuration of the language model inside one that also sees or hears."""
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def values(config: Any, name: str) -> list[Any]:
    """What a configuration says under a name: one value, or one for each layer where these differ; [] = nothing."""
    try:
        found = [getattr(config, name, None)]
    except RuntimeError:
        # Where layers differ (Gemma 4), transformers refuses to say it of all at once.
        found = [getattr(layer, name, None) for layer in config.per_layer_config]
    return [value for value in found if value is not None]


def _numbers(config: Any, *names: str) -> list[int]:
    """Positive whole numbers under these names."""
    found = [value for name in names for value in values(config, name)]
    return [n for n in found if isinstance(n, int) and not isinstance(n, bool) and n > 0]


def context(config: Any) -> int | None:
    """The longest sequence in tokens, None = the architecture sets no limit."""
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length")
    return next((min(found) for name in names if (found := _numbers(inner(config), name))), None)


def window(config: Any) -> int | None:
    """The least reach of any layer: sliding windows and chunks, by the names that configurations give them."""
    text = inner(config)
    names = ("sliding_window", "attention_chunk_size", "window_size", "attention_window_size", "chunk_size")
    listed = [n for kept in values(text, "attention_window") if isinstance(kept, (list, tuple)) for n in kept]
    return min([*_numbers(text, *names), *(n for n in listed if isinstance(n, int) and n > 0)], default=None)


def mixing(config: Any) -> int | None:
    """The longest sequence whose numbers do not depend on what else is in the batch, None = any.

    Where rotary frequencies follow the longest sequence of a pass (LongRoPE, dynamic NTK), sequences beyond the
    original length change those that share the pass.
    """
    text = inner(config)
    ropes = [*values(text, "rope_parameters"), *values(text, "rope_scaling")]
    kinds = [k for rope in ropes if isinstance(rope, dict) for k in (rope, *rope.values()) if isinstance(k, dict)]
    moving = [k for k in kinds if str(k.get("rope_type", k.get("type", ""))) in ("longrope", "dynamic")]
    if not moving:
        return None
    most = [n for k in moving if (n := k.get("original_max_position_embeddings"))]
    named = [*most, *_numbers(text, "original_max_position_embeddings"), *_numbers(text, "max_position_embeddings"), 1]
    return int(named[0])


def cache_bytes(model: Any) -> int:
    """Bytes of keys and values that one token of one row holds, at most."""
    text = inner(model.config)
    layers, hidden, heads = (max(_numbers(text, name), default=1) for name in _SIZES)
    kept = max(_numbers(text, "num_key_value_heads"), default=heads)
    width = max(_numbers(text, "head_dim", "global_head_dim"), default=max(hidden // heads, 1))
    return 2 * layers * kept * width * int(model.dtype.itemsize)


_SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads")
