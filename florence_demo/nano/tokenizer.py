"""Words and pictures of the embedded model: its tokenizer and its processor.

Knows the vocabulary: every byte, the common words of the task's own sentences as one token each,
Florence-2's added tokens in their order. Anything else is spelled byte by byte, because a model
that reads text off a picture should name one letter after the other. Does not know the model.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import CLIPImageProcessor, Florence2Processor, PreTrainedTokenizerFast

from florence_demo.codec import BINS

SIDE = 256
"""Pixels a side of the square that every picture is squeezed into, as Florence-2 does."""
CELLS = 16
"""Cells a side of the tower's feature map."""
IMAGE_TOKENS = CELLS * CELLS + 1
POSITIONS = 1280
"""Longest question with its picture, and longest answer: over Florence-2's 1,024."""

# Florence-2's own order; "desciption" is theirs.
_BEFORE = ("<od>", "</od>", "<ocr>", "</ocr>")
_AFTER = (
    *("<cap>", "</cap>", "<ncap>", "</ncap>", "<dcap>", "</dcap>", "<grounding>", "</grounding>"),
    *("<seg>", "</seg>", "<sep>", "<region_cap>", "</region_cap>"),
    *("<region_to_desciption>", "</region_to_desciption>", "<proposal>", "</proposal>"),
    *("<poly>", "</poly>", "<and>"),
)
FLORENCE_TOKENS = (*_BEFORE, *(f"<loc_{i}>" for i in range(BINS)), *_AFTER)
_BASE = ("<s>", "<pad>", "</s>", "<unk>")

_WORD = re.compile(r"Ġ?[a-z]+")
_CAPITAL = re.compile(r"Ġ?[A-Z][a-z]*")
# What transformers looks up: one entry an answer kind, patterns where it reads one.
_OCR = r"(.+?)" + r"<loc_(\d+)>" * 8
POST_PROCESSOR: dict[str, Any] = {
    "ocr": {"PATTERN": _OCR, "AREA_THRESHOLD": 0.0},
    "phrase_grounding": {"banned_grounding_tokens": []},
    "pure_text": {},
    "description_with_bboxes": {},
    "description_with_polygons": {},
    "polygons": {},
    "bboxes": {},
    "description_with_bboxes_or_polygons": {},
}


def common_words(sentences: Iterable[str], least: int = 3, most: int = 700) -> list[str]:
    """Return the words that sentences use at least so often, in byte-level form, commonest first.

    A word counts apart with and without the space before it. Capital letters are left to the
    beginnings of sentences: elsewhere they are names and text that was read, which is spelled.
    """
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    counts: Counter[str] = Counter()
    for sentence, times in Counter(sentences).items():
        before = "."
        for piece, _ in cut.pre_tokenize_str(sentence):
            if _WORD.fullmatch(piece) or (before == "." and _CAPITAL.fullmatch(piece)):
                counts[piece] += times
            before = piece
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, count in ranked if count >= least and len(word) > 1][:most]


def build_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows these words whole and spells everything else.

    Args:
        words: Words in byte-level form, "Ġdog" with the space before it and "dog" without.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = {*_BASE, *alphabet}
    pieces = [*_BASE, *alphabet, *(w for w in dict.fromkeys(words) if w not in known)]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    # No merges, and words looked up before merging: so a word is one token or its letters,
    # never a fragment that would make the spelling of unseen words irregular.
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[], unk_token="<unk>", ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=False, trim_offsets=False
    )
    special = [AddedToken(t, special=True, normalized=False) for t in _BASE]
    tokenizer.add_special_tokens(special)
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in ("<image>", *FLORENCE_TOKENS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS - IMAGE_TOKENS,
        padding_side="right",
    )


_TOKENS = re.compile(r"(<loc_(?:0|[1-9]\d{0,2})>|</?s>|</?poly>|<sep>)|(?<=\S)(?= \S)")


def numbers(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the token numbers of a text in which Florence's tokens are written out.

    The tokenizer gives the same; it looks for each of a thousand tokens, and again for words that
    were said before. No token crosses the beginning of a word or of one of Florence's own.
    """
    found: list[int] = []
    for part in _TOKENS.split(text):
        if part:
            found += _part(tokenizer, part)
    return found


@functools.lru_cache(maxsize=10_000)
def _part(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)


def build_processor(words: Iterable[str]) -> Florence2Processor:
    """Return a processor for this model that transformers' own AutoProcessor opens again."""
    images = CLIPImageProcessor(
        do_resize=True,
        size={"height": SIDE, "width": SIDE},
        resample=3,
        do_center_crop=False,
        do_convert_rgb=True,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    images.image_seq_length = IMAGE_TOKENS
    return Florence2Processor(
        image_processor=images,
        tokenizer=build_tokenizer(words),
        post_processor_config=POST_PROCESSOR,
    )


def load_processor(folder: Path) -> Florence2Processor:
    """Return the processor saved in a folder."""
    processor: Florence2Processor = Florence2Processor.from_pretrained(folder)
    return processor
