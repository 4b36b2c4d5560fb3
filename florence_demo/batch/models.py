"""The model of a job: found and known by its files before it is put into memory."""

from __future__ import annotations

from dataclasses import replace

from florence_demo.batch.config import BatchConfig
from florence_demo.batch.run import Model
from florence_demo.engine.engine import Engine
from florence_demo.models.devices import choose_device
from florence_demo.models.finding import find
from florence_demo.models.loading import load
from florence_demo.models.weights import digest_of
from florence_demo.trust import OPERATOR


def model_of(config: BatchConfig) -> Model:
    """Return the model that a job names, not opened yet.

    Raises:
        CheckpointError: There is no such model or device.
    """
    device = choose_device(config.device)
    found = find(config.model, replace(OPERATOR, pickle=config.allow_pickle))
    return Model(digest_of(found), lambda: Engine(load(found, device, config.dtype)))
