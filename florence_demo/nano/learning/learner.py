"""One training step: pictures once through the tower, every question about them from there.

Knows how the losses come together and in which order gradients are computed, so that the costly
tower runs once a picture and short questions are not padded to long ones. Does not know files,
processes or schedules.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    Florence2ForConditionalGeneration,
    Florence2Processor,
    PreTrainedTokenizerFast,
)

from florence_demo.codec import BINS
from florence_demo.nano.architecture import square
from florence_demo.nano.learning.heads import (
    SPREAD,
    AnswerLoss,
    CellHead,
    DenseHead,
    LetterHead,
    MarkHead,
    soft_places,
)
from florence_demo.nano.learning.samples import (
    ALPHABET,
    IGNORE,
    TEXT_CLASS,
    Question,
    Sample,
    pad,
    stack,
)
from florence_demo.nano.scenes.catalogue import CLASSES
from florence_demo.nano.tokenizer import IMAGE_TOKENS

GROUP = 8
"""Questions that go through the language model together; more fall out of a processor's cache."""


@dataclass(frozen=True)
class Shares:
    """Hold how much each throw-away head counts beside the answers."""

    dense: float = 1.0
    cells: float = 1.0
    marks: float = 1.0


@dataclass(frozen=True)
class _Asked:
    """One question of a batch: which sample it belongs to."""

    row: int
    question: Question


