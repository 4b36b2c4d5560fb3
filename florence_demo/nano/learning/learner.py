"""One training step: pictures once through the tower, every question about them from there.

Knows how the losses come together and in which order gradients are computed, so that the costly
tower runs once a picture and short questions are not padded to long ones. What it says of the
losses stays where they arise. Does not know files, processes or schedules.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import Florence2ForConditionalGeneration, Florence2Processor

from florence_demo.codec import BINS
from florence_demo.nano.architecture import square
from florence_demo.nano.learning.batches import Batch, Group, Words
from florence_demo.nano.learning.heads import (
    SPREAD,
    AnswerLoss,
    CellHead,
    DenseHead,
    LetterHead,
    MarkHead,
    soft_places,
)
from florence_demo.nano.tokenizer import IMAGE_TOKENS


@dataclass(frozen=True)
class Shares:
    """Hold how much each throw-away head counts beside the answers."""

    dense: float = 1.0
    cells: float = 1.0
    marks: float = 1.0


@dataclass(frozen=True, eq=False)
class _Step:
    """What the groups of a step have in common.

    Attributes:
        pictures: (B, 1 + N, width) projected features, the leaf that collects their gradient.
        shares: Weights of the throw-away heads.
        questions: Questions in all.
        answers: The mean loss (Q,) of each answer, a group.
        said: What else to log a group, by name.
    """

    pictures: Tensor
    shares: Shares
    questions: int
    answers: list[Tensor] = field(default_factory=list)
    said: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))


class Learner(nn.Module):
    """Hold the model with its throw-away heads."""

    def __init__(
        self, model: Florence2ForConditionalGeneration, processor: Florence2Processor
    ) -> None:
        super().__init__()
        self.model = model
        self.words = Words.of(processor.tokenizer)
        width, first = model.config.text_config.d_model, self.words.first
        self.dense = DenseHead(model.config.vision_config.embed_dim[-1])
        self.letters = LetterHead(model.config.vision_config.embed_dim[-2])
        self.cells = CellHead(width, first)
        self.marks = MarkHead(width)
        self.answer = AnswerLoss(first)
        self.register_buffer("neighbours", soft_places(2 * SPREAD), persistent=False)

    neighbours: Tensor

    def learn(self, batch: Batch, shares: Shares) -> dict[str, Tensor]:
        """Add the gradients of a batch to the parameters; return what to log, one value each.

        Args:
            batch: Where the model is; without any question only the tower learns.
            shares: Weights of the throw-away heads.
        """
        features, fine = self.see(batch)
        dense, said = self.dense(features, batch)
        letter, spelled = self.letters(fine, batch)
        dense, said = dense + letter, {**said, **spelled}
        if not batch.groups:
            (dense * shares.dense).backward()
            return said
        projected = self.model.model.multi_modal_projector(features)  # (B, 1 + N, width)
        # The language model's graph is walked group by group up to this leaf; the tower's once.
        leaf = projected.detach().requires_grad_()
        step = _Step(leaf, shares, batch.pairs)
        for group in batch.groups:
            self._learn_group(group, step)
        torch.autograd.backward([projected, dense * shares.dense], [leaf.grad, None])
        self._smooth_places()
        said |= {name: torch.stack(values).mean() for name, values in step.said.items()}
        return {**said, **_by_task(batch, torch.cat(step.answers))}

    @torch.no_grad()
    def _smooth_places(self) -> None:
        """Let every place learn what its neighbours learned: there are 1,000, each of them rare."""
        grad = self.model.model.language_model.shared.weight.grad
        rows = slice(self.answer.first, self.answer.first + BINS)
        if grad is not None:
            grad[rows] = self.neighbours @ grad[rows]

    def see(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the tower's last map and the one before it, each (B, width, cells, cells)."""
        tower, held = self.model.model.vision_tower, []
        stage = tower.blocks[-2][-1] if len(tower.blocks[-2]) else tower.convs[-2]
        hook = stage.register_forward_hook(lambda module, args, out: held.append(out))
        try:
            last = tower(self.pixels(batch)).last_hidden_state
        finally:
            hook.remove()
        return last, held[0]

    def pixels(self, batch: Batch) -> Tensor:
        """Return the pictures of a batch as the tower reads them."""
        return square(batch.pixels).contiguous(memory_format=torch.channels_last)

    def _learn_group(self, group: Group, step: _Step) -> None:
        pictures = step.pictures.index_select(0, group.rows)
        encoded, mask = self.encode(pictures, group.prompts)
        cells = encoded[:, 1:IMAGE_TOKENS]
        loss = self._answers(group, encoded, mask, step)
        part = len(group.rows) / step.questions
        if step.shares.cells:
            embeddings = self.model.model.language_model.shared.weight
            cell, said = self.cells(cells, embeddings, group)
            loss = loss + cell * step.shares.cells * part
            for name, value in said.items():
                step.said[name].append(value)
        if step.shares.marks:
            mark = self.marks(cells, group)
            loss = loss + mark * step.shares.marks * part
            step.said["mark"].append(mark.detach())
        loss.backward()

    def encode(self, pictures: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the encoder makes of pictures and prompts, and what is masked of it.

        Args:
            pictures: (Q, 1 + N, width), projected.
            prompts: (Q, P) token numbers, filled up with padding.

        Returns:
            (Q, 1 + N + P, width), and (Q, 1, 1, 1 + N + P) to be added to what attends to it.
        """
        language = self.model.model.language_model
        inputs = torch.cat([pictures, language.shared(prompts)], dim=1)
        mask = torch.zeros(inputs.shape[:2], dtype=inputs.dtype, device=inputs.device)
        padding = prompts == self.words.pad
        mask[:, pictures.shape[1] :].masked_fill_(padding, torch.finfo(mask.dtype).min)
        # A mask of two dimensions would be looked at, and the GPU waited for.
        mask = mask[:, None, None]
        return language.encoder(inputs_embeds=inputs, attention_mask=mask)[0], mask

    def _answers(self, group: Group, encoded: Tensor, mask: Tensor, step: _Step) -> Tensor:
        """Return the weighted sum of the group's answer losses."""
        start = self.model.config.text_config.decoder_start_token_id
        labels = group.answers
        inputs = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], dim=1)
        hidden = self.model.model.language_model.decoder(
            input_ids=inputs,
            encoder_hidden_states=encoded,
            encoder_attention_mask=mask,
            use_cache=False,
        )[0]
        hidden = hidden.flatten(0, 1).index_select(0, group.learned)
        targets = labels.flatten().index_select(0, group.learned)
        losses = self.answer(self.model.lm_head(hidden), targets, group.located)
        sums = torch.zeros_like(group.lengths).index_add(0, group.owners, losses.detach())
        step.answers.append(sums / group.lengths)
        total: Tensor = (losses * group.shares).sum()
        return total


def _by_task(batch: Batch, answers: Tensor) -> dict[str, Tensor]:
    """Return the mean of the answers' losses (pairs,), and that of each task."""
    tasks = torch.cat([group.tasks for group in batch.groups])
    means = torch.zeros_like(batch.asked).index_add(0, tasks, answers) / batch.asked
    named = zip(batch.tasks, means.unbind(), strict=True)
    return {"answer": answers.mean(), **{f"task_{name}": mean for name, mean in named}}
