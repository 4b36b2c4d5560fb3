"""The vocabulary in a stranger's tokenizer files: pieces, merges, added tokens, nothing else.

Florence-2's tokenizer is BART's: byte-level BPE. So these three are all that a file can say; how
text is cut before and joined after is known, and a file that asks for another way is refused rather
than read otherwise than it was meant. Knows the files' forms. Builds no tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from florence_demo.checkpoints.names import FLORENCE_TOKENS
from florence_demo.checkpoints.reading import MAX_MERGES, MERGES, read_json
from florence_demo.errors import CheckpointError, plain

BART_TOKENS = 50_265
MAX_PIECE = 256
"""Characters of a piece; the longest of BART's has 128."""
MAX_ADDED = 5_000
"""Tokens beside the pieces; Florence-2 adds 1,024."""
MAX_ADDED_LENGTH = 100

_PLAIN_MODEL = {
    "type": (None, "BPE"),  # the hub's tokenizer.json does not say
    "dropout": (None, 0.0, 0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
}
_PLAIN_CUT = {
    "type": ("ByteLevel",),
    "add_prefix_space": (None, False),
    "use_regex": (None, True),
}


class NoTokenizerError(CheckpointError):
    """Say that a checkpoint is whole but for its tokenizer."""


@dataclass(frozen=True)
class Added:
    """Hold a token that is found in a text before the text is cut into pieces.

    Attributes:
        id: Its row in the embedding.
        special: Whether it is left out of a text for people.
        lstrip: Whether it takes the spaces before it.
        rstrip: Whether it takes the spaces behind it.
        single_word: Whether it must stand alone.
    """

    id: int
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """Hold a byte-level BPE vocabulary as its files give it.

    Attributes:
        pieces: Piece to id.
        merges: Pairs of pieces, in the order in which they merge.
        added: The tokens found before a text is cut; some may be pieces as well.
        whole_words: Whether a word that is a piece is taken whole, without merges.
    """

    pieces: dict[str, int]
    merges: list[tuple[str, str]]
    added: dict[str, Added] = field(default_factory=dict)
    whole_words: bool = False

    @property
    def ids(self) -> dict[str, int]:
        """Every token with its id."""
        return {**self.pieces, **{name: token.id for name, token in self.added.items()}}

    def completed(self) -> Vocabulary:
        """Return it with Florence's own tokens appended where it holds BART's alone."""
        if len(self.ids) != BART_TOKENS or FLORENCE_TOKENS[0] in self.ids:
            return self
        own = {name: Added(BART_TOKENS + i) for i, name in enumerate(FLORENCE_TOKENS)}
        return replace(self, added={**self.added, **own})


def find_vocabulary(folder: Path, rows: int, others: Iterable[Path] = ()) -> Vocabulary:
    """Return the vocabulary of a folder, or of the first other folder that fits its weights.

    Args:
        folder: The checkpoint.
        rows: Rows of its token embedding.
        others: Folders to look into where this one has no tokenizer.

    Raises:
        NoTokenizerError: If there is none.
        CheckpointError: If its own is damaged.
    """
    own = read_vocabulary(folder)
    if own is not None:
        return own.completed()
    for other in others:
        try:
            vocabulary = read_vocabulary(other)
        except CheckpointError:
            continue  # a damaged neighbour is no reason to refuse this one
        if vocabulary is not None and rows - len(vocabulary.completed().ids) in (0, 1):
            return vocabulary.completed()
    raise NoTokenizerError(
        f"{folder.name} has no tokenizer, and no checkpoint here has one of {rows:,} tokens. "
        "Add the file tokenizer.json of the model it was fine-tuned from."
    )


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """Return the vocabulary in a folder, None where there is none.

    Raises:
        CheckpointError: If its files are damaged, or ask for what BART's tokenizer is not.
    """
    try:
        if (folder / "tokenizer.json").is_file():
            vocabulary = _from_tokenizer_json(read_json(folder / "tokenizer.json"))
        elif (folder / "vocab.json").is_file() and (folder / MERGES).is_file():
            vocabulary = _from_vocab_files(folder)
        else:
            return None
        _check(vocabulary)
    except OSError as exc:
        raise CheckpointError(f"The tokenizer files in {folder.name} cannot be read.") from exc
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        said = f" ({plain(exc, 120)})" if type(exc) is ValueError else ""
        raise CheckpointError(f"The tokenizer files in {folder.name} are damaged{said}.") from exc
    return vocabulary


def _from_tokenizer_json(tokenizer: Mapping[str, Any]) -> Vocabulary:
    model = tokenizer["model"]
    _check_plain("model", model, _PLAIN_MODEL)
    if tokenizer.get("normalizer") is not None:
        raise _another("normalizer", tokenizer["normalizer"])
    if tokenizer.get("pre_tokenizer") is not None:
        _check_plain("pre_tokenizer", tokenizer["pre_tokenizer"], _PLAIN_CUT)
    added = tokenizer.get("added_tokens") or ()
    return Vocabulary(
        model["vocab"],
        [_pair(merge) for merge in model["merges"]],
        {token["content"]: _added(token) for token in added},
        whole_words=model.get("ignore_merges") is True,
    )


def _from_vocab_files(folder: Path) -> Vocabulary:
    with (folder / MERGES).open("rb") as file:
        text = file.read(MAX_MERGES + 1)
    if len(text) > MAX_MERGES:
        raise ValueError(f"{MERGES} is larger than {MAX_MERGES >> 20} MB")
    lines = text.decode("utf-8").split("\n")
    merges = [_pair(line) for line in lines if line.strip() and not line.startswith("#version")]
    added = {}
    if (folder / "added_tokens.json").is_file():
        added = {k: Added(v) for k, v in read_json(folder / "added_tokens.json").items()}
    return Vocabulary(read_json(folder / "vocab.json"), merges, added)


def _added(token: Mapping[str, Any]) -> Added:
    flags = {"special": True, "lstrip": False, "rstrip": False, "single_word": False}
    return Added(
        token["id"], **{name: token.get(name, flag) is True for name, flag in flags.items()}
    )


def _pair(merge: str | list[str]) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _check_plain(part: str, values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name, usual in known.items():
        if values.get(name) not in usual:
            raise _another(f"{part}.{name}", values.get(name))


def _another(name: str, value: Any) -> CheckpointError:
    kind = value.get("type") if isinstance(value, Mapping) else value
    return CheckpointError(
        f"tokenizer.json asks for another way to cut text ({name}: {plain(kind, 40)}) than "
        "Florence-2's byte-level BPE. Bring the tokenizer of the model it was fine-tuned from."
    )


def _check(vocabulary: Vocabulary) -> None:
    """Raise ValueError where pieces, merges and added tokens are no vocabulary."""
    pieces, added = vocabulary.pieces, vocabulary.added
    if len(added) > MAX_ADDED:
        raise ValueError(f"it adds {len(added):,} tokens, more than {MAX_ADDED:,}")
    for names, most in ((pieces, MAX_PIECE), (added, MAX_ADDED_LENGTH)):
        odd = next((name for name in names if not 0 < len(name) <= most), None)
        if odd is not None:
            raise ValueError(f"the token {plain(odd, 20)!r} has {len(odd):,} characters")
    ids = vocabulary.ids
    if any(type(number) is not int for number in ids.values()):
        raise ValueError("an id is no whole number")
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"{len(ids):,} tokens do not have the ids 0 to {len(ids) - 1:,}")
    moved = next((name for name in added if pieces.get(name, added[name].id) != added[name].id), "")
    if moved:
        raise ValueError(f"the token {plain(moved, 20)!r} has two ids")
    if len(vocabulary.merges) > len(pieces):
        raise ValueError(f"{len(vocabulary.merges):,} merges make {len(pieces):,} pieces")
    for first, second in vocabulary.merges:
        if first not in pieces or second not in pieces or first + second not in pieces:
            raise ValueError(f"{plain(first, 20)!r} and {plain(second, 20)!r} merge into no piece")
