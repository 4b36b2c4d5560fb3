"""Fine-tune Florence-2: from a configuration to a folder that every tool opens.

Knows the order of a run: model, rows, measure, learn, measure, save. Does not know the settings and
their defaults (``config``), how a step is taken (``trainer``), what of a model learns
(``trainable``) or who is watching (``status``).
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.data.example import Example
from florence_demo.data.reading import as_source, open_data, tell_problems
from florence_demo.data.source import DataSource
from florence_demo.engine.engine import Engine
from florence_demo.engine.request import Options
from florence_demo.errors import DatasetError, FlorenceDemoError
from florence_demo.evaluation.evaluate import EvaluateConfig, evaluate
from florence_demo.evaluation.report import Report
from florence_demo.files import write_json
from florence_demo.machine import in_bytes
from florence_demo.models.devices import choose_device
from florence_demo.models.loading import load_model
from florence_demo.pictures.images import display_copy
from florence_demo.training.batch import Collator
from florence_demo.training.config import Result, TrainConfig, claim_folder
from florence_demo.training.feature_table import FeatureCache, fingerprint, measure
from florence_demo.training.status import RESULT_FILE, SAMPLES_FOLDER, RunFiles
from florence_demo.training.trainable import count, plain_copy, prepare

if TYPE_CHECKING:
    from transformers import TrainingArguments
from florence_demo.data.rows import split_rows, spread

log = logging.getLogger(__name__)

MOST_UNUSABLE = 0.1
"""Share of rows that may be left out; more is a mistake in the data, not in a row."""
_SHOWN = 1_000
"""Letters of a question or an answer that a run tells as it learns."""


def fine_tune(config: TrainConfig) -> Result:
    """Run a fine-tuning from beginning to end, or go on with one.

    Raises:
        FlorenceDemoError: The settings, the data or the model cannot be used, or the loss diverged.
    """
    config.check()
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        claim_folder(config)
    files = RunFiles(config.out, silent=rank != 0, resume=config.resume)
    try:
        return _Run(config, files).run()
    except FlorenceDemoError as exc:
        # A process that opens pictures hands its error over with the traceback in it.
        said = str(exc).rpartition(f"{type(exc).__name__}: ")[2].strip()
        files.tell(state="failed", message=said)
        raise type(exc)(said) from exc
    except Exception as exc:
        problem = _out_of_memory(exc)
        files.tell(state="failed", message=problem or f"Something went wrong: {exc!r}")
        if problem:
            raise DatasetError(problem) from exc
        raise


def _out_of_memory(exc: Exception) -> str:
    import torch

    on_cpu = isinstance(exc, RuntimeError) and "DefaultCPUAllocator" in str(exc)
    if on_cpu or isinstance(exc, torch.OutOfMemoryError | MemoryError):
        return (
            "The memory is too small for this run: raise the accumulation, take bf16 or LoRA, or"
            " turn activation checkpointing on. Resume goes on from the last checkpoint."
        )
    return ""


class _Run:
    """Hold what the stages of one run share."""

    def __init__(self, config: TrainConfig, files: RunFiles):
        self.config = config
        self.files = files
        self.started = time.perf_counter()
        self.left_out: list[str] = []

    def run(self) -> Result:
        """Go through all stages."""
        import transformers

        config, files = self.config, self.files
        if config.device == "cuda":
            choose_device("cuda")  # refuses, where there is none
        if config.precision == "fp16" and (config.device == "cpu" or not _has_cuda()):
            raise DatasetError("fp16 is for a GPU: choose bf16, or fp32, which is exact.")
        transformers.utils.logging.disable_progress_bar()
        files.tell(state="starting", message="Opening the model")
        self.args = self._arguments()
        # Opened on the CPU: the Trainer moves it, each process to its own device.
        self.loaded = load_model(config.model, device="cpu", dtype="fp32", trust=config.trust)
        model = self.loaded.model
        positions = int(model.config.text_config.max_position_embeddings)
        self.collator = Collator(self.loaded.processor, positions)
        files.tell(message="Checking the data")
        rows, valid = self._rows()
        self.args = self._sized(len(rows))
        before = self._before(valid)
        # Here, because an adapter begins at random, and measuring may have drawn numbers.
        transformers.set_seed(config.seed)
        self.model = prepare(model, config.mode, cached=config.cache, rank=config.lora_rank)
        trainable, parameters = count(self.model)
        files.tell(message=f"{trainable:,} of {parameters:,} parameters learn")
        trainer, watch = self._trainer(rows, valid)
        checkpoint = self._checkpoint()
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        files.tell(state="evaluating", message="Measuring again")
        self._save()
        after = self._numbers("after", valid)
        result = Result(
            config.out,
            before,
            after,
            round((time.perf_counter() - self.started) / 60, 3),
            trainer.state.global_step,
            round(watch.trained_samples / max(watch.trained_seconds, 1e-9), 3),
            files.status.memory_peak,
            trainable,
            parameters,
            tuple(self.left_out),
            watch.stopped,
            self.args.world_size,
        )
        if not files.silent:
            write_json(config.out / RESULT_FILE, result.to_json())
        state = "stopped" if watch.stopped else "done"
        files.tell(state=state, message=result.sentence(), after=after, seconds_left=0.0)
        return result

    def _arguments(self, share: int = 1) -> TrainingArguments:
        from transformers import TrainingArguments

        config = self.config
        cpu = config.device == "cpu"
        every = "steps" if config.eval_every else "epoch"
        save = "steps" if config.save_every else every
        workers = (
            config.workers if config.workers is not None else 0 if cpu or not _has_cuda() else 8
        )
        return TrainingArguments(
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
            lr_scheduler_type="linear",
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
            save_total_limit=2,
            load_best_model_at_end=config.patience is not None,
            metric_for_best_model="eval_loss" if config.patience else None,
            greater_is_better=False if config.patience else None,
            logging_steps=config.log_every,
            # The filter would replace a NaN by an average: a run must say that it diverged.
            logging_nan_inf_filter=False,
            dataloader_num_workers=workers,
            dataloader_persistent_workers=workers > 0,
            # A last short batch would be filled up differently by each number of processes.
            dataloader_drop_last=True,
            remove_unused_columns=False,
            report_to=list(config.report_to) or "none",
            disable_tqdm=True,
            use_cpu=cpu,
            ddp_backend="gloo" if cpu and _processes() > 1 else None,
            ddp_find_unused_parameters=False,
            ddp_timeout=7200,
        )

    def _sized(self, rows: int) -> TrainingArguments:
        """Return the arguments with each process's share of a batch.

        Raises:
            DatasetError: The batch cannot be shared out, or there are too few rows for one.
        """
        parts = self.args.world_size * self.config.accumulation
        size = self.config.batch_size
        if size > rows:
            size = rows // parts * parts
            log.warning("There are only %d rows: a step takes %d.", rows, size)
        if size < 1 or size % parts:
            raise DatasetError(
                f"A batch of {self.config.batch_size} rows cannot be shared by"
                f" {self.args.world_size} processes in {self.config.accumulation} parts: choose a"
                f" multiple of {parts}, and at least as many rows."
            )
        return self._arguments(size // parts)

    def _rows(self) -> tuple[list[Example], list[Example]]:
        """Return the rows to learn from and those to measure on.

        No picture is in both where they are split here; with two sources that is the person's care.
        """
        config = self.config
        data = as_source(config.data)
        rows = self._usable(data, config.limit)
        eval_data = config.eval_data
        if not eval_data and data.identity == ("hub", TrainConfig.data, ""):
            eval_data = replace(data, part="validation")
        if eval_data:
            return rows, self._usable(as_source(eval_data), None)
        return split_rows(rows, config.seed)

    def _usable(self, source: DataSource, limit: int | None) -> list[Example]:
        problems: list[str] = []
        rows = open_data(source, tasks=self.config.tasks, limit=limit, problems=problems)
        fitting = []
        for row in rows:
            problem = self.collator.too_long(row)
            problems.append(problem) if problem else fitting.append(row)
        if problems:
            log.warning("%s", tell_problems(problems))
            self.left_out += problems
        if len(problems) > MOST_UNUSABLE * (len(fitting) + len(problems)):
            raise DatasetError(
                f"Too many rows of “{source}” are not usable. {tell_problems(problems)}"
            )
        return fitting

    def _before(self, valid: Sequence[Example]) -> dict[str, float]:
        """Measure the model as it came; a resumed run did so already."""
        path = self.config.out / "before" / "numbers.json"
        if self.config.resume and path.is_file():
            before: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
            self.files.tell(before=before)
            return before
        self.files.tell(state="measuring", message="Measuring the model as it is")
        self.model = self.loaded.model
        before = self._numbers("before", valid)
        self.files.tell(before=before)
        return before

    def _numbers(self, name: str, valid: Sequence[Example]) -> dict[str, float]:
        """Write a report and return each task's first number; only the first process works."""
        rows = spread(valid, self.config.answers)
        if self.files.silent or not rows:
            return {}
        report = self._ask(rows)
        report.write(self.config.out / name)
        firsts: dict[str, float] = {}
        seen: set[str] = set()
        for row in report.rows:
            if row.task not in seen:
                seen.add(row.task)
                # Not a number: no row told anything, such as a caption that names no known thing.
                if math.isfinite(row.value):
                    firsts[row.key] = round(row.value, 5)
        write_json(self.config.out / name / "numbers.json", firsts)
        return firsts

    def _ask(self, rows: Sequence[Example], bootstrap: int = 200) -> Report:
        import torch

        device = self.args.device
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        # A copy: the engine packs weights its own way, and may not disturb the run.
        model = plain_copy(self.model, dtype, device)
        loaded = replace(self.loaded, model=model, device=device, dtype=dtype)
        engine = Engine(loaded)
        options = Options(num_beams=1, max_new_tokens=self.config.max_new_tokens)
        settings = EvaluateConfig(
            model=self.loaded.title, data=self.config.data, bootstrap=bootstrap, options=options
        )
        return evaluate(engine, rows, settings)

    def _samples(self, valid: Sequence[Example]) -> tuple[dict[str, Any], ...]:
        """Return a few answers on validation pictures, as the page shows them."""
        rows = spread(valid, min(4, self.config.answers))
        if not rows:
            return ()
        return tuple(
            {
                "question": f"{j.example.task} {j.example.text}".strip()[:_SHOWN],
                "answer": (j.prediction.text or j.prediction.raw)[:_SHOWN],
                "truth": (j.example.answer or j.example.target(j.prediction.size))[:_SHOWN],
                "score": round(j.score, 4),
                "where": j.example.where,
                "picture": self._thumbnail(i, j.example),
            }
            for i, j in enumerate(self._ask(rows, bootstrap=0).judged)
        )

    def _thumbnail(self, number: int, example: Example) -> str:
        """Write a small copy of a picture once and return its name."""
        path = self.config.out / SAMPLES_FOLDER / f"{number}.jpg"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(display_copy(example.load(), 240)[0])
        return path.name

    def _trainer(self, rows: Sequence[Example], valid: Sequence[Example]) -> tuple[Any, Any]:
        from transformers import EarlyStoppingCallback

        from florence_demo.training.trainer import Batches, FlorenceTrainer, Rows, Watch

        config = self.config
        watch = Watch(self.files, partial(self._samples, valid), config.precision == "fp16")
        early = [EarlyStoppingCallback(config.patience)] if config.patience else []
        trainer = FlorenceTrainer(
            self.model,
            self.args,
            train_dataset=Rows(rows),
            eval_dataset=Rows(valid),
            data_collator=Batches(self.collator, self._cache(rows) if config.cache else None),
            callbacks=[watch, *early],
            eval_batches=Batches(self.collator),
            processor=self.loaded.processor,
        )
        return trainer, watch

    def _cache(self, rows: Sequence[Example]) -> FeatureCache:
        """Return the table of features, filled by the first process while the others wait.

        Raises:
            DatasetError: It would be larger than agreed.
        """
        import torch

        model, processor = self.loaded.model, self.loaded.processor
        shape = measure(rows, model, processor)
        if shape.bytes > self.config.cache_limit_gb * 1e9:
            raise DatasetError(
                f"The image features of {shape.pictures:,} pictures take {in_bytes(shape.bytes)} on"
                f" the disk of {self.config.out}, more than the {self.config.cache_limit_gb:g} GB"
                " agreed to: raise cache_limit_gb, or train without the cache."
            )
        cache = FeatureCache(
            self.config.out / "features", rows, shape, fingerprint(model, processor)
        )
        device = self.args.device
        tower = model.to(device)

        def encode(examples: Sequence[Example]) -> torch.Tensor:
            images = [e.load() for e in examples]
            pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
            bf16 = self.config.precision == "bf16"
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                found: torch.Tensor = tower.get_image_features(pixels.to(device)).pooler_output
            return found

        def told(done: int, total: int) -> None:
            size = in_bytes(shape.bytes)
            message = f"Looking at pictures: {done:,} of {total:,}, {size} on disk in all"
            self.files.tell(state="caching", message=message)

        with self.args.main_process_first(local=False, desc="image features"):
            cache.build(encode, 16, told)
        return cache

    def _checkpoint(self) -> Path | None:
        from florence_demo.training.trainer import last_checkpoint

        if not self.config.resume:
            return None
        found = last_checkpoint(self.config.out / "checkpoints")
        self.files.tell(message=f"Going on from {found.name}" if found else "Starting anew")
        return found

    def _save(self) -> None:
        """Write the trained model, and its processor, as any tool opens it."""
        if self.files.silent:
            return
        if self.config.mode == "lora":
            self.model.save_pretrained(self.config.out / "adapter")
        plain_copy(self.model).save_pretrained(self.config.out)
        self.loaded.processor.save_pretrained(self.config.out)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _processes() -> int:
    """Return how many processes the launcher started; it tells by the environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))
