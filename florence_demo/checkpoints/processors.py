"""The processor of a checkpoint: its tokenizer and its picture settings, built from what is there.

Knows how the library's tokenizers and image processors are made. Does not know weights, nor the
files of a tokenizer (``vocabularies``). Nothing in a folder decides which class is made or what it
runs: for every layout the processor is built anew from a vocabulary and a few numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.checkpoints.config import FLAG, Rule, real, several, whole
from florence_demo.checkpoints.reading import read_json
from florence_demo.checkpoints.vocabularies import BART_TOKENS, Added, Vocabulary, find_vocabulary
from florence_demo.errors import CheckpointError, plain

if TYPE_CHECKING:
    from transformers import BartTokenizer, Florence2Processor, PreTrainedTokenizerFast

MIN_SIDE, MAX_SIDE = 16, 2048
"""Sides that a checkpoint may bring pictures to, in pixels; Florence-2's is 768."""
IMAGE_TOKEN = "<image>"
MASK_TOKEN = "<mask>"
MASK_ID = BART_TOKENS - 1
_BASE = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}

_COLOUR = several(real(-10.0, 10.0), 3, 3)
_PICTURE: dict[str, tuple[Rule, Any]] = {
    "do_resize": (FLAG, True),
    "resample": (whole(0, 3), 3),  # those of Pillow's filters that work on tensors
    "do_center_crop": (FLAG, False),
    "do_rescale": (FLAG, True),
    "rescale_factor": (real(1e-6, 1.0), 1 / 255),
    "do_normalize": (FLAG, True),
    "image_mean": (_COLOUR, [0.485, 0.456, 0.406]),
    "image_std": (several(real(1e-3, 10.0), 3, 3), [0.229, 0.224, 0.225]),
}
"""What an image processor may be told, and Florence-2's own settings."""
_SIZE = {"height": 768, "width": 768}

_ANSWER_KINDS = (
    *("pure_text", "ocr", "phrase_grounding", "description_with_bboxes", "bboxes"),
    *("description_with_polygons", "polygons", "description_with_bboxes_or_polygons"),
)


def load_processor(
    folder: Path,
    config: Mapping[str, Any],
    picture: Mapping[str, Any],
    others: Iterable[Path] = (),
) -> Florence2Processor:
    """Return the processor of a checkpoint, with its image token inside the embedding.

    Args:
        folder: The checkpoint.
        config: Its configuration, admitted; without "image_token_id" any free token serves.
        picture: Its ``picture_settings``.
        others: Folders to take a tokenizer from where this one has none.

    Raises:
        CheckpointError: If no tokenizer fits the weights, or the files are damaged.
    """
    from transformers import CLIPImageProcessor, Florence2Processor

    rows = config["text_config"]["vocab_size"]
    vocabulary = find_vocabulary(folder, rows, others)
    if len(vocabulary.ids) > rows:
        raise CheckpointError(
            f"The tokenizer has {len(vocabulary.ids):,} tokens, "
            f"the model only {rows:,}: they do not belong together."
        )
    processor = Florence2Processor(
        image_processor=CLIPImageProcessor(**picture),
        tokenizer=build_tokenizer(vocabulary, config),
        # Without these keys the native post-processing knows no task at all.
        post_processor_config={kind: {"TASK_NAME": kind} for kind in _ANSWER_KINDS},
    )
    expected = config.get("image_token_id", processor.image_token_id)
    if processor.image_token_id != expected:
        raise CheckpointError(
            f"config.json has the picture's token at {expected}, "
            f"the tokenizer at {processor.image_token_id}."
        )
    return processor


def build_tokenizer(
    vocabulary: Vocabulary, config: Mapping[str, Any]
) -> BartTokenizer | PreTrainedTokenizerFast:
    """Return a tokenizer whose ids are those of a vocabulary, and which has an image token.

    Args:
        vocabulary: Pieces, merges and added tokens.
        config: The configuration, admitted.

    Raises:
        CheckpointError: If a token would get another id than the files say.
    """
    from tokenizers import AddedToken

    vocabulary, image_token = _with_image_token(vocabulary, config.get("image_token_id"))
    ids = vocabulary.ids
    tokenizer = _bare_tokenizer(
        vocabulary,
        mask_token=MASK_TOKEN if MASK_TOKEN in ids else None,
        model_max_length=config["text_config"]["max_position_embeddings"],
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": image_token},
    )
    tokens = [
        AddedToken(
            name,
            special=token.special,
            normalized=False,
            lstrip=token.lstrip,
            rstrip=token.rstrip,
            single_word=token.single_word,
        )
        for name, token in sorted(vocabulary.added.items(), key=lambda item: item[1].id)
    ]
    tokenizer.add_tokens(tokens)
    named = {*_BASE.values(), MASK_TOKEN, image_token}
    special = [token for token in tokens if token.special and token.content not in named]
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


