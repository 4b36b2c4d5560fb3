"""The batch a model learns from: rows as tensors, what is no choice of the model out of the loss.

Padding is no answer, and a token that decoding forces is written whatever the model thinks of it:
neither is learned, and neither is in a loss that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from florence_demo.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
from florence_demo.data.example import Example

IGNORE = -100
"""The label that a loss leaves out. Padding is no answer: a model must not learn to write it."""


class Collator:
    """Turn rows into the tensors that a Florence-2 model is trained and measured on.

    The encoder sees the picture and the prompt, never the answer. The decoder reads the start token
    and the answer between ``<s>`` and ``</s>``; labels are the same one place earlier, padded with
    ``IGNORE``, which also stands where decoding forces the token.
    """

    def __init__(
        self,
        processor: Any,
        max_positions: int = 1024,
        *,
        start: int = 2,
        forced: int | None = None,
    ):
        """Prepare for one processor; ``collator_of`` does it for a model.

        Args:
            processor: A Florence2Processor, the one the model was trained with.
            max_positions: Positions of the model, for prompt and answer each.
            start: What the decoder reads first.
            forced: The first token of every answer, where decoding forces one.
        """
        self._start, self._forced = start, forced
        self.processor = processor
        self.max_positions = max_positions
        tokenizer = processor.tokenizer
        self._image_ids = [int(processor.image_token_id)] * int(processor.num_image_tokens)
        self._bos, self._eos = int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)
        self._pad = int(tokenizer.pad_token_id)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the encoder's input: image tokens, ``<s>``, the prompt, ``</s>``.

        Raises:
            InputError: The prompt contains the image token itself.
        """
        words = self._tokens(prompt)
        if self._image_ids[0] in words:
            raise InputError("The text contains the model's own image token: remove it.")
        return [*self._image_ids, self._bos, *words, self._eos]

    def answer_ids(self, answer: str) -> list[int]:
        """Return an answer as decoding writes it: ``<s>``, its tokens, ``</s>``."""
        first = self._bos if self._forced is None else self._forced
        return [first, *self._tokens(answer), self._eos]

    def _labels(self, ids: list[int]) -> list[int]:
        return ids if self._forced is None else [IGNORE, *ids[1:]]

    def _tokens(self, text: str) -> list[int]:
        # Asked here and not through the processor, which rewrites task words inside a question.
        return list(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def too_long(self, example: Example) -> str:
        """Return what does not fit into the model, with file and line, or ""."""
        letters = len(f"{example.text}{example.answer}".encode())
        if not len(example.detections) and letters + 100 < self.max_positions - len(
            self._image_ids
        ):
            # A token is a byte or more, so a short text fits: no picture need be opened for it.
            return ""
        size = example.size()
        for name, count in (
            ("prompt", len(self.prompt_ids(example.prompt(size)))),
            ("answer", len(self.answer_ids(example.target(size)))),
        ):
            if count > self.max_positions:
                return example.said(
                    f"the {name} has {count:,} tokens, the model takes {self.max_positions:,}."
                )
        return ""

    def __call__(self, examples: Sequence[Example], pixels: bool = True) -> dict[str, Tensor]:
        """Return what the model takes, each tensor with one row an example.

        That is pixel_values, input_ids, attention_mask, decoder_input_ids and labels.

        Args:
            examples: The rows.
            pixels: Whether to open the pictures; without, their size is read and no more.
        """
        import torch

        images = [e.load() for e in examples] if pixels else []
        sizes = [i.size for i in images] if pixels else [e.size() for e in examples]
        rows = list(zip(examples, sizes, strict=True))
        prompts = [self.prompt_ids(e.prompt(size)) for e, size in rows]
        answers = [self.answer_ids(e.target(size)) for e, size in rows]
        batch = {
            "input_ids": torch.tensor(_padded(prompts, self._pad)),
            "attention_mask": torch.tensor(_padded([[1] * len(p) for p in prompts], 0)),
            # Written out: the model's own shift would read a label that is left out as padding.
            "decoder_input_ids": torch.tensor(
                _padded([[self._start, *a[:-1]] for a in answers], self._pad)
            ),
            "labels": torch.tensor(_padded([self._labels(a) for a in answers], IGNORE)),
        }
        if pixels:
            batch["pixel_values"] = self.processor.image_processor(images, return_tensors="pt")[
                "pixel_values"
            ]
        return batch


def collator_of(model: Any, processor: Any) -> Collator:
    """Return the collator of a model, which leaves out of the loss what its decoding forces."""
    text, generation = model.config.text_config, model.generation_config
    start = generation.decoder_start_token_id
    return Collator(
        processor,
        int(text.max_position_embeddings),
        start=int(text.decoder_start_token_id if start is None else start),
        forced=generation.forced_bos_token_id,
    )


def _padded(rows: Sequence[Sequence[int]], fill: int) -> list[list[int]]:
    longest = max(len(row) for row in rows)
    return [[*row, *[fill] * (longest - len(row))] for row in rows]
