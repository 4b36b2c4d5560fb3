"""What the model learns from: the answer's loss with soft places, and four throw-away heads.

Knows why each head exists. The dense head teaches the tower alone to see, the letter head its
early layers to tell characters apart; the cell head makes the
language model's encoder name what it sees in the language model's own words and places, before
the decoder can point; the mark head makes it find the cells that a question means. None of them
is shipped. What is to be compared comes with the batch and nothing is read back, so that a GPU is
never waited for. Does not know data loading or optimisers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from florence_demo.codec import BINS
from florence_demo.nano.learning.batches import Batch, Group
from florence_demo.nano.learning.samples import ALPHABET, COLOURS, IGNORE, SLOTS, TEXT_CLASS
from florence_demo.nano.tokenizer import CELLS

SPREAD = 3.0
"""Standard deviation, in bins, of the target of a location: three quarters of a pixel of 256."""


def soft_places(spread: float = SPREAD) -> Tensor:
    """Return the target distribution (BINS, BINS) of each location: a bell around it."""
    bins = torch.arange(BINS, dtype=torch.float32)
    bell = torch.exp(-0.5 * ((bins[:, None] - bins) / spread) ** 2)
    bell[bell < 1e-3] = 0
    return bell / bell.sum(dim=1, keepdim=True)


class AnswerLoss(nn.Module):
    """Compare logits with answers: words exactly, locations by how far off they are."""

    soft: Tensor

    def __init__(self, first_location: int) -> None:
        super().__init__()
        self.first = first_location
        self.register_buffer("soft", soft_places(), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor, located: Tensor) -> Tensor:
        """Return the loss (n,) of logits (n, V) against tokens (n,).

        Args:
            logits: (n, V).
            targets: (n,) token numbers.
            located: (m,) rows whose target is a location.
        """
        logp = logits.float().log_softmax(dim=-1)
        loss = -logp.gather(1, targets[:, None])[:, 0]
        if not len(located):
            return loss
        places = targets.index_select(0, located) - self.first
        rows = logp.index_select(0, located)[:, self.first : self.first + BINS]
        soft = self.soft.index_select(0, places)
        return loss.index_copy(0, located, -(rows * soft).sum(dim=1))


class DenseHead(nn.Module):
    """Read class, box, sub-mask, colour and characters of every cell off the tower's features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, 2 * width)
        self.widths = (TEXT_CLASS + 1, 4, 16, len(COLOURS))
        self.out = nn.Linear(2 * width, sum(self.widths))
        # Nine tenths of all outputs, so they are asked of the cells with text only.
        self.out_slots = nn.Linear(2 * width, SLOTS * (len(ALPHABET) + 1))
        # Edges are told from the cell they are seen in: the tower does not know where it looks.
        middle = (torch.arange(CELLS) + 0.5) / CELLS
        down, across = torch.meshgrid(middle, middle, indexing="ij")
        centres = rearrange([across, down] * 2, "side row column -> (row column) side")
        self.register_buffer("centres", centres, persistent=False)

    centres: Tensor

    def forward(self, features: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and what to log.

        Args:
            features: (B, width, CELLS, CELLS), the tower's last map.
            batch: What stands in the cells.
        """
        x = self.norm(rearrange(features, "b width row column -> b (row column) width"))
        hidden = F.gelu(self.hidden(x))
        classes, boxes, masks, colours = self.out(hidden).split(self.widths, dim=-1)
        off = (boxes + self.centres - batch.boxes).abs()
        written = _at(hidden, batch.written)
        guesses = rearrange(self.out_slots(written), "n (slot c) -> n slot c", slot=SLOTS)
        slots, truth = _at(batch.slots, batch.written), batch.classes.flatten()
        things = truth.masked_fill((truth == 0) | (truth == TEXT_CLASS), IGNORE)
        losses = {
            # Most cells are empty: what stands in the others would hardly count.
            "class": F.cross_entropy(classes.flatten(0, 1), truth)
            + 2 * _mean_over(classes, things),
            "box": _at(off, batch.things).sum(-1).mean() if len(batch.things) else off.sum() * 0,
            "mask": F.binary_cross_entropy_with_logits(
                _at(masks, batch.solid), _at(batch.masks, batch.solid)
            )
            if len(batch.solid)
            else masks.sum() * 0,
            "colour": _mean_over(colours, batch.colours),
            "slots": _mean_over(guesses, slots)
            + 2 * _mean_over(guesses, slots.masked_fill(slots == 0, IGNORE)),
        }
        total = (
            losses["class"]
            + 12 * losses["box"]
            + losses["mask"]
            + 0.3 * losses["colour"]
            + losses["slots"]
        )
        said = {f"dense_{name}": loss.detach() for name, loss in losses.items()}
        with torch.no_grad():
            if len(batch.solid):
                right = (classes.argmax(-1) == batch.classes).flatten()
                said["cell_acc"] = right.index_select(0, batch.solid).float().mean()
            if len(batch.written):
                filled = slots > 0
                hit = filled & (guesses.argmax(-1) == slots)
                said["slot_acc"] = hit.sum() / filled.sum().clamp(min=1)
        return total, said


class LetterHead(nn.Module):
    """Name the character in each fine cell off the tower's map before the last.

    Told what single characters look like, the early layers learn to read long before the letters
    of a whole cell, in their order, could teach them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, len(ALPHABET) + 1)

    def forward(self, features: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and what to log.

        Args:
            features: (B, width, FINE, FINE).
            batch: What stands in the fine cells.
        """
        if not len(batch.spelled):
            return features.sum() * 0, {}
        cells = rearrange(features, "b width row column -> b (row column) width")
        said = self.out(self.norm(_at(cells, batch.spelled)))
        letters = _at(batch.letters, batch.spelled)
        loss = F.cross_entropy(said, letters)
        right = (said.argmax(-1) == letters).float().mean()
        return loss, {"letter_loss": loss.detach(), "letter_acc": right}


class CellHead(nn.Module):
    """Make encoded picture cells say label, box and characters in the model's own embeddings."""

    def __init__(self, width: int, first_location: int) -> None:
        """Build the head.

        Args:
            width: Width of the language model.
            first_location: Token number of ``<loc_0>``.
        """
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, (5 + SLOTS) * width)
        self.answer = AnswerLoss(first_location)

    def forward(
        self, cells: Tensor, embeddings: Tensor, group: Group
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss over some cells that hold something, and what to log.

        Args:
            cells: (Q, N, width), the encoder's output at the picture's cells.
            embeddings: (V, width), the tied matrix of words.
            group: The questions, with the cells that are asked and what they should say.
        """
        if not len(group.cells):
            return cells.sum() * 0, {}
        said = self.out(self.norm(_at(cells, group.cells)))
        said = rearrange(said, "n (thing width) -> n thing width", thing=5 + SLOTS)
        labels, places, _ = group.kinds
        located = torch.arange(labels, labels + places, device=cells.device)
        logits = _at(said, group.said) @ embeddings.T
        parts = self.answer(logits, group.targets, located).split(group.kinds)
        named = zip(("label", "place", "letter"), parts, strict=True)
        means = {f"cell_{name}": part.mean() for name, part in named if len(part)}
        total = torch.stack([*means.values()]).sum()
        return total, {name: value.detach() for name, value in means.items()}


class MarkHead(nn.Module):
    """Make encoded picture cells say whether the question means them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, cells: Tensor, group: Group) -> Tensor:
        """Return the mean loss of cells (Q, N, width) of the questions that are about places."""
        placed = cells.index_select(0, group.placed)
        logits: Tensor = self.out(F.gelu(self.hidden(self.norm(placed))))[..., 0]
        if not len(group.placed):
            return logits.sum() * 0
        return F.binary_cross_entropy_with_logits(logits, group.marks)


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Return the rows (n, ...) of values (B, N, ...) at flat places (n,) in B * N."""
    return values.flatten(0, 1).index_select(0, places)


def _mean_over(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss over the targets that are not to be ignored, 0 where all are."""
    flat, truth = rearrange(logits, "... c -> (...) c"), targets.flatten()
    lost = F.cross_entropy(flat, truth, ignore_index=IGNORE, reduction="sum")
    return lost / (truth != IGNORE).sum().clamp(min=1)
