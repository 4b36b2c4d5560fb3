"""The processor of a checkpoint: its tokenizer and its picture settings, built from what is there.

Knows the files that tokenizers and image processors are saved in, and Florence-2's own tokens.
Does not know weights. A native folder's processor is loaded as it is; for a 2024 folder it is
built anew from the vocabulary, so nothing in the folder decides which class is made.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.checkpoint_json import MAX_JSON, brief, read_json
from florence_demo.checkpoint_names import FLORENCE_TOKENS
from florence_demo.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import BartTokenizer, Florence2Processor

BART_TOKENS = 50_265
MAX_SIDE = 2048
"""Longest side that a checkpoint may bring pictures to, in pixels; Florence-2's is 768."""
IMAGE_TOKEN = "<image>"
MASK_TOKEN = "<mask>"
MASK_ID = BART_TOKENS - 1

_PICTURE = {
    "do_resize": True,
    "size": {"height": 768, "width": 768},
    "resample": 3,
    "do_center_crop": False,
    "crop_size": {"height": 768, "width": 768},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_convert_rgb": True,
}
"""Florence-2's picture settings, for a folder that does not say its own."""

_ANSWER_KINDS = (
    *("pure_text", "ocr", "phrase_grounding", "description_with_bboxes", "bboxes"),
    *("description_with_polygons", "polygons", "description_with_bboxes_or_polygons"),
)


class NoTokenizerError(CheckpointError):
    """Say that a checkpoint is whole but for its tokenizer."""


@dataclass(frozen=True)
class Vocabulary:
    """Hold a byte-level BPE vocabulary as its files give it.

    Attributes:
        pieces: Piece to id.
        merges: Pairs of pieces, in the order in which they merge.
        added: The tokens beyond the pieces, content to its settings with "id".
    """

    pieces: dict[str, int]
    merges: list[tuple[str, str]]
    added: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def ids(self) -> dict[str, int]:
        """Every token with its id."""
        return {**self.pieces, **{name: int(token["id"]) for name, token in self.added.items()}}

    def completed(self) -> Vocabulary:
        """Return it with Florence's own tokens appended where it holds BART's alone."""
        if len(self.pieces) != BART_TOKENS or self.added:
            return self
        added = {name: {"id": BART_TOKENS + i} for i, name in enumerate(FLORENCE_TOKENS)}
        return Vocabulary(self.pieces, self.merges, added)


