"""From a picture's features and a question's tokens to the tokens of the answer.

Knows the shape of Florence-2: image features go before the prompt, one encoder pass, then one token
at a time. Does not know tasks, text or pixels. The reference is transformers' own ``generate``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from transformers import Florence2ForConditionalGeneration, GenerationConfig
from transformers.generation import StoppingCriteria, StoppingCriteriaList
from transformers.modeling_outputs import BaseModelOutput

from florence_demo.beam_search import DecodeOptions, Generated, unsupported
from florence_demo.errors import InputError

__all__ = ["DecodeOptions", "Decoder", "Generated"]

log = logging.getLogger(__name__)

OnStep = Callable[[int, list[list[int]]], bool]
"""Called after each token with its number and the leading beam's ids of every row; False stops."""


class Decoder:
    """Answer prompts about encoded pictures with one loaded model.

    Args:
        model: The native model in eval mode.
        reference: Use ``generate`` instead of the decoder's own loop.
    """

    def __init__(
        self, model: Florence2ForConditionalGeneration, *, reference: bool = False
    ) -> None:
        self.model = model.eval()
        special = unsupported(model.generation_config)
        if special and not reference:
            log.info("decoding with generate, for the checkpoint's %s", ", ".join(special))
        self.reference = reference or bool(special)

    @torch.inference_mode()
    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """Return image features (B, tokens, D) of pixels (B, 3, H, W): the vision tower's pass."""
        pixels = pixel_values.to(self.model.device, self.model.dtype)
        features: Tensor = self.model.get_image_features(pixel_values=pixels).pooler_output
        return features

    @torch.inference_mode()
    def decode(
        self,
        features: Tensor,
        prompts: Sequence[Sequence[int]],
        options: DecodeOptions,
        *,
        on_step: OnStep | None = None,
    ) -> list[Generated]:
        """Return the answer to each prompt.

        Args:
            features: Image features (B, tokens, D); row i is the picture of prompt i.
            prompts: Token ids of each prompt with its <s> and </s>, without image tokens.
            options: How to search.
            on_step: Told about each step; may stop the work.

        Raises:
            InputError: A prompt is longer than the model can read.
        """
        if len(features) != len(prompts):
            raise ValueError(f"expected {len(prompts)} rows of features, got {len(features)}")
        options = options.limited(int(self.model.config.text_config.max_position_embeddings))
        hidden, mask = self._encode(features, prompts)
        return self._generate(hidden, mask, options, on_step)

    def _encode(self, features: Tensor, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return the encoder's output (B, S, D) and its mask (B, S), prompts padded behind."""
        room = self.model.config.text_config.max_position_embeddings - features.shape[1]
        longest = max(len(prompt) for prompt in prompts)
        if longest > room:
            raise InputError(
                f"The question is too long for this model: {longest} tokens, at most {room}. "
                "Shorten it."
            )
        device = self.model.device
        pad = int(self.model.config.text_config.pad_token_id or 0)
        ids = torch.full((len(prompts), longest), pad, dtype=torch.long)
        mask = torch.zeros(len(prompts), longest + features.shape[1], dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt)
            mask[row, : features.shape[1] + len(prompt)] = 1
        mask = mask.to(device)
        words = self.model.get_input_embeddings()(ids.to(device))
        embeds = torch.cat([features.to(device, words.dtype), words], dim=1)
        encoder = self.model.model.language_model.encoder
        return encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state, mask

    def _generate(
        self, hidden: Tensor, mask: Tensor, options: DecodeOptions, on_step: OnStep | None
    ) -> list[Generated]:
        """Return the answers of transformers' own ``generate``, scored by teacher forcing."""
        values = asdict(options)
        seed = values.pop("seed")
        config = GenerationConfig.from_dict({**self.model.generation_config.to_dict(), **values})
        config.max_length = None
        stop = _Stop(options, on_step)
        with torch.random.fork_rng(enabled=options.do_sample and seed is not None):
            if options.do_sample and seed is not None:
                torch.manual_seed(seed)
            sequences: Tensor = self.model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                attention_mask=mask,
                generation_config=config,
                stopping_criteria=StoppingCriteriaList([stop] if on_step else []),
            )
        logits = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=mask,
            decoder_input_ids=sequences[:, :-1],
        ).logits.float()
        scores = logits.log_softmax(-1).gather(-1, sequences[:, 1:, None])[..., 0]
        ended = logits.argmax(-1) == options.eos_token_id
        return [
            _finish(row.tolist(), [0.0, *score.tolist()], end.tolist(), options)
            for row, score, end in zip(sequences, scores, ended, strict=True)
        ]


class _Stop(StoppingCriteria):
    """Tell a caller about each step of ``generate``, and stop when it says so."""

    def __init__(self, options: DecodeOptions, on_step: OnStep | None) -> None:
        self.stride = 2 * options.num_beams if options.num_beams > 1 else 1
        self.on_step = on_step
        self.step = 0

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.step += 1
        leading = input_ids[:: self.stride].tolist()
        stopped = self.on_step is not None and self.on_step(self.step, leading) is False
        return torch.full((len(input_ids),), stopped, device=input_ids.device)


def _finish(
    ids: list[int], logprobs: list[float], ended: list[bool], options: DecodeOptions
) -> Generated:
    """Cut the padding off one row and tell forced tokens from chosen ones.

    Args:
        ids: The row, start token first.
        logprobs: One value an id.
        ended: For each id but the first whether the model itself wanted to end there.
        options: The rules it was searched by.
    """
    limit = options.max_new_tokens + 1
    end = next((i for i, token in enumerate(ids) if i and token == options.eos_token_id), None)
    while end is None and len(ids) > 1 and ids[-1] == options.pad_token_id:
        ids = ids[:-1]
    ids = ids if end is None else ids[: end + 1]
    scores = logprobs[: len(ids)]
    truncated = end is None
    if options.forced_bos_token_id is not None and len(ids) > 1:
        scores[1] = 0.0
    if options.forced_eos_token_id is not None and len(ids) == limit:
        scores[-1] = 0.0
        truncated = not ended[limit - 2]
    return Generated(tuple(ids), tuple(scores), truncated)
