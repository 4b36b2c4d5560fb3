"""Checkpoints of this machine that visitors may name, beside the catalogue's models.

Knows the one folder whose checkpoints may be opened, and how a name says that it is one of them.
"""

from __future__ import annotations

from typing import Any

from florence_demo.checkpoints.folders import checkpoint_names, checkpoint_under
from florence_demo.errors import InputError
from florence_demo.models.catalogue import MODELS, ModelSpec, Named, spec_at, spec_of
from florence_demo.serving.asking import Service
from florence_demo.trust import OPERATOR

OWN = "checkpoint: "
"""Before the name of a checkpoint under the allowed root, which a catalogue name never begins."""


def own_names(service: Service) -> list[str]:
    """Return the names of the checkpoints that are there now, as ``model_of`` takes them."""
    return [f"{OWN}{name}" for name in checkpoint_names(service.config.checkpoints)]


def model_of(service: Service, value: Any) -> ModelSpec:
    """Return a chosen model.

    Raises:
        CheckpointError: There is no such model, or a visitor may not name it.
    """
    name = str(value or "")
    if name.startswith(OWN):
        return spec_at(checkpoint_under(service.config.checkpoints, name.removeprefix(OWN)))
    return service.check_model(name)


def choice_of(service: Service, model: Named) -> str:
    """Return the value by which a model is chosen: ``model_of`` takes it.

    Raises:
        FlorenceDemoError: The page does not offer it.
    """
    spec = spec_of(model, OPERATOR)
    if spec.folder is None or spec.name in MODELS:
        return spec.name
    root = service.config.checkpoints.absolute()
    if not spec.folder.is_relative_to(root):
        raise InputError(
            f"“{spec.title}” is not under {root.name}/, so it cannot be chosen on the page: put its"
            " folder there."
        )
    return f"{OWN}{spec.folder.relative_to(root)}"