def load_processor(
    folder: Path, config: Mapping[str, Any], native: bool, others: Iterable[Path] = ()
) -> Florence2Processor:
    """Return the processor of a checkpoint, with its image token inside the embedding.

    Args:
        folder: The checkpoint.
        config: Its configuration in native words; without "image_token_id" any free token serves.
        native: Whether the folder has a native processor of its own, to be loaded as it is.
        others: Folders to take a tokenizer from where this one has none.

    Raises:
        CheckpointError: If no tokenizer fits the weights, or the files are damaged.
    """
    rows = int(config["text_config"]["vocab_size"])
    whole = all((folder / name).is_file() for name in ("tokenizer.json", "processor_config.json"))
    if native and whole:
        processor = _native_processor(folder)
    else:
        vocabulary = find_vocabulary(folder, rows, others)
        tokenizer = build_tokenizer(vocabulary, config)
        processor = _assembled(tokenizer, picture_settings(folder, config))
    _check_picture(processor, config)
    expected = config.get("image_token_id", processor.image_token_id)
    if processor.image_token_id != expected:
        raise CheckpointError(
            f"config.json has the picture's token at {expected}, "
            f"the tokenizer at {processor.image_token_id}."
        )
    if len(processor.tokenizer) > rows:
        raise CheckpointError(
            f"The tokenizer has {len(processor.tokenizer):,} tokens, "
            f"the model only {rows:,}: they do not belong together."
        )
    return processor


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
        CheckpointError: If its files are damaged.
    """
    try:
        if (folder / "tokenizer.json").is_file():
            return _from_tokenizer_json(read_json(folder / "tokenizer.json"))
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return _from_vocab_files(folder)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise CheckpointError(f"The tokenizer files in {folder.name} are damaged.") from exc
    return None


def build_tokenizer(vocabulary: Vocabulary, config: Mapping[str, Any]) -> BartTokenizer:
    """Return a tokenizer whose ids are those of a vocabulary, and which has an image token.

    The native class replaces the embeddings of one token by the picture's. Where the vocabulary
    has no token for that, the ``<mask>`` that BART left behind serves: nothing ever asks for or
    answers with it, and the embedding, which is also the output head, keeps its rows. One row
    more would take its share of every probability.

    Raises:
        CheckpointError: If a token would get another id than the files say.
    """
    from tokenizers import AddedToken
    from transformers import BartTokenizer

    ids, text = vocabulary.ids, config["text_config"]
    image_token = IMAGE_TOKEN
    if IMAGE_TOKEN not in ids:
        if config.get("image_token_id") == len(ids):
            vocabulary.added[IMAGE_TOKEN] = {"id": len(ids)}
            ids = vocabulary.ids
        else:
            image_token = MASK_TOKEN
    if image_token not in ids:
        raise CheckpointError(
            "The tokenizer has no <mask> or <image> token to stand for a picture."
        )
    tokenizer = BartTokenizer(
        # With the added tokens among the pieces every token has its id before any is registered;
        # no merge leads to them, so text is cut into pieces as ever.
        vocab=dict(ids),
        merges=vocabulary.merges,
        mask_token=MASK_TOKEN if MASK_TOKEN in ids else None,
        model_max_length=int(text.get("max_position_embeddings") or 1024),
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": image_token},
    )
    keys = ("lstrip", "rstrip", "single_word")
    tokens = [
        AddedToken(
            name,
            special=bool(token.get("special", True)),
            normalized=False,
            **{key: bool(token.get(key, False)) for key in keys},
        )
        for name, token in sorted(vocabulary.added.items(), key=lambda item: int(item[1]["id"]))
    ]
    tokenizer.add_tokens(tokens)
    special = [token for token in tokens if token.special and token.content != image_token]
    tokenizer.add_special_tokens(
        {"extra_special_tokens": special}, replace_extra_special_tokens=False
    )
    got = tokenizer.get_vocab()
    wrong = [name for name, number in ids.items() if got.get(name) != number]
    if wrong or len(got) != len(ids):
        raise CheckpointError(
            f"The tokenizer files contradict themselves about {len(wrong) or len(got)} tokens."
        )
    return tokenizer


def picture_tokens(vision: Mapping[str, Any], height: int, width: int) -> int:
    """Return how many tokens a picture of this size becomes: the last stage's grid and its mean."""
    grid = [height, width]
    names = ("patch_size", "patch_stride", "patch_padding")
    for kernel, stride, padding in zip(*(vision[name] for name in names), strict=True):
        grid = [(side + 2 * padding - kernel) // stride + 1 for side in grid]
    return grid[0] * grid[1] + 1


def _check_picture(processor: Florence2Processor, config: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a picture would take more room or tokens than it says."""
    from transformers import Florence2VisionConfig

    picture = processor.image_processor
    steps = ((picture.do_resize, picture.size), (picture.do_center_crop, picture.crop_size))
    sizes = [
        [int(dict(size or {}).get(side) or 0) for side in ("height", "width")]
        for taken, size in steps
        if taken
    ]
    if not sizes or not all(0 < side <= MAX_SIDE for size in sizes for side in size):
        raise CheckpointError(
            "preprocessor_config.json must bring pictures to a height and a width of at most"
            f" {MAX_SIDE} pixels."
        )
    # A native configuration may leave out what is usual.
    vision = {**Florence2VisionConfig().to_dict(), **config["vision_config"]}
    count = picture_tokens(vision, *sizes[-1])
    if processor.num_image_tokens != count:
        raise CheckpointError(
            f"The processor counts {processor.num_image_tokens} tokens for a picture, the model"
            f" makes {count} of it."
        )


def _native_processor(folder: Path) -> Florence2Processor:
    from transformers import Florence2Processor

    try:
        with _without_code(folder) as plain:
            processor = Florence2Processor.from_pretrained(plain, local_files_only=True)
    except Exception as exc:  # whatever a damaged file makes the loaders raise
        raise CheckpointError(
            f"The processor files in {folder.name} cannot be read ({brief(exc)})."
        ) from exc
    if not isinstance(processor, Florence2Processor):
        raise CheckpointError(f"The processor in {folder.name} is not a Florence-2's.")
    return processor


@contextlib.contextmanager
def _without_code(folder: Path) -> Iterator[Path]:
    """Lend the folder, or a copy of its processor's files that names no code of its own.

    transformers asks on the terminal whether to run what an ``auto_map`` names; nobody is there.
    """
    files = [*folder.glob("*token*.json"), *folder.glob("*processor*.json")]
    if not any("auto_map" in read_json(f) for f in files if f.stem.endswith("_config")):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="florence-processor-") as copy:
        for file in (*files, *folder.glob("vocab.json"), *folder.glob("merges.txt")):
            if file.stem.endswith("_config"):
                values = {k: v for k, v in read_json(file).items() if k != "auto_map"}
                Path(copy, file.name).write_text(json.dumps(values), encoding="utf-8")
            else:
                shutil.copyfile(file, Path(copy, file.name))
        yield Path(copy)


def _assembled(tokenizer: BartTokenizer, picture: dict[str, Any]) -> Florence2Processor:
    from transformers import CLIPImageProcessor, Florence2Processor

    return Florence2Processor(
        image_processor=CLIPImageProcessor(**picture),
        tokenizer=tokenizer,
        # Without these keys the native post-processing knows no task at all.
        post_processor_config={kind: {"TASK_NAME": kind} for kind in _ANSWER_KINDS},
    )


def picture_settings(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a folder's settings of the image processor, Florence-2's own where it says none.

    Raises:
        CheckpointError: If they cannot be read.
    """
    saved: dict[str, Any] = {}
    if (folder / "preprocessor_config.json").is_file():
        saved = read_json(folder / "preprocessor_config.json")
    settings = {key: saved.get(key, default) for key, default in _PICTURE.items()}
    if isinstance(settings["size"], int):
        settings["size"] = {"height": settings["size"], "width": settings["size"]}
    settings["do_convert_rgb"] = True  # they say null, and then a picture with alpha fails
    try:
        size = (int(settings["size"]["height"]), int(settings["size"]["width"]))
        count = picture_tokens(config["vision_config"], *size)
    except (KeyError, TypeError, ValueError) as exc:
        raise CheckpointError(
            f"The picture settings of {folder.name} cannot be read: "
            "preprocessor_config.json needs a size with height and width."
        ) from exc
    return {**settings, "image_seq_length": count}


def _from_tokenizer_json(tokenizer: Mapping[str, Any]) -> Vocabulary:
    model = tokenizer["model"]
    if model.get("type", "BPE") != "BPE":  # the hub's tokenizer.json does not say
        raise CheckpointError(f"Florence-2 has a BPE tokenizer, not {model.get('type')}.")
    pieces = {str(k): int(v) for k, v in model["vocab"].items()}
    merges = [_pair(merge) for merge in model["merges"]]
    added = {t["content"]: t for t in tokenizer.get("added_tokens") or ()}
    return Vocabulary(pieces, merges, {k: v for k, v in added.items() if k not in pieces})


def _from_vocab_files(folder: Path) -> Vocabulary:
    pieces = {str(k): int(v) for k, v in read_json(folder / "vocab.json").items()}
    file = folder / "merges.txt"
    if file.stat().st_size > MAX_JSON:
        raise ValueError("merges.txt is too large")
    lines = file.read_text(encoding="utf-8").split("\n")
    merges = [_pair(line) for line in lines if line.strip() and not line.startswith("#version")]
    added = {}
    if (folder / "added_tokens.json").is_file():
        added = {k: {"id": int(v)} for k, v in read_json(folder / "added_tokens.json").items()}
    return Vocabulary(pieces, merges, {k: v for k, v in added.items() if k not in pieces})


def _pair(merge: str | list[str]) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second
