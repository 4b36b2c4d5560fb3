"""Settings to begin a fine-tuning with, for a model, for data and for what learns.

Knows what was found to work. Does not know how a run goes.
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
    small = is_small(model)
    lora = mode == "lora"
    if data == DEMO_FORMS:
        demo = train_config(DemoConfig(model, lora=lora, device="auto"))
        found = replace(demo, mode=mode)
        return found if small else replace(found, learning_rate=1e-4 if lora else 1e-5, steps=200)
    start = TrainConfig(model=model, data=data, mode=mode)
    if small:
        rate = 3e-3 if lora else 6e-4
        return replace(start, learning_rate=rate, epochs=10.0, batch_size=16, warmup=50)
    # Adapters begin at nothing and take a larger step than weights that know much already.
    return replace(start, learning_rate=1e-4 if lora else start.learning_rate, batch_size=8)


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
