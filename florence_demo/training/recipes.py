"""Settings to begin a fine-tuning with, for a model, for data and for what learns.

Knows what was found to work, and by whom. Does not know how a run goes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from florence_demo.data.forms import DEMO_FORMS, DEMO_FORMS_HELD
from florence_demo.data.source import Spec
from florence_demo.models.catalogue import Named
from florence_demo.models.shapes import is_small
from florence_demo.training.config import TrainConfig
from florence_demo.training.trainable import Mode


def recipe(model: Named, data: Spec, mode: Mode) -> TrainConfig:
    """Return settings to begin with.

    Args:
        model: Where to start.
        data: As ``open_data`` takes it.
        mode: What learns.
    """
    return _found(model, data, mode)[0]


def source_of(model: Named, data: Spec, mode: Mode) -> str:
    """Return where the numbers of ``recipe`` come from, in a sentence."""
    return _found(model, data, mode)[1]


def _found(model: Named, data: Spec, mode: Mode) -> tuple[TrainConfig, str]:
    small = is_small(model)
    lora = mode == "lora"
    if data == DEMO_FORMS:
        demo = replace(train_config(DemoConfig(model, lora=lora, device="auto")), mode=mode)
        if small:
            return demo, _FORMS
        return replace(demo, learning_rate=1e-4 if lora else 1e-5, steps=200), _GUESSED
    start = TrainConfig(model=model, data=data, mode=mode)
    if small:
        rate = 3e-3 if lora else 6e-4
        found = replace(start, learning_rate=rate, epochs=10.0, batch_size=16, warmup=50)
        return replace(found, patience=_PATIENCE), _LIKE_FORMS
    # A set of the hub may have a hundred thousand rows: one pass, until a person says more.
    large = not isinstance(data, str) and data.format == "hub"
    patience = None if large else _PATIENCE
    start = replace(start, batch_size=8, patience=patience)
    if lora:
        epochs = 1.0 if large else 10.0
        return replace(start, learning_rate=1e-4, lora_alpha=24, epochs=epochs), _ADAPTER
    return replace(start, epochs=1.0 if large else 7.0), _ARTICLE


_PATIENCE = 3
"""Passes without a better validation loss: on a small set, more of them only learn by heart."""
_FORMS = (
    "Measured here: in 240 steps nano reads more than nine in ten of the forms it did not learn"
    " from (make finetune-demo)."
)
_LIKE_FORMS = (
    "The rates are those that taught nano the demo forms, measured here; it ends after three"
    " passes without a better validation loss."
)
_GUESSED = "Rates as for other data, and 200 steps: not measured for this model and these forms."
_ARTICLE = (
    "The rate 1e-6, which falls in a straight line, a frozen vision part and seven passes are"
    " those of the 2024 article (huggingface/blog, finetune-florence2.md: DocVQA from 0 to 57.0),"
    " which saw larger rates learn by heart."
)
_ADAPTER = (
    "Ten passes are those of roboflow/maestro, where the settings of the adapter alone made mAP50"
    " 0.20, 0.52 or 0.71 (roboflow/maestro#162): rank 8 times 3, as its better one, in every"
    " attention and inner layer of the language part. The rate is ten times that of whole weights"
    " there, as others found for adapters (thinking-machines-lab/tinker-cookbook#81). Not measured"
    " here on photographs."
)


def first_mode(model: Named) -> Mode:
    """Return what should learn at first: all of a small model, adapters of a large one."""
    return "full" if is_small(model) else "lora"


@dataclass(frozen=True)
class DemoConfig:
    """Hold the settings of the demonstration.

    Attributes:
        model: Where to start.
        out: Folder of the run.
        lora: Whether to learn an adapter instead of the weights.
        steps: Optimizer steps.
        device: auto, cpu or cuda.
        resume: Go on with the run in ``out``.
    """

    model: Named = "nano"
    out: Path = Path("checkpoints/forms")
    lora: bool = False
    steps: int = 240
    device: str = "cpu"
    resume: bool = False


def train_config(config: DemoConfig) -> TrainConfig:
    """Return the settings of the run behind the demonstration."""
    mode: Mode = "lora" if config.lora else "full"
    base = TrainConfig(
        model=config.model,
        data=DEMO_FORMS,
        eval_data=DEMO_FORMS_HELD,
        out=config.out,
        mode=mode,
        steps=config.steps,
        batch_size=16,
        learning_rate=6e-4,
        warmup=min(50, config.steps // 4),
        lora_rank=16,
        eval_every=max(config.steps // 4, 1),
        answers=120,
        max_new_tokens=16,
        device=config.device,
        resume=config.resume,
    )
    # A small adapter takes, and needs, a larger step.
    return replace(base, learning_rate=3e-3) if config.lora else base
