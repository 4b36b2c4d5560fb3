"""How large a model is, told from its name or its settings without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.bounded_json import load_json
from florence_demo.errors import FlorenceDemoError
from florence_demo.models.catalogue import Named, spec_of
from florence_demo.trust import OPERATOR

_MOST = 1_000_000
"""No size of a model is larger."""
_MOST_STAGES = 16
SMALL = 20e6
"""Parameters below which a model is one of ours, that trains on a processor in minutes."""


_PROMPT, _ANSWER = 20, 16
"""Tokens of a usual question and answer."""


_KEPT = 34
"""Numbers a token and layer that a backward pass needs, each as wide as the layer."""


@dataclass(frozen=True)
class Shape:
    """Hold the sizes that decide what a model costs.

    Attributes:
        side: Pixels of a picture's side, as the model sees it.
        strides: By which each stage of the tower shrinks it.
        widths: Of the stages.
        depths: Blocks of each stage.
        d_model: Width of the language model.
        layers: Of encoder and of decoder.
        ffn: Width of their inner layers.
        vocabulary: Tokens known.
        image_tokens: Tokens that a picture becomes.
    """

    side: int
    strides: tuple[int, ...]
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    d_model: int
    layers: int
    ffn: int
    vocabulary: int
    image_tokens: int

    def _stages(self) -> list[tuple[int, int, int]]:
        """Return (tokens, width, blocks) of each stage."""
        found, side = [], self.side
        for stride, width, depth in zip(self.strides, self.widths, self.depths, strict=True):
            side //= stride
            found.append((side * side, width, depth))
        return found

    @property
    def tower(self) -> float:
        """Parameters of the vision tower; a block attends twice, by place and by channel."""
        return float(sum(24 * width**2 * depth for _, width, depth in self._stages()))

    @property
    def language(self) -> float:
        """Parameters of the language model."""
        d, f = self.d_model, self.ffn
        return float(self.layers * (12 * d**2 + 4 * d * f) + self.vocabulary * d)

    def tower_flops(self) -> float:
        """Operations of a look at one picture."""
        return float(sum(48 * w**2 * depth * tokens for tokens, w, depth in self._stages()))

    def language_flops(self) -> float:
        """Operations of one question and its answer."""
        d, f = self.d_model, self.ffn
        asked = self.image_tokens + _PROMPT
        encoder = self.layers * (4 * d**2 + 2 * d * f) * asked
        decoder = self.layers * (8 * d**2 + 2 * d * f) * _ANSWER + self.vocabulary * d * _ANSWER
        return 2.0 * (encoder + decoder)

    def tower_kept(self) -> float:
        """Numbers kept of one picture for the way back through the tower."""
        return float(sum(2 * _KEPT * tokens * w * depth for tokens, w, depth in self._stages()))

    def language_kept(self) -> float:
        """Numbers kept of one question for the way back through the language model."""
        tokens = self.layers * (self.image_tokens + _PROMPT + _ANSWER)
        return float(_KEPT * tokens * self.d_model + 3 * self.vocabulary * _ANSWER)


_STRIDES, _DEPTHS = (4, 2, 2, 2), (1, 1, 9, 1)


_BASE = Shape(768, _STRIDES, (128, 256, 512, 1024), _DEPTHS, 768, 6, 3072, 51289, 577)


_LARGE = Shape(768, _STRIDES, (256, 512, 1024, 2048), _DEPTHS, 1024, 12, 4096, 51289, 577)


_SIZES = {"base": _BASE, "large": _LARGE}


def shape_of(model: Named) -> Shape | None:
    """Return the sizes of a model by name or folder, None where they are not known here."""
    try:
        spec = spec_of(model, OPERATOR)
    except FlorenceDemoError:
        return None
    if spec.size:
        return _SIZES[spec.size]
    return None if spec.folder is None else _shape_in(spec.folder)


def _shape_in(folder: Path) -> Shape | None:
    try:
        config = load_json(folder / "config.json")
        vision, text = config["vision_config"], config["text_config"]
        if vision.get("model_type") != "florence_vision":
            # The 2024 layout; it has the sizes of Microsoft's models and no others.
            return _LARGE if _count(config["projection_dim"]) >= 1024 else _BASE
        images = _picture_settings(folder)
        strides, widths = _counts(vision["patch_stride"]), _counts(vision["embed_dim"])
        depths = _counts(vision["depths"], least=0)
        if not len(strides) == len(widths) == len(depths):
            return None
        return Shape(
            _count(images["size"]["height"]),
            strides,
            widths,
            depths,
            _count(text["d_model"]),
            _count(text["encoder_layers"]),
            _count(text["encoder_ffn_dim"]),
            _count(text["vocab_size"]),
            _count(images.get("image_seq_length", 577)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _count(value: Any, least: int = 1) -> int:
    """Return a size of a model that somebody may have made, or raise ValueError."""
    if not isinstance(value, int) or not least <= value <= _MOST:
        raise ValueError(f"a size from {least} to {_MOST:,} expected")
    return value


def _counts(values: Any, least: int = 1) -> tuple[int, ...]:
    if not isinstance(values, list) or not 1 <= len(values) <= _MOST_STAGES:
        raise ValueError(f"1 to {_MOST_STAGES} sizes expected, one a stage")
    return tuple(_count(value, least) for value in values)


def _picture_settings(folder: Path) -> dict[str, Any]:
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            found = load_json(folder / name)
            settings: dict[str, Any] = found.get("image_processor", found)
            if "size" in settings:
                return settings
    raise KeyError("size")


def is_small(model: Named) -> bool:
    """Whether a model is as small as nano."""
    shape = shape_of(model)
    return shape is not None and shape.tower + shape.language < SMALL
