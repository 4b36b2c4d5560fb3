"""Fine-tune Florence-2: from a configuration to a folder that every tool opens.

Knows the order of a run: model, rows, measure, learn, measure, save. Does not know the settings and
their defaults (``config``), which rows there are (``splits``), how a step is taken (``trainer``),
what of a model learns (``trainable``), how it is asked (``measuring``) or who is watching
(``status``).
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.errors import DatasetError, FlorenceDemoError
from florence_demo.files import DISK_FULL, is_disk_full, write_json, write_text
from florence_demo.machine import in_bytes
from florence_demo.models.catalogue import as_base
from florence_demo.models.loading import LoadedModel, load_model
from florence_demo.models.pushing import CARD
from florence_demo.training.batch import Collator, collator_of
from florence_demo.training.card import model_card
from florence_demo.training.config import Result, TrainConfig, claim_folder
from florence_demo.training.estimate import fitted
from florence_demo.training.feature_table import cached_features
from florence_demo.training.keeping import last_checkpoint, step_of
from florence_demo.training.measuring import Measuring
from florence_demo.training.quantizing import quantize
from florence_demo.training.sharded import check_sharding, in_parts, keep_tied_together
from florence_demo.training.splits import Split, open_rows
from florence_demo.training.status import RESULT_FILE, Listener, RunFiles
from florence_demo.training.trainable import LORA_TARGETS, count, plain_copy, prepare

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from florence_demo.training.trainer import FlorenceTrainer


def fine_tune(config: TrainConfig, listener: Listener | None = None) -> Result:
    """Run a fine-tuning from beginning to end, or go on with one.

    Args:
        config: Its settings.
        listener: Hears what the run tells, as it goes on.

    Raises:
        FlorenceDemoError: The settings, the data or the model cannot be used, or the loss diverged.
    """
    config.check()
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        claim_folder(config)
    files = RunFiles(config.out, silent=rank != 0, resume=config.resume, listener=listener)
    try:
        return _run(config, files)
    except FlorenceDemoError as exc:
        # A process that opens pictures hands its error over with the traceback in it.
        said = str(exc).rpartition(f"{type(exc).__name__}: ")[2].strip()
        files.tell(state="failed", message=said)
        raise type(exc)(said) from exc
    except Exception as exc:
        problem = _no_room(exc)
        files.tell(state="failed", message=problem or f"Something went wrong: {exc!r}")
        if problem:
            raise DatasetError(problem) from exc
        raise


def _run(config: TrainConfig, files: RunFiles) -> Result:
    import transformers

    from florence_demo.training.arguments import arguments, check_machine, share_out
    from florence_demo.training.trainer import memory_of

    started = time.perf_counter()
    check_machine(config)
    transformers.utils.logging.disable_progress_bar()
    files.tell(state="starting", message="Opening the model")
    args = arguments(config)
    loaded, in_use = _opened(config, files, args)
    collator = collator_of(loaded.model, loaded.processor)
    files.tell(message="Checking the data")
    rows = open_rows(config, collator.too_long)
    if rows.others:
        files.tell(message=_told_of_others(config, rows))
    config, said = fitted(config, len(rows.learned))
    if said:
        files.tell(message=said)
    args = share_out(config, args.world_size, len(rows.learned))
    check_sharding(config.mode)
    measuring = Measuring(config, files, loaded, args.device, rows)
    before = measuring.before()
    model = _prepared(config, loaded, args, files)
    keep_tied_together(model)
    trainable, parameters = count(model)
    trainer = _trainer(model, args, rows, collator, measuring)
    if args.device.type != "cpu":
        in_use = memory_of(args.device)[0]  # It is there only now.
    _learn(trainer, config, files)
    files.tell(state="evaluating", message="Measuring again")
    if in_parts(model):
        model = plain_copy(model)
    if not files.silent:
        _save(config, model, loaded)
    after = measuring.numbers("after", model)
    _tell_samples(trainer, measuring, model)
    result = Result(
        folder=config.out,
        before=before,
        after=after,
        minutes=round((time.perf_counter() - started) / 60, 3),
        steps=trainer.state.global_step,
        samples_per_second=round(trainer.watch.samples_per_second, 3),
        memory_peak=files.status.memory_peak,
        trainable=trainable,
        parameters=parameters,
        left_out=rows.left_out,
        stopped=trainer.watch.stopped,
        best=_kept_early(trainer, config),
        processes=args.world_size,
        memory_loaded=in_use,
        memory_end=memory_of(args.device)[0],
    )
    if not files.silent:
        _tell(config, result, loaded)
    state = "stopped" if result.stopped else "done"
    files.tell(state=state, message=result.sentence(), after=after, seconds_left=0.0)
    return result


def _prepared(
    config: TrainConfig, loaded: LoadedModel, args: TrainingArguments, files: RunFiles
) -> Any:
    """Return the model to train, and tell how much of it learns."""
    import transformers

    # Here, because an adapter begins at random, and measuring may have drawn numbers.
    transformers.set_seed(config.seed)
    if config.quantize:
        quantize(loaded.model, LORA_TARGETS, config.quantize, args.device)
    model = prepare(
        loaded.model,
        config.mode,
        cached=config.cache,
        rank=config.lora_rank,
        alpha=config.lora_alpha,
        base=as_base(loaded.spec, loaded.folder),
    )
    trainable, parameters = count(model)
    files.tell(message=f"{trainable:,} of {parameters:,} parameters learn")
    return model


def _told_of_others(config: TrainConfig, rows: Split) -> str:
    tasks = len({row.task for row in rows.others})
    said = (
        f"Before and after, {len(rows.others)} questions of {tasks} task{'s'[: tasks - 1]} about"
        f" {rows.others_from} tell what is lost"
    )
    return said if config.others else f"{said}; --others none leaves them out"


def _opened(
    config: TrainConfig, files: RunFiles, args: TrainingArguments
) -> tuple[LoadedModel, int]:
    """Return the model to start from, on the CPU, and the bytes that are in use now."""
    from florence_demo.training.trainer import memory_of

    # The Trainer moves it, each process to its own device.
    loaded = load_model(config.model, device="cpu", dtype="fp32", trust=config.trust)
    in_use = memory_of(args.device)[0]
    files.tell(memory=in_use, message=f"Opened {loaded.describe()}: {in_bytes(in_use)} in use")
    if config.mode == "lora" and loaded.base:
        raise DatasetError(
            f"“{loaded.title}” is an adapter itself, and an adapter of an adapter cannot be opened:"
            " write it out whole first, with `python -m florence_demo convert`, or choose the"
            " folder of the run that made it, which holds the merged model."
        )
    return loaded, in_use


def _trainer(
    model: Any, args: TrainingArguments, rows: Split, collator: Collator, measuring: Measuring
) -> FlorenceTrainer:
    """Return what takes the steps; image features are computed first where they are kept."""
    from transformers import EarlyStoppingCallback

    from florence_demo.training.trainer import Batches, FlorenceTrainer, Rows, Watch

    config, files, loaded = measuring.config, measuring.files, measuring.loaded
    cache = cached_features(config, rows.learned, loaded, args, files) if config.cache else None
    return FlorenceTrainer(
        model,
        args,
        train_dataset=Rows(rows.learned, config.augment, config.seed),
        eval_dataset=Rows(rows.measured),
        data_collator=Batches(collator, cache),
        callbacks=[EarlyStoppingCallback(config.patience)] if config.patience else [],
        watch=Watch(files, partial(_samples, measuring, model), config.precision == "fp16"),
        eval_batches=Batches(collator),
        processor=loaded.processor,
        keep=config.keep,
    )


def _samples(measuring: Measuring, model: Any) -> tuple[dict[str, Any], ...]:
    """Return a few answers, nothing in all processes but the first; see ``plain_copy``."""
    if in_parts(model):
        model = plain_copy(model)
    return () if measuring.files.silent else measuring.samples(model)


def _tell_samples(trainer: FlorenceTrainer, measuring: Measuring, model: Any) -> None:
    """Tell what the model answers that is kept: it may be an earlier one than was asked last."""
    step = _kept_early(trainer, measuring.config) or trainer.state.global_step
    samples = tuple({**s, "step": step} for s in _samples(measuring, model))
    measuring.files.tell(samples=samples)


def _learn(trainer: FlorenceTrainer, config: TrainConfig, files: RunFiles) -> None:
    """Take all steps, from the last checkpoint on where the run goes on."""
    from transformers.trainer import TRAINER_STATE_NAME
    from transformers.trainer_callback import TrainerState

    found = last_checkpoint(config.out / "checkpoints") if config.resume else None
    if config.resume:
        files.tell(message=f"Going on from {found.name}" if found else "Starting anew")
    if found and not config.patience and 0 < trainer.args.max_steps <= step_of(found):
        # A run whose steps are all taken: the Trainer would take one more.
        trainer.state = TrainerState.load_from_json(str(found / TRAINER_STATE_NAME))
        trainer._load_from_checkpoint(str(found))
        return
    if found:
        trainer.watch.go_on_from(found)
    trainer.train(resume_from_checkpoint=str(found) if found else None)


def _kept_early(trainer: FlorenceTrainer, config: TrainConfig) -> int:
    """Return the step whose weights are kept where patience ended the run, else 0."""
    state, best = trainer.state, trainer.state.best_model_checkpoint
    ended = config.patience and not trainer.watch.stopped and state.global_step < state.max_steps
    return step_of(Path(best)) if ended and best else 0


def _save(config: TrainConfig, model: Any, loaded: LoadedModel) -> None:
    """Write the trained model, and its processor, as any tool opens it."""
    if config.mode == "lora":
        model.save_pretrained(config.out / "adapter")
    plain_copy(model).save_pretrained(config.out)
    loaded.processor.save_pretrained(config.out)


def _tell(config: TrainConfig, result: Result, loaded: LoadedModel) -> None:
    """Write the outcome, for programs and for people."""
    write_json(config.out / RESULT_FILE, result.to_json())
    origin = loaded.opened.info.base if loaded.opened else None
    card = model_card(config, result, as_base(loaded.spec, loaded.folder), origin)
    write_text(config.out / CARD, card)
    if config.mode == "lora":
        write_text(config.out / "adapter" / CARD, card)


def _no_room(exc: Exception) -> str:
    import torch

    on_cpu = isinstance(exc, RuntimeError) and "DefaultCPUAllocator" in str(exc)
    if on_cpu or isinstance(exc, torch.OutOfMemoryError | MemoryError):
        return (
            "The memory is too small for this run: raise the accumulation, take bf16 or LoRA, or"
            " turn activation checkpointing on. Resume goes on from the last checkpoint."
        )
    if is_disk_full(exc):
        return f"{DISK_FULL} Resume goes on from the last checkpoint."
    return ""