def _with_image_token(vocabulary: Vocabulary, wanted: int | None) -> tuple[Vocabulary, str]:
    """Return a vocabulary with a token for the picture, and that token.

    The native class replaces the embeddings of one token by the picture's. Where the vocabulary
    has no token for that, the ``<mask>`` that BART left behind serves: nothing ever asks for or
    answers with it, and the embedding, which is also the output head, keeps its rows. One row
    more would take its share of every probability.

    Args:
        vocabulary: As its files give it.
        wanted: Its id, where the configuration says one.

    Raises:
        CheckpointError: There is none.
    """
    ids = vocabulary.ids
    free = {name: ids[name] for name in (IMAGE_TOKEN, MASK_TOKEN) if name in ids}
    own = {name: t.id for name, t in vocabulary.added.items() if name not in _BASE.values()}
    for name, number in {**free, **own}.items():
        if number == wanted:
            return vocabulary, name
    if IMAGE_TOKEN not in ids and wanted == len(ids):
        added = {**vocabulary.added, IMAGE_TOKEN: Added(len(ids))}
        return replace(vocabulary, added=added), IMAGE_TOKEN
    if not free:
        raise CheckpointError(
            "The tokenizer has no <mask> or <image> token to stand for a picture."
        )
    return vocabulary, next(iter(free))


def _bare_tokenizer(
    vocabulary: Vocabulary, **settings: Any
) -> BartTokenizer | PreTrainedTokenizerFast:
    """Return a tokenizer that knows no added tokens as such yet.

    They are among its pieces, so that every token has its id before any is registered; no merge
    leads to them, so text is cut into pieces as ever.
    """
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import BPE
    from transformers import BartTokenizer, PreTrainedTokenizerFast

    ids, merges = vocabulary.ids, vocabulary.merges
    if not vocabulary.whole_words:
        return BartTokenizer(vocab=ids, merges=merges, **settings)
    # BART's class has no such switch, and would lose it when the folder is opened elsewhere.
    tokenizer = Tokenizer(BPE(vocab=ids, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end, begin = ((name, ids.get(name, 0)) for name in (_BASE["eos_token"], _BASE["bos_token"]))
    tokenizer.post_processor = processors.RobertaProcessing(
        end, begin, trim_offsets=False, add_prefix_space=False
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **_BASE, **settings)


def picture_tokens(vision: Mapping[str, Any], height: int, width: int) -> int:
    """Return how many tokens a picture of this size becomes: the last stage's grid and its mean."""
    sides = stage_sizes(vision, height, width)[-1]
    return sides[0] * sides[1] + 1


def stage_sizes(vision: Mapping[str, Any], height: int, width: int) -> list[tuple[int, int]]:
    """Return height and width of the feature maps of each stage of the vision tower."""
    sizes, grid = [], (height, width)
    names = ("patch_size", "patch_stride", "patch_padding")
    for kernel, stride, padding in zip(*(vision[name] for name in names), strict=True):
        rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in grid)
        grid = (rows, columns)
        sizes.append(grid)
    return sizes


def picture_settings(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a folder's settings of the image processor, Florence-2's own where it says none.

    Args:
        folder: The checkpoint.
        config: Its configuration, admitted.

    Raises:
        CheckpointError: If they are out of their bounds, or bring pictures to no size.
    """
    saved, file = _saved_picture(folder)
    settings: dict[str, Any] = {}
    for name, (rule, usual) in _PICTURE.items():
        value = saved.get(name)
        try:
            settings[name] = usual if value is None else rule(value)
        except ValueError as exc:
            raise CheckpointError(
                f"{file} cannot be used: {name} is {plain(value, 40)}; it takes {exc}."
            ) from exc
    settings["size"] = _size(saved.get("size"), file)
    settings["crop_size"] = _SIZE
    if settings["do_center_crop"]:
        settings["crop_size"] = _size(saved.get("crop_size"), file)
    elif not settings["do_resize"]:
        raise _no_size(file)
    settings["do_convert_rgb"] = True  # they say null, and then a picture with alpha fails
    height, width = seen_size(settings)
    count = picture_tokens(config["vision_config"], height, width)
    return {**settings, "image_seq_length": count}


def seen_size(picture: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width of what the model sees by some ``picture_settings``."""
    size = picture["crop_size" if picture["do_center_crop"] else "size"]
    return size["height"], size["width"]


def _saved_picture(folder: Path) -> tuple[Mapping[str, Any], str]:
    """Return what a folder says of pictures, and in which file."""
    native, old = "processor_config.json", "preprocessor_config.json"
    if (folder / native).is_file():
        inside = read_json(folder / native).get("image_processor")
        if isinstance(inside, dict):
            return inside, native
    return (read_json(folder / old) if (folder / old).is_file() else {}), old


def _size(value: Any, file: str) -> dict[str, int]:
    if value is None:
        return dict(_SIZE)
    if type(value) is int:
        value = {"height": value, "width": value}
    side = whole(MIN_SIDE, MAX_SIDE)
    try:
        return {name: side(value[name]) for name in ("height", "width")}
    except (KeyError, TypeError, ValueError) as exc:
        raise _no_size(file) from exc


def _no_size(file: str) -> CheckpointError:
    return CheckpointError(
        f"{file} must bring pictures to a height and width of {MIN_SIDE} to at most {MAX_SIDE} "
        "pixels."
    )
