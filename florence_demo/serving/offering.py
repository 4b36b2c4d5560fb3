"""A better model for a picture that the chosen one does not know, offered before the question.

Knows nano's kind of pictures by what the engine says, and what the hub's cache holds. Does not know
how an offer is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from florence_demo.models.catalogue import DOWNLOADS, MODELS, ModelSpec
from florence_demo.models.hub import in_cache
from florence_demo.serving.asking import Service

SMALL, BETTER = MODELS["nano"], MODELS["base-ft"]


@dataclass(frozen=True)
class Offer:
    """Hold a model that suits a picture better.

    Attributes:
        model: The model.
        words: Why, for a person.
        button: What the button says that takes it.
    """

    model: ModelSpec
    words: str
    button: str


def offer_for(service: Service, image: Image.Image | None, model: ModelSpec) -> Offer | None:
    """Return what suits a picture better than a model; None where the model will do.

    Args:
        service: The page's.
        image: The picture, None where there is none.
        model: What is chosen.

    Raises:
        CheckpointError: The model cannot be loaded.
    """
    if image is None or model != SMALL or not service.unfamiliar(image, model):
        return None
    return Offer(
        BETTER,
        f"{SMALL.name} knows drawn scenes only, and this picture is like none of them."
        f" {BETTER.title}, Microsoft's model, knows photographs and documents.",
        f"Use {BETTER.name}{_size(BETTER)}",
    )


def _size(model: ModelSpec) -> str:
    """Return what a model takes to download, "" where it is here."""
    if model.folder is not None or in_cache(model.source, model.revision):
        return ""
    return f" ({DOWNLOADS[model.size]})"
