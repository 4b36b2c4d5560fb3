"""Merge a LoRA adapter into a model, and take it out again bit for bit.

Knows PEFT's files for LoRA: the names of its tensors over the native or the 2024 modules, and how
its configuration scales them. A merged adapter costs nothing at run time; the tensors it changed
are kept, so that adapters of one base are exchanged without reading the base again. Does not know
folders' layouts or the hub.

The mathematics: Hu et al. 2021 (LoRA), W + alpha / r * B A; Kalajdzievski 2023 (rank-stabilised),
alpha / sqrt(r); Liu et al. 2024 (DoRA), the rows rescaled to a learned length.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from florence_demo.checkpoints.adapter_config import AdapterConfig
from florence_demo.checkpoints.info import StoredTensor, called, listed
from florence_demo.checkpoints.names import HEAD, SHARED, TIED, native_name
from florence_demo.checkpoints.weights import Read, finite, reader
from florence_demo.errors import CheckpointError, plain

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import Florence2ForConditionalGeneration

_PART = re.compile(
    r"(?P<module>.+?)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)"
    r"(?:\.(?!weight$)[^.]+)?(?:\.weight)?"  # an adapter's name may stand in between
)
_PARTS = {"lora_A": "a", "lora_B": "b", "lora_magnitude_vector": "magnitude"}
_WHOLE = re.compile(
    r"\.(?:modules_to_save(?:\.(?!weight$|bias$)[^.]+)?|base_layer|original_module)(?=\.)"
)


@dataclass(eq=False)
class Change:
    """Hold what an adapter does to one weight.

    Attributes:
        whole: A tensor that replaces the weight, before the product is added.
        a: The low-rank factor (r, in).
        b: The low-rank factor (out, r).
        magnitude: DoRA's length of each row, (out,).
        module: What the adapter calls the weight's module.
    """

    whole: StoredTensor | None = None
    a: StoredTensor | None = None
    b: StoredTensor | None = None
    magnitude: StoredTensor | None = None
    module: str = ""

    @property
    def parts(self) -> dict[str, StoredTensor | None]:
        """Its tensors by their roles."""
        return {name: getattr(self, name) for name in ("whole", "a", "b", "magnitude")}


@dataclass(eq=False)
class Merge:
    """Hold the other side of a merge: what is not in the model now.

    Attributes:
        aside: While the adapter is in, the base's parameters; while it is out, the adapter's.
        head: The output head that the adapter gave the model, where it changes that.
    """

    aside: dict[str, torch.Tensor] = field(default_factory=dict)
    head: nn.Parameter | None = None

    def toggle(self, model: Florence2ForConditionalGeneration) -> None:
        """Take the adapter out, or put it back in, bit for bit."""
        import torch

        with torch.no_grad():
            for name, value in self.aside.items():
                parameter = model.get_parameter(name)
                # In place, so that whoever holds the parameter sees the change.
                self.aside[name] = parameter.detach().clone()
                parameter.copy_(value)
        if self.head is not None:
            tied = model.lm_head.weight is self.head
            model.lm_head.weight = model.get_parameter(SHARED) if tied else self.head
            model.config.tie_word_embeddings = tied


def merge_adapter(
    model: Florence2ForConditionalGeneration,
    tensors: Sequence[StoredTensor],
    config: AdapterConfig,
    instead_of: Merge | None = None,
) -> Merge:
    """Merge an adapter into a model in place, all of it or nothing.

    Args:
        model: The base, with or without an adapter merged.
        tensors: The adapter's tensors.
        config: Its configuration.
        instead_of: The adapter merged now; it is taken out, or stays where this one fails.

    Raises:
        CheckpointError: If the adapter does not fit the base, or does what cannot be merged.
    """
    for problem in config.problems:
        raise CheckpointError(problem)
    changes = _changes(tensors)
    _check_fit(model, changes, config)
    scales = {name: _scale(change, config) for name, change in changes.items()}
    merge = Merge()
    with ExitStack() as files:
        read = reader(files, tensors)
        _drop_embeddings(model, changes, read)
        if instead_of is not None:
            instead_of.toggle(model)
        try:
            for name, change in changes.items():
                loaded = {
                    part: None if stored is None else read(stored)
                    for part, stored in change.parts.items()
                }
                _apply(model, merge, name, loaded, scales[name])
        except BaseException:
            merge.toggle(model)
            if instead_of is not None:
                instead_of.toggle(model)
            raise
    return merge


def _changes(tensors: Iterable[StoredTensor]) -> dict[str, Change]:
    """Return what happens to each native weight."""
    changes: dict[str, Change] = {}
    unknown, twice = [], []
    for tensor in tensors:
        name = tensor.name.removeprefix("base_model.model.")
        match = _PART.fullmatch(name)
        target = native_name(f"{match['module']}.weight" if match else _WHOLE.sub("", name))
        if target is None or "lora_" in target or name == tensor.name:
            unknown.append(tensor.name)
            continue
        change = changes.setdefault(target, Change())
        part = _PARTS[match["part"]] if match else "whole"
        if getattr(change, part) is not None:
            twice.append(tensor.name)
        setattr(change, part, tensor)
        if match:
            change.module = match["module"]
    for names, what in ((unknown, "that this program cannot merge"), (twice, "twice")):
        if names:
            raise CheckpointError(
                f"The adapter holds {len(names)} tensors {what}: {listed(names)}."
            )
    return changes


def _scale(change: Change, config: AdapterConfig) -> float:
    """Return the factor of one module's product.

    Raises:
        CheckpointError: If the configuration is about another rank: then its alpha is too.
    """
    if change.a is None:
        return 1.0
    rank, module = change.a.shape[0], change.module
    said, alpha = config.rank_of(module), config.alpha_of(module)
    if said != rank or alpha is None:
        raise CheckpointError(
            f"adapter_config.json says rank {said} and alpha {alpha} for {plain(module)}, "
            f"the tensors have rank {rank}."
        )
    return alpha / (math.sqrt(rank) if config.stabilised else rank)


def _check_fit(
    model: Florence2ForConditionalGeneration, changes: Mapping[str, Change], config: AdapterConfig
) -> None:
    places = {name: tuple(place.shape) for name, place in model.state_dict().items()}
    base = called(config.base) if config.base else "its base"
    missing = [name for name in changes if name not in places]
    if missing:
        raise CheckpointError(
            f"The adapter changes {len(missing)} weights that the model has not: "
            f"{listed(missing)}. It was trained on {base}."
        )
    wrong = [name for name, change in changes.items() if not _fits(change, places[name])]
    if wrong or not changes:
        raise CheckpointError(
            f"{len(wrong) or 'All'} of the adapter's weights do not fit the model: "
            f"{listed(wrong)}. It was trained on {base}."
        )


def _drop_embeddings(
    model: Florence2ForConditionalGeneration, changes: dict[str, Change], read: Read
) -> None:
    """Take out the copies of an unchanged token embedding that PEFT saves beside a changed head."""
    import torch

    weight = model.get_parameter(SHARED).detach()
    for name in (SHARED, *(name for name in TIED if name != HEAD)):
        change = changes.get(name)
        if change is None:
            continue
        stored = None if change.whole is None else read(change.whole).to(weight.device)
        # The base may be open in another type than the adapter was trained beside.
        same = stored is not None and (
            torch.equal(stored.to(weight.dtype), weight)
            or torch.equal(stored, weight.to(stored.dtype))
        )
        if not same or change.a is not None:
            raise CheckpointError(
                "The adapter changes the token embedding, which is tied to other weights. Merge it "
                "where it was trained and bring the merged folder."
            )
        del changes[name]


def _fits(change: Change, shape: tuple[int, ...]) -> bool:
    if change.whole is not None:
        if change.whole.shape != shape:
            return False
        if change.a is None and change.b is None:
            return change.magnitude is None
    if change.a is None or change.b is None or len(shape) < 2:
        return False
    rank = change.a.shape[0] if change.a.shape else 0
    # A rank above both widths adds nothing but work.
    if not 1 <= rank <= max(shape[0], math.prod(shape[1:])):
        return False
    if change.magnitude is not None and math.prod(change.magnitude.shape) != shape[0]:
        return False
    # Of a convolution the first factor has the kernel and the second is 1 x 1; a depthwise one
    # has other factors, whose shapes do not multiply to the weight's.
    rest = change.b.shape[2:]
    return (
        change.a.shape[1:] == shape[1:]
        and change.b.shape[:2] == (shape[0], rank)
        and (all(n == 1 for n in rest))
    )


def _apply(
    model: Florence2ForConditionalGeneration,
    merge: Merge,
    name: str,
    parts: Mapping[str, torch.Tensor | None],
    scale: float,
) -> None:
    import torch
    from torch import nn

    with torch.no_grad():
        weight = model.get_parameter(name)
        value = _merged(weight, parts, scale).to(weight.dtype)
        if not finite(value):
            raise CheckpointError(f"The adapter makes {name} infinite or not a number.")
        if name == HEAD and weight is model.get_parameter(SHARED):
            # PEFT changes the output head alone, so it is no longer the embedding.
            merge.head = model.lm_head.weight = nn.Parameter(value)
            model.config.tie_word_embeddings = False
            return
        merge.aside[name] = weight.detach().clone()
        weight.copy_(value)


def _merged(
    weight: torch.Tensor, parts: Mapping[str, torch.Tensor | None], scale: float
) -> torch.Tensor:
    """Return the new weight in float32, (out, in) or (out, in, height, width)."""

    def moved(value: torch.Tensor) -> torch.Tensor:
        return value.to(device=weight.device).float()

    whole, a, b, magnitude = (parts[key] for key in ("whole", "a", "b", "magnitude"))
    base = weight.float() if whole is None else moved(whole)
    if a is None or b is None:
        return base
    product = (moved(b).flatten(1) @ moved(a).flatten(1)).reshape(weight.shape)
    value = base + scale * product
    if magnitude is not None:
        rows = value.flatten(1)
        length = moved(magnitude).reshape(-1, 1) / rows.norm(dim=1, keepdim=True)
        value = (rows * length).reshape(weight.shape)
    return value
