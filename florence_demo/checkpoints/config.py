"""What a stranger's configuration may ask for: the fields that count, each with its kind and range.

A configuration is not cleaned of what is known to be bad; a new one is built from what is known to
be good, and the rest is never looked at. Knows native names, those of ``transformers``; the 2024
layout is renamed first (``names``). Reads no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any

from florence_demo.errors import CheckpointError, plain

MAX_BLOCKS = 128
"""Blocks of a vision tower, of all stages; Florence-2 has 12."""
MAX_TOKENS = 300_000
"""Rows of a token embedding; Florence-2 has 51,289."""


Rule = Callable[[Any], Any]
"""Returns a value as it is used, or raises ValueError with what is taken instead."""


def whole(low: int, high: int) -> Rule:
    """Return the rule of a whole number in a range."""

    def admit(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number from {low:,} to {high:,}")
        return value

    return admit


def real(low: float, high: float) -> Rule:
    """Return the rule of a finite number in a range."""

    def admit(value: Any) -> float:
        # Compared before it is converted: a whole number may be too large for a float.
        if type(value) not in (int, float) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(value)

    return admit


def one_of(*values: Any) -> Rule:
    """Return the rule of a few known values; 1 is not True."""

    def admit(value: Any) -> Any:
        if not any(type(value) is type(known) and value == known for known in values):
            raise ValueError(f"one of {', '.join(map(str, values))}")
        return value

    return admit


def several(rule: Rule, least: int, most: int) -> Rule:
    """Return the rule of a list whose items follow a rule."""

    def admit(value: Any) -> list[Any]:
        if type(value) is not list or not least <= len(value) <= most:
            raise ValueError(f"a list of {least} to {most:,} values")
        return [rule(item) for item in value]

    return admit


def token(tokens: int) -> Rule:
    """Return the rule of a token's id, alone or as a list of one."""
    number = whole(0, tokens - 1)

    def admit(value: Any) -> Any:
        return number(value[0] if type(value) is list and len(value) == 1 else value)

    return admit


def _each(rule: Rule) -> Rule:
    return several(rule, 1, 8)


