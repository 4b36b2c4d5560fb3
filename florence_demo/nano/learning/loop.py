"""The training of the embedded model: one loop that can stop and go on at any step.

Knows the order of the recipe (the tower alone, then a question a picture, then several), the
schedule, and how processes side by side share a step. What is learned from lies in ``learner``.

    python -m florence_demo.nano --out runs/nano --hours 8
    python -m florence_demo.nano --out runs/nano --export assets/nano --cooldown-minutes 10
"""

from __future__ import annotations

import logging
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from timm.utils import ModelEmaV3
from torch import Tensor

from florence_demo.errors import InputError
from florence_demo.machine import keep_heap
from florence_demo.nano.architecture import build_model
from florence_demo.nano.learning import store
from florence_demo.nano.learning.batches import Batch
from florence_demo.nano.learning.config import TrainConfig
from florence_demo.nano.learning.glance import check
from florence_demo.nano.learning.learner import Learner
from florence_demo.nano.learning.optimizer import MuonAdamW
from florence_demo.nano.learning.plots import draw_curves, draw_samples
from florence_demo.nano.learning.stream import Stream, feed
from florence_demo.nano.scenes.catalogue import CLASSES, TRAIN_STYLES
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.sprites import Library
from florence_demo.nano.tokenizer import build_processor, common_words, load_processor
from florence_demo.tasks import TASKS

FIRST_SEED = 100_000_000
"""Training scenes start here; every held-out seed lies below."""
LOOK = 50
"""Steps between looks at the losses."""
_log = logging.getLogger(__name__)


@dataclass
class _Progress:
    step: int = 0
    pictures: int = 0
    pairs: int = 0
    seconds: float = 0.0


class Gauges:
    """Keep what is said of the losses where it arises, and look at it now and then.

    Each look waits until a GPU has done all that it was given.
    """

    def __init__(self) -> None:
        self._said: dict[str, list[Tensor]] = defaultdict(list)

    def add(self, said: Mapping[str, Tensor]) -> None:
        """Keep one value a name."""
        for name, value in said.items():
            self._said[name].append(value)

    def look(self) -> dict[str, float]:
        """Return the mean of each name since the last look."""
        if not self._said:
            return {}
        means = torch.stack([torch.stack(values).mean() for values in self._said.values()])
        looked = dict(zip(self._said, means.tolist(), strict=True))
        self._said.clear()
        return looked


def library(folder: Path, styles: Sequence[str] = TRAIN_STYLES) -> Library:
    """Return the sprites of a folder, or drawn stand-ins."""
    if folder.is_dir():
        return Library.load(folder, styles=styles)
    _log.warning("%s does not exist: learning from drawn stand-ins", folder)
    return Library.drawn()


def prepare(config: TrainConfig) -> None:
    """Write the run's processor, whose words are those of the scenes, unless it is there."""
    folder = config.out / store.PROCESSOR
    if folder.exists():
        return
    if config.start != Path():
        store.load_shipped(config.start)  # raises where there is none
        # The words of a model cannot change once it has learned them.
        load_processor(config.start).save_pretrained(folder)
        return
    sprites = library(config.sprites, config.styles)
    sentences = []
    for seed in range(FIRST_SEED - 1500, FIRST_SEED):
        for truth in make_scene(seed, 128, library=sprites).truths:
            # What is read off a picture is spelled; what is said about it comes in words.
            sentences.append(truth.text)
            if "ocr" not in truth.task and truth.task != "docvqa":
                sentences += [truth.answer, *truth.detections.labels]
    prompts = [task.prompt.replace("{input}", "") for task in TASKS.values()]
    always = [*common_words(prompts, least=1), *CLASSES, "VQA", "DocVQA"]
    words = list(dict.fromkeys([*always, *common_words(sentences, least=8)]))[:720]
    build_processor(words).save_pretrained(folder)
    store.log(config.out, {"event": "processor", "words": len(words)})