@dataclass(frozen=True, eq=False)
class _Step:
    """What the groups of a step have in common.

    Attributes:
        pictures: (B, 1 + N, width) projected features, the leaf that collects their gradient.
        batch: What stands in the cells.
        shares: Weights of the throw-away heads.
        questions: Questions in all.
        weight: Their weights together.
        sums: What to log, by name.
    """

    pictures: Tensor
    batch: dict[str, Tensor]
    shares: Shares
    questions: int
    weight: float
    sums: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class Learner(nn.Module):
    """Hold the model with its throw-away heads."""

    def __init__(
        self, model: Florence2ForConditionalGeneration, processor: Florence2Processor
    ) -> None:
        super().__init__()
        tokenizer = processor.tokenizer
        self.model = model
        width = model.config.text_config.d_model
        self.pad_id = tokenizer.pad_token_id
        first = tokenizer.convert_tokens_to_ids("<loc_0>")
        self.dense = DenseHead(model.config.vision_config.embed_dim[-1])
        self.letters = LetterHead(model.config.vision_config.embed_dim[-2])
        self.cells = CellHead(
            width,
            first,
            torch.tensor([IGNORE, *(_single(tokenizer, name) for name in CLASSES), IGNORE]),
            torch.tensor([self.pad_id, *(_single(tokenizer, c) for c in ALPHABET)]),
        )
        assert len(self.cells.words) == TEXT_CLASS + 1
        self.marks = MarkHead(width)
        self.answer = AnswerLoss(first)
        self.register_buffer("neighbours", soft_places(2 * SPREAD), persistent=False)

    neighbours: Tensor

    def learn(self, samples: Sequence[Sample], shares: Shares) -> dict[str, float]:
        """Add the gradients of a batch to the parameters; return what to log.

        Args:
            samples: The batch; without any question only the tower learns.
            shares: Weights of the throw-away heads.
        """
        device = next(self.model.parameters()).device
        names = ("classes", "boxes", "masks", "colours", "slots")
        batch = {name: stack(samples, name).to(device) for name in names}
        features, fine = self.see(samples)
        dense: Tensor
        said: dict[str, float]
        dense, said = self.dense(features, batch)
        letter, spelled = self.letters(fine, stack(samples, "letters").to(device))
        dense, said = dense + letter, {**said, **spelled}
        asked = [_Asked(i, q) for i, sample in enumerate(samples) for q in sample.questions]
        if not asked:
            (dense * shares.dense).backward()
            return said
        projected = self.model.model.multi_modal_projector(features)  # (B, 1 + N, width)
        # The language model's graph is walked group by group up to this leaf; the tower's once.
        leaf = projected.detach().requires_grad_()
        asked.sort(key=lambda a: len(a.question.answer))
        weight = sum(_weight(a.question) for a in asked)
        step = _Step(leaf, batch, shares, len(asked), weight)
        for at in range(0, len(asked), GROUP):
            self._learn_group(asked[at : at + GROUP], step)
        torch.autograd.backward([projected, dense * shares.dense], [leaf.grad, None])
        self._smooth_places()
        return {**said, **{name: float(np.mean(values)) for name, values in step.sums.items()}}

    @torch.no_grad()
    def _smooth_places(self) -> None:
        """Let every place learn what its neighbours learned: there are 1,000, each of them rare."""
        grad = self.model.model.language_model.shared.weight.grad
        rows = slice(self.answer.first, self.answer.first + BINS)
        if grad is not None:
            grad[rows] = self.neighbours @ grad[rows]

    def see(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """Return the tower's last map and the one before it, each (B, width, cells, cells)."""
        tower, held = self.model.model.vision_tower, []
        stage = tower.blocks[-2][-1] if len(tower.blocks[-2]) else tower.convs[-2]
        hook = stage.register_forward_hook(lambda module, args, out: held.append(out))
        try:
            last = tower(self.pixels(samples)).last_hidden_state
        finally:
            hook.remove()
        return last, held[0]

    def pixels(self, samples: Sequence[Sample]) -> Tensor:
        """Return the pictures of samples as the tower reads them."""
        device = next(self.model.parameters()).device
        pixels = square(stack(samples, "pixels").to(device))
        return pixels.contiguous(memory_format=torch.channels_last)

    def _learn_group(self, group: Sequence[_Asked], step: _Step) -> None:
        device = step.pictures.device
        rows = torch.tensor([a.row for a in group], device=device)
        prompts = pad([a.question.prompt for a in group], self.pad_id).to(device)
        encoded, mask = self.encode(step.pictures[rows], prompts)
        cells = encoded[:, 1:IMAGE_TOKENS]
        loss = self._answers(group, encoded, mask, step.sums) / step.weight
        part = len(group) / step.questions
        if step.shares.cells:
            embeddings = self.model.model.language_model.shared.weight
            batch = {name: values[rows] for name, values in step.batch.items()}
            cell, said = self.cells(cells, embeddings, batch)
            loss = loss + cell * step.shares.cells * part
            for name, value in said.items():
                step.sums[name].append(value)
        if step.shares.marks:
            marks = torch.from_numpy(np.stack([a.question.marks for a in group])).to(device)
            mark = self.marks(cells, marks)
            loss = loss + mark * step.shares.marks * part
            step.sums["mark"].append(mark.item())
        loss.backward()

    def encode(self, pictures: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's output and mask for projected pictures and padded prompts."""
        language = self.model.model.language_model
        words = language.shared(prompts)
        inputs = torch.cat([pictures, words], dim=1)
        seen = torch.ones(pictures.shape[:2], dtype=torch.long, device=prompts.device)
        mask = torch.cat([seen, (prompts != self.pad_id).long()], dim=1)
        return language.encoder(inputs_embeds=inputs, attention_mask=mask)[0], mask

    def _answers(
        self,
        group: Sequence[_Asked],
        encoded: Tensor,
        mask: Tensor,
        sums: dict[str, list[float]],
    ) -> Tensor:
        """Return the weighted sum of the group's answer losses."""
        start = self.model.config.text_config.decoder_start_token_id
        labels = pad([a.question.answer for a in group], self.pad_id).to(encoded.device)
        inputs = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], dim=1)
        hidden = self.model.model.language_model.decoder(
            input_ids=inputs,
            encoder_hidden_states=encoded,
            encoder_attention_mask=mask,
            use_cache=False,
        )[0]
        # The answer's <s> is forced when decoding: it is no choice to learn.
        real = labels != self.pad_id
        real[:, 0] = False
        losses = self.answer(self.model.lm_head(hidden[real]), labels[real])
        lengths = real.sum(dim=1)
        means = torch.stack([part.mean() for part in losses.split(lengths.tolist())])
        weights = torch.tensor([_weight(a.question) for a in group], device=means.device)
        for asked, mean in zip(group, means.tolist(), strict=True):
            sums["answer"].append(mean)
            sums[f"task_{asked.question.task}"].append(mean)
        total: Tensor = (means * weights).sum()
        return total


def _weight(question: Question) -> float:
    """Return how much an answer counts: more than a short one, less than its length says."""
    return math.sqrt(len(question.answer))


def _single(tokenizer: PreTrainedTokenizerFast, word: str) -> int:
    ids: list[int] = tokenizer(word, add_special_tokens=False)["input_ids"]
    return ids[0] if len(ids) == 1 else IGNORE
