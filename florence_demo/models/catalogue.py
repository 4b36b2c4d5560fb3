"""The models one can ask for by name. To add one, add a ``ModelSpec`` to ``_CATALOGUE``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from florence_demo.errors import CheckpointError, plain

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@dataclass(frozen=True)
class ModelSpec:
    """Hold one entry of the catalogue.

    Attributes:
        name: What a person types: "base-ft".
        title: What the page shows.
        source: A folder, or an id on the Hugging Face hub.
        revision: Commit of the hub repository, None for its newest.
        note: What a person should know before choosing it.
        public: Whether it is one of the catalogue, rather than a folder or id that somebody typed.
    """

    name: str
    title: str
    source: str
    revision: str | None = None
    note: str = ""
    public: bool = True


_HUB = "florence-community/Florence-2-"


_CATALOGUE = (
    ModelSpec(
        "nano",
        "nano (embedded, synthetic scenes)",
        str(ASSETS / "nano"),
        note="A tiny Florence-2 that we train on drawn scenes of 84 kinds of things and printed"
        " text. This is an early version: it answers in a blink, is often wrong, and knows nothing"
        " about photographs.",
    ),
    ModelSpec(
        "base",
        "Florence-2-base",
        _HUB + "base",
        note="Microsoft's small model, 0.23 billion parameters, 0.5 GB to download.",
    ),
    ModelSpec(
        "large",
        "Florence-2-large",
        _HUB + "large",
        note="Microsoft's large model, 0.77 billion parameters, 1.6 GB to download.",
    ),
    ModelSpec(
        "base-ft",
        "Florence-2-base-ft",
        _HUB + "base-ft",
        "0b03b6f15a4a211370fb204aee4e7dd48887ea37",
        note="Microsoft's small model, tuned further on many tasks. A good first choice.",
    ),
    ModelSpec(
        "large-ft",
        "Florence-2-large-ft",
        _HUB + "large-ft",
        note="Microsoft's large model, tuned further on many tasks: the best answers.",
    ),
)


MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _CATALOGUE}


def resolve_spec(name: str) -> ModelSpec:
    """Return the catalogue's entry, or one made for a folder or a hub id.

    Raises:
        CheckpointError: The name is none of the three.
    """
    name = name.strip()
    if name in MODELS:
        return MODELS[name]
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") != 1
    try:
        folder = Path(name).expanduser()
        if name and folder.is_dir():
            return ModelSpec(name, folder.name, str(folder), public=False)
    except (OSError, RuntimeError, ValueError):  # too long, no such person's home, a zero byte
        looks_like_path = True
    if looks_like_path:
        known = ", ".join(MODELS)
        raise CheckpointError(
            f"There is no model “{plain(name)}”: choose one of {known}, a folder with a"
            " checkpoint, or an id of the Hugging Face hub such as"
            " florence-community/Florence-2-base-ft."
        )
    return ModelSpec(name, name, name, public=False)
