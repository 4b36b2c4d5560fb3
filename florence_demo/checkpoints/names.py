"""How the 2024 layout of Florence-2 is called in the native one: weights, settings and tokens.

Two layouts of one architecture are in use: the one of Microsoft's modelling code of 2024, which
every fine-tune of that year carries, and the one of ``transformers`` 4.56 and later. This module
knows both vocabularies as plain strings and dictionaries. It does not open files, and it knows no
tensors: what must be turned on the way is named here and turned by the loader.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from florence_demo.errors import CheckpointError, plain

SHARED = "model.language_model.shared.weight"
"""The embedding of the tokens; encoder, decoder and output head are tied to it."""

HEAD = "lm_head.weight"
"""The output head, the same tensor as ``SHARED`` unless a checkpoint says otherwise."""

TIED = (
    "model.language_model.encoder.embed_tokens.weight",
    "model.language_model.decoder.embed_tokens.weight",
    HEAD,
)

TRANSPOSED = frozenset({"model.multi_modal_projector.image_projection.weight"})
"""Native names whose 2024 tensor is the transpose: there a bare (C, D), here a Linear's (D, C)."""

IMAGE_PROJECTION = "image_projection"
NATIVE_PROJECTOR = "model.multi_modal_projector."
"""What every whole model of the 2024 and of the native layout has."""

LOGITS_BIAS = "language_model.final_logits_bias"
"""A bias of the 2024 layout without a native place, zero in every sound checkpoint."""

FLORENCE_TOKENS = (
    *("<od>", "</od>", "<ocr>", "</ocr>"),
    *(f"<loc_{i}>" for i in range(1000)),
    *("<cap>", "</cap>", "<ncap>", "</ncap>", "<dcap>", "</dcap>", "<grounding>", "</grounding>"),
    # "desciption" is how the released model spells it.
    *("<seg>", "</seg>", "<sep>", "<region_cap>", "</region_cap>"),
    *("<region_to_desciption>", "</region_to_desciption>", "<proposal>", "</proposal>"),
    *("<poly>", "</poly>", "<and>"),
)
"""The 1,024 tokens that follow BART's 50,265, in their order."""

_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""What compile, FSDP and activation checkpointing put before what they wrap, anywhere in a name."""
_PARALLEL = re.compile(r"^(?:module\.)+")
"""What torch's data-parallel wrappers put before every name."""
_HOLDERS = ("base_model.model.", "model.")
"""What a PEFT model and a Lightning module call the whole model that they hold."""
_NATIVE = re.compile(
    r"model\.(?:language_model|vision_tower|multi_modal_projector)\.|lm_head\.weight$"
)

_DROPPED = re.compile(r"vision_tower\.(?:head|norms)\.")

_RENAMES = (
    (re.compile(r"language_model\.model\."), "model.language_model."),
    (re.compile(r"language_model\.lm_head\."), "lm_head."),
    (re.compile(r"vision_tower\.convs\.(\d+)\.proj\."), r"model.vision_tower.convs.\1.conv."),
    (re.compile(r"vision_tower\."), "model.vision_tower."),
    (
        re.compile(r"image_projection$"),
        "model.multi_modal_projector.image_projection.weight",
    ),
    (re.compile(r"image_proj_norm\."), "model.multi_modal_projector.image_proj_norm."),
    (re.compile(r"image_pos_embed\."), "model.multi_modal_projector.image_position_embed."),
    (re.compile(r"visual_temporal_embed\."), "model.multi_modal_projector.visual_temporal_embed."),
)
_INSIDE_BLOCKS = (
    (re.compile(r"\.(conv\d)\.fn\.dw\."), r".\1."),
    (re.compile(r"\.(?:window|channel)_attn\.norm\."), ".norm1."),
    (re.compile(r"\.(window_attn|channel_attn)\.fn\."), r".\1."),
    (re.compile(r"\.ffn\.norm\."), ".norm2."),
    (re.compile(r"\.ffn\.fn\.net\."), ".ffn."),
)
_ORIGINAL = re.compile(
    r"(?:language_model|vision_tower|image_proj_norm|image_pos_embed|visual_temporal_embed)\."
    r"|image_projection$"
)


def unwrapped(name: str) -> str:
    """Return a weight's name without what a trainer's wrappers put into it."""
    return _PARALLEL.sub("", _WRAPPERS.sub("", name))


def holder(names: Collection[str]) -> str:
    """Return what stands before every name because something held the whole model, or "".

    It counts only if all names have it and every rest is a Florence-2's, in one layout; a name that
    is one as it stands keeps what it has.

    Args:
        names: Those of a full checkpoint's weights, unwrapped.
    """
    for first in ("", *_HOLDERS, *(a + b for a in _HOLDERS for b in _HOLDERS)):
        if all(name.startswith(first) for name in names):
            rest = [name[len(first) :] for name in names]
            if _is_whole(rest) and (not first or all(map(_has_place, rest))):
                return first
    return ""


