"""What a search over tokens is asked for, and what it returns.

Knows the rules of generation as transformers names them: beams, bans, forced tokens, lengths. Does
not know a model, a picture or text.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

# What changes an answer in transformers and is not written out here, with its neutral values: a
# checkpoint that asks for one of these is decoded by ``generate`` itself.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None, []),
    "sequence_bias": (None, {}),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "exponential_decay_length_penalty": (None,),
    "renormalize_logits": (None, False),
    "remove_invalid_values": (None, False),
    "guidance_scale": (None, 1, 1.0),
    "num_return_sequences": (None, 1),
    "typical_p": (None, 1.0),
    "min_p": (None,),
    "epsilon_cutoff": (None, 0.0),
    "eta_cutoff": (None, 0.0),
}


@dataclass(frozen=True)
class DecodeOptions:
    """Hold how an answer is searched, under the names transformers uses.

    Attributes:
        max_new_tokens: Longest answer in tokens, the start token not counted.
        num_beams: Hypotheses kept in parallel; 1 is greedy.
        do_sample: Draw tokens instead of taking the likeliest.
        temperature: Divides the scores before drawing.
        top_k: Draw among so many tokens; 0 is all.
        top_p: Draw among the likeliest tokens that hold this much probability.
        seed: Makes drawing repeatable; None draws anew each time.
        no_repeat_ngram_size: No n tokens in a row occur twice; 0 allows it.
        early_stopping: True stops at ``num_beams`` finished answers, False when the running beams
            will hardly get better, "never" when they cannot.
        length_penalty: Exponent of the length that divides a finished answer's score.
        decoder_start_token_id: What the decoder reads first.
        forced_bos_token_id: The first token of every answer, or None.
        forced_eos_token_id: The token at the length limit, or None.
        eos_token_id: Ends an answer.
        pad_token_id: Fills the rows of a batch that have ended.
        locations: Ids of the location tokens in order, whose likelihoods are told with those of
            their neighbours; None tells each token by itself.
        loop_guard: End an answer that only repeats itself, and keep its first round.
    """

    max_new_tokens: int = 1024
    num_beams: int = 3
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    seed: int | None = None
    no_repeat_ngram_size: int = 3
    early_stopping: bool | str = True
    length_penalty: float = 1.0
    decoder_start_token_id: int = 2
    forced_bos_token_id: int | None = 0
    forced_eos_token_id: int | None = 2
    eos_token_id: int = 2
    pad_token_id: int = 1
    locations: range | None = None
    loop_guard: bool = True

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.num_beams < 1:
            raise ValueError(
                "max_new_tokens and num_beams must be at least 1, got "
                f"{self.max_new_tokens} and {self.num_beams}"
            )
        if self.early_stopping not in (True, False, "never"):
            raise ValueError(
                f'early_stopping must be True, False or "never", got {self.early_stopping!r}'
            )

    @classmethod
    def from_generation_config(cls, config: Any, **overrides: Any) -> DecodeOptions:
        """Return what a generation config asks for, with some values replaced.

        Args:
            config: A transformers ``GenerationConfig``. What it leaves out is as ``generate``
                has it (no ban, no forced token, ``early_stopping=False``), except the length,
                which is ours.
            overrides: Fields of this class; None leaves the config's value.
        """
        defaults: dict[str, Any] = {
            "num_beams": 1,
            "no_repeat_ngram_size": 0,
            "early_stopping": False,
            "forced_bos_token_id": None,
            "forced_eos_token_id": None,
        }
        values = dict(defaults)
        for field in fields(cls):
            value = getattr(config, field.name, None)
            if value is not None:
                values[field.name] = _one_id(value) if field.name.endswith("_id") else value
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)

    def limited(self, positions: int) -> DecodeOptions:
        """Return these options with no more tokens than a decoder has positions for."""
        return replace(self, max_new_tokens=min(self.max_new_tokens, positions))


def _one_id(value: Any) -> int:
    """Return a token id that a config may hold as a list of one."""
    if isinstance(value, list):
        if len(value) != 1:
            raise ValueError(f"expected one token id, got {value}")
        value = value[0]
    return int(value)


def unsupported(config: Any) -> list[str]:
    """Name what a generation config asks for and only ``generate`` itself can do."""
    return [name for name, ok in NEUTRAL.items() if getattr(config, name, None) not in ok]


@dataclass(frozen=True, eq=False)
class Generated:
    """Hold one answer in tokens.

    Attributes:
        ids: Token ids as ``generate`` returns them: the start token, the answer, its end; the
            padding behind is cut off.
        logprobs: For each id the natural log of the probability that the model itself gave it,
            before bans and temperature; of a location, to it or one beside it; 0.0 for the start
            and for forced tokens.
        truncated: Whether the length limit or a caller ended the answer before the model did.
        looped: Whether it only repeated itself and was ended for that.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    truncated: bool
    looped: bool = False
