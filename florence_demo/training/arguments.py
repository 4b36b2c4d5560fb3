"""A run's settings as the transformers Trainer takes them.

Knows the machine's part: which device, how many processes, each one's share of a batch. Does not
know what a setting may be or its default (``config``).
"""

from __future__ import annotations

import logging
import os

import torch
from transformers import TrainingArguments

from florence_demo.errors import DatasetError
from florence_demo.models.devices import choose_device
from florence_demo.training.config import TrainConfig
from florence_demo.training.sharded import allow_on_processors

log = logging.getLogger(__name__)


def check_machine(config: TrainConfig) -> None:
    """Raise FlorenceDemoError where the run wants a GPU that is not there."""
    if config.device == "cuda":
        choose_device("cuda")
    if config.precision == "fp16" and (config.device == "cpu" or not torch.cuda.is_available()):
        raise DatasetError("fp16 is for a GPU: choose bf16, or fp32, which is exact.")


def arguments(config: TrainConfig, share: int = 1) -> TrainingArguments:
    """Return the Trainer's arguments.

    Args:
        config: The run's settings.
        share: Rows a process takes at a time; see ``share_out``.
    """
    cpu = config.device == "cpu"
    every = "steps" if config.eval_every else "epoch"
    save = "steps" if config.save_every else every
    workers = config.workers
    if workers is None:
        workers = 0 if cpu or not torch.cuda.is_available() else 8
    args = TrainingArguments(
        output_dir=str(config.out / "checkpoints"),
        per_device_train_batch_size=share,
        per_device_eval_batch_size=share,
        gradient_accumulation_steps=config.accumulation,
        num_train_epochs=config.epochs,
        max_steps=config.steps or -1,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup,
        max_grad_norm=config.max_grad_norm,
        lr_scheduler_type=config.schedule,
        # Seven times faster than AdamW's loop over tensors on a processor, too.
        optim="adamw_torch_fused",
        bf16=config.precision == "bf16",
        fp16=config.precision == "fp16",
        activation_checkpointing=config.checkpointing,
        seed=config.seed,
        eval_strategy=every,
        eval_steps=config.eval_every,
        save_strategy=save,
        save_steps=config.save_every or config.eval_every or 500,
        load_best_model_at_end=config.patience is not None,
        metric_for_best_model="eval_loss" if config.patience else None,
        greater_is_better=False if config.patience else None,
        logging_steps=config.log_every,
        # The filter would replace a NaN by an average: a run must say that it diverged.
        logging_nan_inf_filter=False,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        # For the way to a GPU: without one, torch warns at each pass.
        dataloader_pin_memory=not cpu and torch.cuda.is_available(),
        # A last short batch would be filled up differently by each number of processes.
        dataloader_drop_last=True,
        remove_unused_columns=False,
        report_to=list(config.report_to) or "none",
        project="florence_demo",
        run_name=config.out.name,
        disable_tqdm=True,
        use_cpu=cpu,
        ddp_backend="gloo" if cpu and _processes() > 1 else None,
        ddp_find_unused_parameters=False,
        ddp_timeout=7200,
    )
    allow_on_processors(args)
    return args


def share_out(config: TrainConfig, processes: int, rows: int) -> TrainingArguments:
    """Return the Trainer's arguments with each process's share of a batch.

    Args:
        config: The run's settings.
        processes: That learn together.
        rows: To learn from.

    Raises:
        DatasetError: The batch cannot be shared out, or there are too few rows for one.
    """
    parts = processes * config.accumulation
    size = config.batch_size
    if size > rows:
        size = rows // parts * parts
        log.warning("There are only %d rows: a step takes %d.", rows, size)
    if size < 1 or size % parts:
        raise DatasetError(
            f"A batch of {config.batch_size} rows cannot be shared by {processes} processes in"
            f" {config.accumulation} parts: choose a multiple of {parts}, and at least as many"
            " rows."
        )
    return arguments(config, size // parts)


def _processes() -> int:
    """Return how many processes the launcher started; it tells by the environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))