def _is_whole(names: Iterable[str]) -> bool:
    """Say whether these are the names of a whole model: every one has a projection of pictures."""
    return any(n == IMAGE_PROJECTION or n.startswith(NATIVE_PROJECTOR) for n in names)


def _has_place(name: str) -> bool:
    native = native_name(name)
    return native is None or bool(_NATIVE.match(native))


def is_original(name: str) -> bool:
    """Say whether a weight's or a module's name is one of the 2024 layout."""
    return bool(_ORIGINAL.match(name))


def native_name(name: str) -> str | None:
    """Return what a weight of either layout is called natively, None where it has no place.

    Args:
        name: "vision_tower.convs.0.proj.weight", say, or a name that is native already.
    """
    if not is_original(name):
        return name
    if name == LOGITS_BIAS or _DROPPED.match(name):
        return None
    for pattern, replacement in _RENAMES:
        renamed, found = pattern.subn(replacement, name, count=1)
        if found and pattern.match(name):
            name = renamed
            break
    if name.startswith("model.vision_tower.blocks."):
        for pattern, replacement in _INSIDE_BLOCKS:
            name = pattern.sub(replacement, name)
    return name


_TEXT_IDS = {
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
_GENERATION_FIELDS = {
    "num_beams": 1,
    "early_stopping": False,
    "no_repeat_ngram_size": 0,
    "length_penalty": 1.0,
    "repetition_penalty": 1.0,
}
_NOT_NATIVE = ("normalize_before", "add_final_layer_norm", "add_bias_logits")


def native_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``config.json`` of the 2024 layout in native words, not yet admitted.

    Args:
        config: The whole ``config.json`` of the 2024 layout.

    Raises:
        CheckpointError: If it describes a computation that the native class does not do.
    """
    text, vision = _section(config, "text_config"), _section(config, "vision_config")
    source = vision.get("image_feature_source", ["spatial_avg_pool", "temporal_avg_pool"])
    if list(source) != ["spatial_avg_pool", "temporal_avg_pool"]:
        raise CheckpointError(
            f"config.json asks for the image features {plain(source)}, which this program does not "
            "know; Florence-2 uses spatial_avg_pool and temporal_avg_pool."
        )
    positions = vision.get("image_pos_embed") or {}
    temporal = vision.get("visual_temporal_embedding") or {}
    for kind, known in ((positions, "learned_abs_2d"), (temporal, "COSINE")):
        if kind.get("type", known) != known:
            raise CheckpointError(
                f"config.json asks for {plain(kind['type'])} positions of the picture, "
                f"where Florence-2 has {known}."
            )
    for field in _NOT_NATIVE:
        if text.get(field):
            raise CheckpointError(f"config.json switches on {field}, which Florence-2 has not.")
    return {
        "tie_word_embeddings": text.get("tie_word_embeddings"),
        "text_config": {
            "vocab_size": config.get("vocab_size", 51289),
            **{name: value for name, value in text.items() if value is not None},
            # Only these ids are true: the ones at the top level, and in generation_config.json,
            # are wrong in half of the checkpoints of mid 2024, and nothing read them.
            **_text_ids(text),
            "model_type": "bart",
        },
        "vision_config": {
            **vision,
            "model_type": "florence_vision",
            "activation_function": "gelu",  # there it cannot be chosen
            "embed_dim": vision.get("dim_embed"),
            "max_temporal_embeddings": temporal.get("max_temporal_embeddings"),
            "max_position_embeddings": positions.get("max_pos_embeddings"),
        },
    }


def native_generation(
    config: Mapping[str, Any], generation: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return how a 2024 checkpoint generates, as the native ``generation_config.json`` says it.

    The 2024 code generated with its language model alone, so ``text_config`` decided and a saved
    ``generation_config.json`` only speaks where ``text_config`` is silent, never about token ids.

    Args:
        config: The whole ``config.json`` of the 2024 layout.
        generation: Its ``generation_config.json``, if there is one.
    """
    text, saved = _section(config, "text_config"), generation or {}
    fields = {
        name: default
        if text.get(name, saved.get(name)) is None
        else text.get(name, saved.get(name))
        for name, default in _GENERATION_FIELDS.items()
    }
    forced = text.get("forced_bos_token_id")
    return {**_text_ids(text), **fields, "forced_bos_token_id": forced}


def _text_ids(text: Mapping[str, Any]) -> dict[str, Any]:
    return {name: text.get(name, usual) for name, usual in _TEXT_IDS.items()}


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    if not isinstance(section, Mapping):
        raise CheckpointError(f"config.json has no {name}, so it does not describe a Florence-2.")
    return section
