"""Settings to begin a fine-tuning with, for a model, for data and for what learns.

Knows what was found to work. Does not know how a run goes.
"""

from __future__ import annotations

from dataclasses import replace

from florence_demo.data_source import Spec
from florence_demo.estimate import is_small
from florence_demo.finetune_demo import DemoConfig
from florence_demo.finetune_demo import train_config as demo_config
from florence_demo.generated import DEMO_FORMS
from florence_demo.train_config import TrainConfig
from florence_demo.trainable import Mode


def recipe(model: str, data: Spec, mode: Mode) -> TrainConfig:
    """Return settings to begin with.

    Args:
        model: Name or folder.
        data: As ``open_data`` takes it.
        mode: What learns.
    """
    small = is_small(model)
    lora = mode == "lora"
    if data == DEMO_FORMS:
        demo = demo_config(DemoConfig(model, lora=lora, device="auto"))
        found = replace(demo, mode=mode)
        return found if small else replace(found, learning_rate=1e-4 if lora else 1e-5, steps=200)
    start = TrainConfig(model=model, data=data, mode=mode)
    if small:
        rate = 3e-3 if lora else 6e-4
        return replace(start, learning_rate=rate, epochs=10.0, batch_size=16, warmup=50)
    # Adapters begin at nothing and take a larger step than weights that know much already.
    return replace(start, learning_rate=1e-4 if lora else start.learning_rate, batch_size=8)


def first_mode(model: str) -> Mode:
    """Return what should learn at first: all of a small model, adapters of a large one."""
    return "full" if is_small(model) else "lora"
