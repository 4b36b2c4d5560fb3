"""From a picture's features and a question's tokens to the tokens of the answer.

Knows the shape of Florence-2: image features go before the prompt, one encoder pass, then one token
at a time. Does not know tasks, text or pixels. How tokens are chosen is ``search``'s business, how
their scores are computed ``forward``'s. The reference for both is transformers' ``generate``.
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

from florence_demo.decoding.crowd import Crowd
from florence_demo.decoding.forward import DecoderStep
from florence_demo.decoding.graphs import Beginning, Graphs
from florence_demo.decoding.group import Group, OnStep, Ticket
from florence_demo.decoding.linears import to_int8
from florence_demo.decoding.nearby import likelihoods
from florence_demo.decoding.rules import DecodeOptions, Generated, unsupported
from florence_demo.decoding.search import trim
from florence_demo.decoding.suited import suited_step
from florence_demo.decoding.turns import Turns
from florence_demo.encoding.encoder import Encoder
from florence_demo.errors import InputError

log = logging.getLogger(__name__)


class Decoder:
    """Answer prompts about encoded pictures with one loaded model.

    Args:
        model: The native model in eval mode.
        reference: Use ``generate`` instead of the decoder's own loop.
        release: Free the decoder's original weights once packed: the peak of memory stays below
            that of ``generate``, which then no longer works on this model object.
        plain: Leave weights unpacked, for tests.
        int8: Compute the vision tower and the text encoder in int8, on a processor. Exact stay the
            tower's last stage, for base a twelfth of its products and for nano nearly half of what
            int8 loses, and the decoder, which waits for memory and not for products.

    Raises:
        CheckpointError: There is no int8 here.
    """

    def __init__(
        self,
        model: Florence2ForConditionalGeneration,
        *,
        reference: bool = False,
        release: bool = True,
        plain: bool = False,
        int8: bool = False,
    ) -> None:
        self.model = model.eval()
        if int8:
            for part in (*model.model.vision_tower.blocks[:-1], model.model.language_model.encoder):
                to_int8(part)
        special = unsupported(model.generation_config)
        if special and not reference:
            log.info("decoding with generate, for the checkpoint's %s", ", ".join(special))
        self.reference = reference or bool(special)
        self._encoder = None if reference else Encoder(model)
        self.turns = Turns()
        self._step: DecoderStep | None = None
        self._graphs: Graphs | None = None
        self._crowd: Crowd | None = None
        if not self.reference:
            with torch.inference_mode():
                self._step = suited_step(model, plain=plain, release=release)
            if model.device.type == "cuda":
                self._graphs = Graphs(self._step)
            self._crowd = Crowd(self._group, self.turns)

    @property
    def captured_bytes(self) -> int:
        """Return what captured passes of tower and text encoder took of a GPU's memory."""
        return self._encoder.bytes if self._encoder else 0

    @torch.inference_mode()
    def encode_image(
        self, pixel_values: Tensor, *, before_block: Callable[[], None] | None = None
    ) -> Tensor:
        """Return image features (B, tokens, D) of pixels (B, 3, H, W): the vision tower's pass.

        Args:
            pixel_values: Normalised pixels.
            before_block: Called between the tower's blocks, or before and after where a GPU does
                them in one go; what it raises ends the pass.
        """
        pixels = pixel_values.to(self.model.device, self.model.dtype)
        if self._encoder is not None:
            return self._encoder.see(pixels, before_block)
        if before_block is not None:
            before_block()
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
        """Return the answer to each prompt; several threads are answered step by step together.

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
        with self.turns:
            hidden, mask = self.encode_text(features, prompts)
            if self._crowd is None:
                return self._generate(hidden, mask, options, on_step)
        return self._crowd.decode(Ticket(Beginning(hidden, mask, options), on_step))

    def _group(self, alone: bool) -> Group:
        """Return an empty group; one that is to be alone shares no memory."""
        assert self._step is not None
        return Group(self._step, None if alone else self._graphs)

    @torch.inference_mode()
    def encode_text(
        self, features: Tensor, prompts: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """Return the encoder's output (B, S, D) and its mask (B, S), prompts padded behind.

        Args:
            features: Image features (B, tokens, D).
            prompts: Token ids of each prompt.

        Raises:
            InputError: A prompt is longer than the model can read.
        """
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
        if self._encoder is not None:
            padded = any(len(prompt) < longest for prompt in prompts)
            return self._encoder.read(embeds, mask, padded=padded), mask
        encoder = self.model.model.language_model.encoder
        return encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state, mask

    def _generate(
        self, hidden: Tensor, mask: Tensor, options: DecodeOptions, on_step: OnStep | None
    ) -> list[Generated]:
        """Return the answers of transformers' own ``generate``, scored by teacher forcing."""
        values = asdict(options)
        seed = values.pop("seed")
        del values["locations"], values["loop_guard"]
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
        # Each of the L tokens as one of L x V, as beams are.
        own = sequences[:, 1:] + torch.arange(logits.shape[1]).to(sequences) * logits.shape[2]
        scores = likelihoods(logits.log_softmax(-1), own, options.locations)
        forced_first = options.forced_bos_token_id is not None
        at_limit = sequences.shape[1] == options.max_new_tokens + 1
        if forced_first:
            scores[:, 0] = 0.0
        if at_limit and options.forced_eos_token_id is not None:
            scores[:, -1] = 0.0
        willing = logits[:, -1].argmax(-1) == options.eos_token_id
        return [
            trim(row.tolist(), [0.0, *score.tolist()], bool(wanted), options)
            for row, score, wanted in zip(sequences, scores, willing, strict=True)
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