FLAG = one_of(True, False)
_SHARE = real(0.0, 0.99)
_ACTIVATION = one_of(
    *("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "gelu_accurate"),
    *("quick_gelu", "relu", "relu2", "relu6", "silu", "swish", "mish", "leaky_relu"),
    *("tanh", "sigmoid", "hardswish", "linear"),
)
_LAYERS, _HEADS, _WIDTH = whole(1, 64), whole(1, 256), whole(1, 8_192)

# Field to what it may be and to what the native class takes where it is left out.
TEXT: dict[str, tuple[Rule, Any]] = {
    "vocab_size": (whole(1, MAX_TOKENS), 50_265),
    "max_position_embeddings": (whole(1, 16_384), 1024),
    "d_model": (_WIDTH, 1024),
    "encoder_layers": (_LAYERS, 12),
    "decoder_layers": (_LAYERS, 12),
    "encoder_ffn_dim": (whole(1, 32_768), 4096),
    "decoder_ffn_dim": (whole(1, 32_768), 4096),
    "encoder_attention_heads": (_HEADS, 16),
    "decoder_attention_heads": (_HEADS, 16),
    "encoder_layerdrop": (_SHARE, 0.0),
    "decoder_layerdrop": (_SHARE, 0.0),
    "activation_function": (_ACTIVATION, "gelu"),
    "dropout": (_SHARE, 0.1),
    "attention_dropout": (_SHARE, 0.0),
    "activation_dropout": (_SHARE, 0.0),
    "classifier_dropout": (_SHARE, 0.0),
    "init_std": (real(0.0, 10.0), 0.02),
    "scale_embedding": (FLAG, False),
    "use_cache": (FLAG, True),
    "bos_token_id": (token(MAX_TOKENS), 0),
    "pad_token_id": (token(MAX_TOKENS), 1),
    "eos_token_id": (token(MAX_TOKENS), 2),
    "decoder_start_token_id": (token(MAX_TOKENS), 2),
    "forced_eos_token_id": (token(MAX_TOKENS), 2),
}
VISION: dict[str, tuple[Rule, Any]] = {
    "in_channels": (one_of(3), 3),
    "depths": (_each(whole(0, MAX_BLOCKS)), [1, 1, 9, 1]),
    "patch_size": (_each(whole(1, 32)), [7, 3, 3, 3]),
    "patch_stride": (_each(whole(1, 32)), [4, 2, 2, 2]),
    "patch_padding": (_each(whole(0, 16)), [3, 1, 1, 1]),
    "patch_prenorm": (_each(FLAG), [False, True, True, True]),
    "embed_dim": (_each(_WIDTH), [128, 256, 512, 1024]),
    "num_heads": (_each(_HEADS), [4, 8, 16, 32]),
    "num_groups": (_each(_HEADS), [4, 8, 16, 32]),
    "window_size": (whole(1, 64), 12),
    "drop_path_rate": (_SHARE, 0.1),
    "mlp_ratio": (real(0.01, 16.0), 4.0),
    "qkv_bias": (FLAG, True),
    "activation_function": (_ACTIVATION, "gelu"),
    "projection_dim": (_WIDTH, 1024),
    "max_temporal_embeddings": (whole(1, 1_000), 100),
    "max_position_embeddings": (whole(1, 512), 50),
    "initializer_range": (real(0.0, 10.0), 0.02),
}

_NO_MODEL = "config.json describes no working model"

_LENGTH = whole(0, 100_000)
_CUTOFF = real(0.0, 1.0)
_GENERATION: dict[str, Rule] = {
    "num_beams": whole(1, 16),
    "early_stopping": one_of(True, False, "never"),
    "no_repeat_ngram_size": whole(0, 16),
    "length_penalty": real(-8.0, 8.0),  # a length to a higher power is no float32
    "repetition_penalty": real(0.01, 100.0),
    "do_sample": FLAG,
    "temperature": real(0.0, 100.0),
    "top_k": whole(0, MAX_TOKENS),
    "typical_p": real(0.01, 1.0),
    **dict.fromkeys(("top_p", "min_p", "epsilon_cutoff", "eta_cutoff"), _CUTOFF),
    **dict.fromkeys(("max_length", "max_new_tokens", "min_length", "min_new_tokens"), _LENGTH),
    "renormalize_logits": FLAG,
    "remove_invalid_values": FLAG,
    "use_cache": FLAG,
}
_IDS = ("bos_token_id", "pad_token_id", "eos_token_id", "decoder_start_token_id")
_FORCED = ("forced_bos_token_id", "forced_eos_token_id")


def admitted_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the native configuration that a native ``config.json`` asks for, whole and in bounds.

    Args:
        config: Its object; what it leaves out is as the native class has it.

    Raises:
        CheckpointError: A value is of another kind or out of its range, or two do not go together.
    """
    text = _section(config, "text_config", TEXT)
    vision = _section(config, "vision_config", VISION)
    tied = _tied(config, True)
    admitted = {
        "architectures": ["Florence2ForConditionalGeneration"],
        "model_type": "florence2",
        "is_encoder_decoder": True,
        "tie_word_embeddings": tied,
        "text_config": {
            "model_type": "bart",
            **text,
            "is_encoder_decoder": True,
            "tie_word_embeddings": _tied(config["text_config"], tied),
        },
        "vision_config": {"model_type": "florence_vision", **vision},
    }
    if config.get("image_token_id") is not None:
        rule = token(text["vocab_size"])
        admitted["image_token_id"] = _taken("image_token_id", rule, config["image_token_id"])
    for problem in _disagreements(text, vision):
        raise CheckpointError(f"{_NO_MODEL}: {problem}.")
    return admitted


def admitted_generation(values: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    """Return what a native ``generation_config.json`` asks for, in bounds.

    Args:
        values: Its object.
        tokens: Rows of the token embedding.

    Raises:
        CheckpointError: A value is of another kind or out of its range.
    """
    for name in (*_IDS, *_FORCED):
        if isinstance(values.get(name), list) and len(values[name]) != 1:
            raise CheckpointError(
                f"generation_config.json holds {len(values[name])} tokens as {name}; Florence-2 "
                "has one."
            )
    one = token(tokens)
    ids = several(one, 0, 1_000)
    rules: dict[str, Rule] = {
        **_GENERATION,
        **dict.fromkeys((*_IDS, *_FORCED), one),
        "suppress_tokens": ids,
        "begin_suppress_tokens": ids,
        "bad_words_ids": several(several(one, 1, 16), 0, 1_000),
    }
    return {
        name: _taken(name, rule, values[name], "The settings of generation cannot be used")
        for name, rule in rules.items()
        if values.get(name) is not None
    }


def _section(
    config: Mapping[str, Any], name: str, rules: Mapping[str, tuple[Rule, Any]]
) -> dict[str, Any]:
    values = config.get(name)
    if not isinstance(values, Mapping):
        raise CheckpointError(f"config.json has no {name}, so it does not describe a Florence-2.")
    return {
        field: copy(usual)
        if values.get(field) is None
        else _taken(f"{name}.{field}", rule, values[field])
        for field, (rule, usual) in rules.items()
    }


def _tied(section: Mapping[str, Any], usual: bool) -> bool:
    value = section.get("tie_word_embeddings")
    return usual if value is None else bool(_taken("tie_word_embeddings", FLAG, value))


def _taken(name: str, rule: Rule, value: Any, problem: str = _NO_MODEL) -> Any:
    try:
        return rule(value)
    except ValueError as exc:
        raise CheckpointError(
            f"{problem}: {name} is {plain(value, 40)}, which no Florence-2 has; it takes {exc}."
        ) from exc


def _disagreements(text: Mapping[str, Any], vision: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is impossible though each value is in its range."""
    widths = vision["embed_dim"]
    for name in ("depths", "patch_size", "patch_stride", "patch_padding", "patch_prenorm"):
        if len(vision[name]) != len(widths):
            yield f"vision_config.{name} has {len(vision[name])} stages, embed_dim {len(widths)}"
    if sum(vision["depths"]) > MAX_BLOCKS:
        yield f"the vision tower has {sum(vision['depths'])} blocks, more than {MAX_BLOCKS}"
    for name in ("num_heads", "num_groups"):
        parts = vision[name]
        if len(parts) != len(widths) or any(w % n for w, n in zip(widths, parts, strict=True)):
            yield f"vision_config.{name} {parts} does not divide the widths {widths}"
    if widths[-1] % 2:
        yield f"the last stage of the vision tower is {widths[-1]} wide, an odd number"
    for side in ("encoder", "decoder"):
        if text["d_model"] % text[f"{side}_attention_heads"]:
            heads = text[f"{side}_attention_heads"]
            yield f"{heads} heads do not divide the {side}'s width {text['d_model']}"
    for name in (*_IDS, "forced_eos_token_id"):
        if text[name] >= text["vocab_size"]:
            yield f"text_config.{name} is {text[name]} in a vocabulary of {text['vocab_size']:,}"
    if any(math.floor(width * vision["mlp_ratio"]) < 1 for width in widths):
        yield f"vision_config.mlp_ratio is {vision['mlp_ratio']:g}, which leaves no layer"
