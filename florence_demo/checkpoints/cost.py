"""What the first question to a checkpoint would take, told from its sizes before it is loaded.

A few bytes of configuration can ask for windows, maps and places of any size. Knows the shape of
Florence-2; counts the operations and the largest tensors of one picture and one long answer. Knows
no files and no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from florence_demo.checkpoints.processors import seen_size, stage_sizes
from florence_demo.errors import CheckpointError
from florence_demo.trust import Cost

_NUMBER = 4
"""Bytes of a number, fp32."""
_BEAMS, _ANSWER = 3, 1024
"""Hypotheses and tokens of a long answer, as asked for unless a person says otherwise."""
_PROMPT = 32
"""Places that must be left for a question."""


def check_cost(
    config: Mapping[str, Any],
    picture: Mapping[str, Any],
    parameters: int,
    limit: Cost | None = None,
) -> None:
    """Raise CheckpointError where a picture does not fit the model, or it takes more than it may.

    Args:
        config: The configuration, admitted.
        picture: Its ``picture_settings``.
        parameters: Number of parameters in the files.
        limit: What it may take; None is any amount.
    """
    text, vision = config["text_config"], config["vision_config"]
    height, width = seen_size(picture)
    for rows, columns in stage_sizes(vision, height, width):
        if min(rows, columns) < 1:
            raise CheckpointError(f"A picture of {width} x {height} is too small for the model.")
    if max(rows, columns) > vision["max_position_embeddings"]:
        raise CheckpointError(
            f"A picture of {width} x {height} becomes {columns} x {rows} places; the model knows "
            f"{vision['max_position_embeddings']} in a row."
        )
    room = text["max_position_embeddings"] - (rows * columns + 1)
    if room < _PROMPT:
        raise CheckpointError(
            f"A picture becomes {rows * columns + 1:,} tokens; the model reads "
            f"{text['max_position_embeddings']:,}, which leaves no room for a question."
        )
    if vision["projection_dim"] != text["d_model"]:
        raise CheckpointError(
            f"config.json describes no working model: pictures become {vision['projection_dim']} "
            f"wide, words {text['d_model']} (projection_dim and d_model)."
        )
    if limit and parameters > limit.parameters:
        raise CheckpointError(
            f"The model has {parameters / 1e9:,.1f} thousand million parameters; at most"
            f" {limit.parameters / 1e9:g} are opened here, more than twice Florence-2-large's."
        )
    cost = first_question(config, height, width)
    if limit and (cost.operations > limit.operations or cost.memory > limit.memory):
        raise CheckpointError(
            f"A question to this model would take {cost.operations / 1e12:,.1f} TFLOP and "
            f"{cost.memory / 1e9:,.1f} GB beside the weights; at most {limit.operations / 1e12:g} "
            f"TFLOP and {limit.memory / 1e9:g} GB are taken here, four times what "
            "Florence-2-large needs."
        )


def first_question(config: Mapping[str, Any], height: int, width: int) -> Cost:
    """Return what a picture of a size and a long answer take.

    Args:
        config: The configuration, admitted.
        height: Of the picture as the model sees it.
        width: The same.
    """
    parts = [*_tower(config["vision_config"], height, width)]
    rows, columns = stage_sizes(config["vision_config"], height, width)[-1]
    parts += _language(config["text_config"], rows * columns + 1 + _PROMPT)
    return Cost(sum(cost.operations for cost in parts), max(cost.memory for cost in parts))


def _tower(vision: Mapping[str, Any], height: int, width: int) -> Iterator[Cost]:
    """Yield what each stage of the vision tower takes."""
    before, window = vision["in_channels"], vision["window_size"]
    stages = stage_sizes(vision, height, width)
    names = ("embed_dim", "patch_size", "depths", "num_heads", "num_groups")
    for size, *numbers in zip(stages, *(vision[name] for name in names), strict=True):
        channels, patch, depth, heads, groups = numbers
        places = size[0] * size[1]
        # Maps are filled up to whole windows.
        filled = (-(-size[0] // window) * window) * (-(-size[1] // window) * window)
        inner = channels * vision["mlp_ratio"]
        embed = 2 * patch**2 * before * channels * places
        products = filled * 8 * channels**2 + places * (8 * channels**2 + 8 * channels * inner)
        attention = 4 * filled * window**2 * channels + 4 * places * channels**2 / groups
        largest = max(
            patch**2 * before * places,
            filled * (8 * channels + window**2 * heads),
            places * 2 * (channels + inner) + channels**2 / groups,
        )
        yield Cost(embed + depth * (products + attention), _NUMBER * largest)
        before = channels


def _language(text: Mapping[str, Any], read: int) -> Iterator[Cost]:
    """Yield what reading a question of some tokens takes, and writing an answer."""
    width, tokens = text["d_model"], text["vocab_size"]
    inner, layers, heads = (
        text[f"encoder_{name}"] for name in ("ffn_dim", "layers", "attention_heads")
    )
    yield Cost(
        layers * (read * (8 * width**2 + 4 * width * inner) + 4 * read**2 * width),
        _NUMBER * read * (5 * width + 2 * inner + heads * read),
    )
    inner, layers = text["decoder_ffn_dim"], text["decoder_layers"]
    written = min(_ANSWER, text["max_position_embeddings"])
    each = layers * (12 * width**2 + 4 * width * inner + 4 * (read + written / 2) * width)
    yield Cost(
        _BEAMS * written * (each + 2 * width * tokens) + layers * read * 4 * width**2,
        _NUMBER * (2 * layers * width * (read + _BEAMS * written) + 3 * _BEAMS * tokens),
    )
