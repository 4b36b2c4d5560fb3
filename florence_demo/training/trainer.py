"""The transformers Trainer with what Florence-2 needs: exact losses, honest stops, live files.

Knows steps, checkpoints and callbacks. Does not know where rows come from (``splits``) or
how a run is configured (``arguments``).
"""

from __future__ import annotations

import logging
import math
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback

from florence_demo.data.example import Example
from florence_demo.errors import FlorenceDemoError
from florence_demo.machine import device_memory, process_memory
from florence_demo.training.augment import augmented
from florence_demo.training.batch import IGNORE, Collator
from florence_demo.training.feature_table import FeatureCache
from florence_demo.training.keeping import drop_oldest, finish, name_of, progress
from florence_demo.training.sharded import in_parts, own_part
from florence_demo.training.status import RunFiles

log = logging.getLogger(__name__)


class Diverged(FlorenceDemoError):
    """Say that the loss is no number any more; the last good checkpoint is kept."""


class Rows(Dataset[tuple[int, Example]]):
    """Give each row with its number, its picture changed where a run asks for it.

    What changes is drawn from the seed, the pass and the row alone: a run that goes on after a kill
    sees what it would have seen.
    """

    def __init__(self, examples: Sequence[Example], changes: Sequence[str] = (), seed: int = 0):
        """Take the rows.

        Args:
            examples: The rows.
            changes: How pictures are changed at each look, see ``augmented``.
            seed: Where chance begins.
        """
        self.examples, self.changes, self.seed = examples, changes, seed
        # Shared with the processes that open pictures, which live through all passes.
        self._epoch = torch.zeros(1, dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Say which pass begins."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[int, Example]:
        example = self.examples[index]
        if self.changes:
            drawn = random.Random(f"{self.seed} {int(self._epoch)} {index}")
            example = augmented(example, self.changes, drawn)
        return index, example


@dataclass(frozen=True, eq=False)
class Batches:
    """Make a batch of numbered rows.

    Attributes:
        collator: Makes tensors of them.
        cache: Features in the place of pixels, where they are cached.
    """

    collator: Collator
    cache: FeatureCache | None = None

    def __call__(self, rows: Sequence[tuple[int, Example]]) -> dict[str, Tensor]:
        """Return the batch of ``Collator``."""
        examples = [example for _, example in rows]
        if self.cache is None:
            return self.collator(examples)
        batch = self.collator(examples, pixels=False)
        batch["pixel_values"] = self.cache.rows([i for i, _ in rows])
        return batch


class FlorenceTrainer(Trainer):
    """Train as the Trainer does, and measure the loss of each answer token alike."""

    def __init__(
        self,
        *args: Any,
        watch: Watch,
        eval_batches: Batches,
        processor: Any,
        keep: int | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        **kwargs: Any,
    ):
        """Take what the Trainer takes.

        Args:
            args: The Trainer's.
            watch: Tells what happens, before the other callbacks hear of it.
            eval_batches: Makes the batches of validation rows, which have no cache.
            processor: Saved beside each checkpoint's weights.
            keep: How many checkpoints stay; None keeps all.
            callbacks: The Trainer's.
            kwargs: The Trainer's.
        """
        super().__init__(*args, callbacks=[watch, *callbacks], **kwargs)
        self.watch = watch
        self.eval_batches = eval_batches
        self.processor = processor
        self.keep = keep
        self.remove_callback(PrinterCallback)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return the validation loss as the mean over all answer tokens, however they are batched.

        Each process takes every n-th row; the sums meet at the end.
        """
        rows = eval_dataset if eval_dataset is not None else self.eval_dataset
        mine = list(range(self.args.process_index, len(rows), self.args.world_size))
        size = self.args.per_device_eval_batch_size
        # Where weights are in parts, a process without rows goes along with a row of no weight.
        rounds = math.ceil(math.ceil(len(rows) / self.args.world_size) / size)
        idle = rounds if in_parts(self.model) else 0
        model = self.model
        model.eval()
        total = torch.zeros(2, device=self.args.device)
        with torch.no_grad():
            for at in range(0, max(len(mine), idle * size), size):
                asked = mine[at : at + size]
                batch = self._prepare_inputs(self.eval_batches([rows[i] for i in asked or [0]]))
                tokens = (batch["labels"] != IGNORE).sum() * bool(asked)
                total += torch.stack([model(**batch).loss.float() * tokens, tokens.float()])
        loss, tokens = self.accelerator.reduce(total, "sum").tolist()
        metrics = {f"{metric_key_prefix}_loss": loss / tokens}
        self.log(metrics)
        handler: Any = self.callback_handler
        self.control: Any = handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save all that is needed to go on, and mark it as whole at the very end."""
        check_weights(self.model)
        name = name_of(self.state.global_step, self.state.epoch)
        so_far = self.watch.epoch_so_far(self.args)
        if name.startswith("epoch-"):
            # It is told already, or told right after this: the next one begins with nothing.
            so_far = {}
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            # Left over by a run that was killed while it wrote.
            shutil.rmtree(folder, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        self.watch.saved = folder.with_name(name)
        best = self.state.best_model_checkpoint
        if best and Path(best) == folder:
            best = self.state.best_model_checkpoint = str(self.watch.saved)
        if self.args.should_save:
            self.processor.save_pretrained(folder)
            # Again, as the best one may be this one under its name.
            self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
            finish(folder, name, {"step": self.state.global_step, **so_far})
            drop_oldest(folder.parent, self.keep, [Path(best)] if best else [])
        self.accelerator.wait_for_everyone()

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take a part of a step, and count its loss for the epoch's average."""
        loss: Tensor = super().training_step(*args, **kwargs)
        self.watch.epoch_loss += loss.detach().float()
        return loss


def check_weights(model: Any) -> None:
    """Raise Diverged where a weight that learns is no finite number."""
    learning = (own_part(p) for p in model.parameters() if p.requires_grad)
    if not all(bool(torch.isfinite(p).all()) for p in learning):
        raise Diverged(_DIVERGED)


_DIVERGED = (
    "The training diverged: the loss is not a number any more. The last good checkpoint is kept."
    " Start again from it with a smaller learning rate, or in bf16 or fp32 instead of fp16."
)


class Watch(TrainerCallback):
    """Tell the run's files what happens, hear whether to stop, refuse to go on without a number."""

    def __init__(
        self,
        files: RunFiles,
        samples: Callable[[], tuple[dict[str, Any], ...]],
        fp16: bool = False,
    ):
        """Take where to tell and how to ask.

        Args:
            files: The run's files.
            samples: Returns answers on validation pictures; called after each evaluation.
            fp16: Whether gradients may overflow, as they do while the loss scale is found.
        """
        self.files = files
        self.samples = samples
        self.fp16 = fp16
        self.stopped = False
        self.trained_seconds = 0.0
        self.trained_samples = 0
        self.saved: Path | None = None
        self.epoch_loss: Tensor = torch.zeros(())
        self.epoch_steps = 0
        self._done_before = 0.0
        self._since = 0.0

    @property
    def samples_per_second(self) -> float:
        """Rows learned from in a second of training, measuring and saving left out."""
        return self.trained_samples / max(self.trained_seconds, 1e-9)

    def go_on_from(self, checkpoint: Path) -> None:
        """Remember the part of an epoch that was learned before a checkpoint was written."""
        found = progress(checkpoint)
        self.epoch_loss = torch.tensor(float(found.get("epoch_loss", 0.0)))
        self.epoch_steps = int(found.get("epoch_steps", 0))

    def epoch_so_far(self, args: Any) -> dict[str, float]:
        """Return the sum of the losses of an epoch's steps, and how many; all processes ask."""
        total = self.epoch_loss.to(args.device).clone()
        if args.world_size > 1:
            torch.distributed.all_reduce(total)
        return {"epoch_loss": total.item() / args.world_size, "epoch_steps": self.epoch_steps}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the length of the run."""
        self._since = time.perf_counter()
        self.epoch_loss = self.epoch_loss.to(args.device)
        self.files.forget_after(state.global_step)
        self._done_before = state.global_step / max(state.max_steps, 1)
        self.files.tell(state="training", step=state.global_step, steps=state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the step's time, and hear whether to stop; all processes hear the same."""
        # From the end of the last one: opening the pictures is part of a step.
        now = time.perf_counter()
        self.trained_seconds, self._since = self.trained_seconds + now - self._since, now
        self.trained_samples += (
            args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        )
        self.epoch_steps += 1
        self.files.stepped(state.global_step, state.max_steps)
        if _anybody(self.files.stop_wanted(), args):
            self.stopped = True
            control.should_save = control.should_training_stop = True
        if control.should_save or control.should_evaluate:
            # The loss is looked at before anything is kept.
            control.should_log = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the average loss of a whole epoch; look at it before a checkpoint is written."""
        if control.should_save or control.should_evaluate:
            control.should_log = True
        so_far = self.epoch_so_far(args)
        epoch = round(state.epoch or 0)
        if self.epoch_steps and name_of(0, state.epoch) == f"epoch-{epoch}":
            average = so_far["epoch_loss"] / self.epoch_steps
            self.files.log({"step": state.global_step, "epoch": epoch, "epoch_loss": average})
        self.epoch_loss, self.epoch_steps = torch.zeros_like(self.epoch_loss), 0

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Write a line and the status.

        Raises:
            Diverged: The loss or the gradient is no number.
        """
        entry = {"step": state.global_step, **(logs or {}), "time": round(time.time(), 2)}
        if "loss" not in entry:
            if "eval_loss" in entry:
                self.files.log(entry)
            return
        bad = not math.isfinite(entry["loss"])
        if not self.fp16:
            bad = bad or not math.isfinite(entry.get("grad_norm") or 0.0)
        now, peak = memory_of(args.device)
        speed = round(self.samples_per_second, 3)
        done = state.global_step / max(state.max_steps, 1)
        fresh = done - self._done_before
        left = round(self.trained_seconds * (1 - done) / fresh, 1) if fresh > 0 else None
        entry |= {"samples_per_second": speed, "memory": now, "memory_peak": peak}
        entry["seconds_left"] = left
        self.files.log(entry)
        if bad:
            raise Diverged(_DIVERGED)
        self.files.tell(
            state="training",
            step=state.global_step,
            steps=state.max_steps,
            epoch=round(state.epoch or 0.0, 4),
            loss=entry["loss"],
            samples_per_second=entry["samples_per_second"],
            seconds_left=left,
            memory=now,
            memory_peak=peak,
        )

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Tell the validation loss and show some answers."""
        loss = (metrics or {}).get("eval_loss")
        self.files.tell(state="evaluating", eval_loss=loss)
        # All processes ask: weights may be in parts.
        samples = tuple({**s, "step": state.global_step} for s in self.samples())
        if not self.files.silent:
            self.files.tell(samples=samples)
        self.files.tell(state="training")
        self._since = time.perf_counter()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell where the checkpoint is."""
        self.files.tell(checkpoint=str(self.saved))
        self._since = time.perf_counter()


def _anybody(wanted: bool, args: Any) -> bool:
    """Whether any process wants it: all must leave the loop at the same step, or they wait."""
    if args.world_size == 1:
        return wanted
    flag = torch.tensor([float(wanted)], device=args.device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


def memory_of(device: Any) -> tuple[int, int]:
    """Return the bytes in use and the most so far, of the accelerator or else of the process."""
    found = device_memory(device)
    return (found["allocated"], found["peak"]) if found else process_memory()