class Trainer:
    """Run the loop in one process of several."""

    def __init__(self, config: TrainConfig, rank: int) -> None:
        self.config, self.rank = config, rank
        torch.set_num_threads(config.threads)
        torch.manual_seed(0)
        self.processor = load_processor(config.out / store.PROCESSOR)
        model = build_model(self.processor)
        model.model.vision_tower.to(memory_format=torch.channels_last)
        self.learner = Learner(model, self.processor).to(config.device).train()
        self.optimizer = MuonAdamW(
            self.learner.named_parameters(), muon_lr=config.muon_lr, adam_lr=config.adam_lr
        )
        self.ema = ModelEmaV3(model, decay=config.ema, use_warmup=True) if rank == 0 else None
        self.at, self.gauges = _Progress(), Gauges()
        self.stopped = False
        self._resume()
        # Without this the heads would draw the same cells in every process.
        torch.manual_seed(self.at.step * 16 + rank)
        self.sprites = library(config.sprites, config.styles)

    def _resume(self) -> None:
        state = store.load_checkpoint(self.config.out)
        if state is None:
            if self.config.start != Path():
                shipped = store.load_shipped(self.config.start)
                load_matching(self.learner, shipped.learner)
                if self.ema is not None:
                    self.ema.set(self.learner.model)
                self.at = _Progress(*shipped.progress)
                _log.info("going on from %s", self.config.start)
            return
        load_matching(self.learner, state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            load_matching(self.ema.module, state["ema"])
        self.at = _Progress(*(state[k] for k in ("step", "pictures", "pairs", "seconds")))
        _log.info("going on from step %d, %d pictures", self.at.step, self.at.pictures)

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to go on."""
        assert self.ema is not None
        return {
            "learner": self.learner.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.at.step,
            "pictures": self.at.pictures,
            "pairs": self.at.pairs,
            "seconds": self.at.seconds,
        }

    def _batches(self, questions: int) -> Iterator[Batch]:
        config = self.config
        stream = Stream(
            self.sprites,
            self.processor.tokenizer,
            config.batch // config.processes,
            config.group,
            questions,
            FIRST_SEED + self.at.pictures + self.rank,
            config.processes,
        )
        return feed(stream, config.workers, config.device)

    def run(self) -> None:
        """Learn until told to stop; what was learned is kept in any case."""
        try:
            self._loop()
        finally:
            if self.ema is not None:
                store.save_checkpoint(self.config.out, self.state())

    def _loop(self) -> None:
        config, at = self.config, self.at
        began = last = saved = checked = time.monotonic()
        seconds_before = at.seconds
        step, questions = at.step, -1
        batches: Iterator[Batch] = iter(())
        while not self.stopped:
            wanted = config.questions_at(at.pictures)
            if wanted != questions:
                questions, batches = wanted, self._batches(wanted)
                if questions:
                    self._match_positions(next(batches))
            batch = next(batches)
            elapsed = time.monotonic() - began
            with torch.autocast(config.device, torch.bfloat16, enabled=config.device == "cuda"):
                said = self.learner.learn(batch, config.shares_at(at.pictures))
            norm = self.optimizer.step(self._scale(elapsed))
            self.optimizer.zero_grad()
            at.step += 1
            at.pictures += config.batch
            at.pairs += config.processes * batch.pairs
            at.seconds = seconds_before + time.monotonic() - began
            if self.ema is None:
                continue
            self.gauges.add({**said, "norm": norm})
            self.ema.update(self.learner.model, step=at.step)
            now = time.monotonic()
            if at.step % LOOK == 0:
                self._log((at.step - step) / (now - last))
                last, step = now, at.step
            if now - saved > 60 * config.checkpoint_minutes:
                store.save_checkpoint(config.out, self.state())
                saved = now
            if now - checked > 60 * config.check_minutes and questions:
                self._check()
                checked = time.monotonic()
                last += checked - now
            self.stopped |= bool(config.seconds) and at.seconds - seconds_before > config.seconds
            self.stopped |= bool(config.pictures) and at.pictures >= config.pictures

    @torch.no_grad()
    def _match_positions(self, batch: Batch) -> None:
        """Bring the embeddings of rows and columns to the size of the tower's features.

        Learning alone, the tower may make its features as large as it likes, hundreds of times
        their first size; beside those the language model would not see where a cell is. The
        middle channel counts: a few are far larger than the others and say little.
        """
        model = self.learner.model.model
        features = model.vision_tower(self.learner.pixels(batch)).last_hidden_state
        size = features.square().mean(dim=(0, 2, 3)).median()
        if self.config.processes > 1:
            dist.all_reduce(size)
            size /= self.config.processes
        models = [model] if self.ema is None else [model, self.ema.module.model]
        for each in models:
            table = each.multi_modal_projector.image_position_embed
            for weight in (table.row_embeddings.weight, table.column_embeddings.weight):
                factor = float((size / weight.square().mean()).sqrt())
                if factor > 5:
                    weight.mul_(factor)

    def _scale(self, elapsed: float) -> float:
        """Return the factor of the learning rates: up at first, then level, or down to nothing."""
        if self.config.cooldown:
            return max(0.02, 1 - elapsed / self.config.seconds)
        # The language model begins later than the tower and is warmed up on its own.
        later = self.at.pictures - self.config.tower_pictures
        begun = later / self.config.batch if later >= 0 else self.at.step
        return min(1.0, (begun + 10) / 150)

    def _log(self, steps_a_second: float) -> None:
        at = self.at
        row = {
            "step": at.step,
            "pictures": at.pictures,
            "pairs": at.pairs,
            "minutes": round(at.seconds / 60, 2),
            "pictures_a_second": steps_a_second * self.config.batch,
            **self.gauges.look(),
        }
        store.log(self.config.out, row)

    def _check(self) -> None:
        assert self.ema is not None
        at = self.at
        row = {
            "event": "check",
            "step": at.step,
            "pictures": at.pictures,
            "pairs": at.pairs,
            "minutes": at.seconds / 60,
            **check(self.ema.module, self.processor, self.sprites),
        }
        store.log(self.config.out, row)
        draw_curves(self.config.out)
        draw_samples(self.config.out, self.ema.module, self.processor, self.sprites)


def load_matching(module: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Take over every weight that still has its name and shape: throw-away heads may change."""
    own = module.state_dict()
    usable = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    module.load_state_dict(usable, strict=False)


def _work(rank: int, config: TrainConfig, meeting: str) -> None:
    """Run one process of a training."""
    keep_heap()
    # Attention that is sure of itself leaves gradients below 1e-38, on which a processor is ten
    # times slower: a quarter of a step went there.
    torch.set_flush_denormal(True)
    if config.processes > 1:
        dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=config.processes)
    trainer = Trainer(config, rank)
    if rank == 0:

        def stop(*_: object) -> None:
            trainer.stopped = True

        signal.signal(signal.SIGTERM, stop)
    else:
        # A signal to the whole group must not take the helpers away in the middle of a step.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        trainer.run()
    finally:
        torch.set_flush_denormal(False)


def train(config: TrainConfig) -> None:
    """Train, or go on training, in as many processes as the configuration says.

    Raises:
        InputError: There is no such device here.
        CheckpointError: There is no model to start from.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("torch finds no GPU here: leave --device out.")
    prepare(config)
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        context = mp.get_context("spawn")
        # Daemons end with this process, which alone decides when to stop.
        helpers = [
            context.Process(target=_work, args=(rank, config, meeting), daemon=True)
            for rank in range(1, config.processes)
        ]
        for helper in helpers:
            helper.start()
        _work(0, config, meeting)
        for helper in helpers:
            helper.kill()
            helper.join()
    if dist.is_initialized():
        dist.destroy_process_group()
