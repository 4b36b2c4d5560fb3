"""What the model learns from: the answer's loss with soft places, and four throw-away heads.

Knows why each head exists. The dense head teaches the tower alone to see, the letter head its
early layers to tell characters apart; the cell head makes the
language model's encoder name what it sees in the language model's own words and places, before
the decoder can point; the mark head makes it find the cells that a question means. None of them
is shipped. Does not know data loading or optimisers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from florence_demo.codec import BINS
from florence_demo.nano.learning.samples import (
    ALPHABET,
    COLOURS,
    IGNORE,
    SLOTS,
    TEXT_CLASS,
    locations,
)
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

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss (n,) of logits (n, V) against token numbers (n,)."""
        logp = logits.float().log_softmax(dim=-1)
        loss = -logp.gather(1, targets[:, None])[:, 0]
        places = targets - self.first
        at = ((places >= 0) & (places < BINS)).nonzero()[:, 0]
        if len(at):
            rows = logp[at, self.first : self.first + BINS]
            loss = loss.index_copy(0, at, -(rows * self.soft[places[at]]).sum(dim=1))
        return loss


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

    def forward(
        self, features: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and what to log.

        Args:
            features: (B, width, CELLS, CELLS), the tower's last map.
            batch: (B, N, ...) tensors under the names of ``Sample``'s attributes.
        """
        x = self.norm(rearrange(features, "b width row column -> b (row column) width"))
        hidden = F.gelu(self.hidden(x))
        classes, boxes, masks, colours = self.out(hidden).split(self.widths, dim=-1)
        truth = batch["classes"]
        thing = truth > 0
        solid = thing & (truth < TEXT_CLASS)
        losses = {
            # Most cells are empty: what stands in the others would hardly count.
            "class": F.cross_entropy(rearrange(classes, "b n c -> (b n) c"), truth.flatten())
            + 2 * _mean_over(classes, truth.masked_fill(~solid, IGNORE)),
            "box": (boxes + self.centres - batch["boxes"]).abs()[thing].sum(-1).mean()
            if thing.any()
            else boxes.sum() * 0,
            "mask": F.binary_cross_entropy_with_logits(masks[solid], batch["masks"][solid])
            if solid.any()
            else masks.sum() * 0,
            "colour": _mean_over(colours, batch["colours"]),
        }
        text = truth == TEXT_CLASS
        guesses = rearrange(self.out_slots(hidden[text]), "n (slot c) -> n slot c", slot=SLOTS)
        slot = batch["slots"][text]
        losses["slots"] = _mean_over(guesses, slot) + 2 * _mean_over(
            guesses, slot.masked_fill(slot == 0, IGNORE)
        )
        total = (
            losses["class"]
            + 12 * losses["box"]
            + losses["mask"]
            + 0.3 * losses["colour"]
            + losses["slots"]
        )
        said = {f"dense_{name}": loss.item() for name, loss in losses.items()}
        with torch.no_grad():
            right = classes.argmax(-1) == truth
            said["cell_acc"] = right[solid].float().mean().item() if solid.any() else 0.0
            filled = slot > 0
            if filled.any():
                hit = guesses.argmax(-1) == slot
                said["slot_acc"] = hit[filled].float().mean().item()
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

    def forward(self, features: Tensor, letters: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and what to log.

        Args:
            features: (B, width, FINE, FINE).
            letters: (B, FINE * FINE), IGNORE where there is none.
        """
        written = letters != IGNORE
        if not written.any():
            return features.sum() * 0, {}
        cells = rearrange(features, "b width row column -> b (row column) width")
        said = self.out(self.norm(cells[written]))
        loss = F.cross_entropy(said, letters[written])
        right = (said.argmax(-1) == letters[written]).float().mean()
        return loss, {"letter_loss": loss.item(), "letter_acc": right.item()}


class CellHead(nn.Module):
    """Make encoded picture cells say label, box and characters in the model's own embeddings."""

    ASKED = 12

    def __init__(self, width: int, first_location: int, words: Tensor, letters: Tensor) -> None:
        """Build the head.

        Args:
            width: Width of the language model.
            first_location: Token number of ``<loc_0>``.
            words: (TEXT_CLASS + 1,) token number of each class, IGNORE where there is none.
            letters: (len(ALPHABET) + 1,) token number of each character, IGNORE likewise.
        """
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, (5 + SLOTS) * width)
        self.first = first_location
        self.answer = AnswerLoss(first_location)
        self.register_buffer("words", words, persistent=False)
        self.register_buffer("letters", letters, persistent=False)

    words: Tensor
    letters: Tensor

    def forward(
        self, cells: Tensor, embeddings: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss over some cells that hold something, and what to log.

        Args:
            cells: (B, N, width), the encoder's output at the picture's cells.
            embeddings: (V, width), the tied matrix of words.
            batch: (B, N, ...) as the dense head takes it.
        """
        held = (batch["classes"] > 0).nonzero()
        if not len(held):
            return cells.sum() * 0, {}
        most = self.ASKED * len(cells)
        held = held[torch.randperm(len(held), device=held.device)[:most]]
        rows, columns = held.unbind(1)
        said = self.out(self.norm(cells[rows, columns]))
        said = rearrange(said, "n (place width) -> n place width", place=5 + SLOTS)
        label = self.words[batch["classes"][rows, columns]]
        places = locations(batch["boxes"][rows, columns]) + self.first
        slots = batch["slots"][rows, columns]
        letters = torch.where(slots >= 0, self.letters[slots.clamp(min=0)], IGNORE)
        targets = torch.cat([label[:, None], places, letters], dim=1)
        # Empty slots outnumber the others and teach little: only the first one of a cell counts.
        keep = (targets != IGNORE) & (
            torch.cumsum(F.pad(slots == 0, (5, 0)), dim=1) * (targets == self.letters[0]) <= 1
        )
        keep[label == IGNORE, 0] = False
        not_text = batch["classes"][rows, columns] != TEXT_CLASS
        keep[not_text, 5:] = False
        logits = said[keep] @ embeddings.T
        loss = self.answer(logits, targets[keep])
        kind = torch.arange(5 + SLOTS, device=keep.device).expand_as(keep)[keep]
        parts = {"label": kind == 0, "place": (kind > 0) & (kind < 5), "letter": kind >= 5}
        means = {name: loss[at].mean() for name, at in parts.items() if at.any()}
        total = torch.stack([*means.values()]).sum()
        return total, {f"cell_{name}": value.item() for name, value in means.items()}


class MarkHead(nn.Module):
    """Make encoded picture cells say whether the question means them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, cells: Tensor, marks: Tensor) -> Tensor:
        """Return the mean loss of cells (n, N, width) against shares (n, N), -1 ignored."""
        logits: Tensor = self.out(F.gelu(self.hidden(self.norm(cells))))[..., 0]
        asked = marks[:, 0] >= 0
        if not asked.any():
            return logits.sum() * 0
        return F.binary_cross_entropy_with_logits(logits[asked], marks[asked])


def _mean_over(logits: Tensor, targets: Tensor) -> Tensor:
    if not (targets != IGNORE).any():
        return logits.sum() * 0
    flat = rearrange(logits, "... c -> (...) c")
    return F.cross_entropy(flat, targets.flatten(), ignore_index=IGNORE)
