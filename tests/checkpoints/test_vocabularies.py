"""Tokenizers are built anew: the same tokens come out, and nothing of a stranger's runs."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from florence_demo.checkpoints.vocabularies import MAX_ADDED, MAX_ADDED_LENGTH, MAX_PIECE
from florence_demo.errors import CheckpointError
from florence_demo.models.catalogue import MODELS
from tests.checkpoint_makers import Micro, convert_folder, copied, open_folder, write_json

NANO = Path(MODELS["nano"].source)


@pytest.fixture(scope="module")
def native(tmp_path_factory) -> Path:
    return Micro().native(tmp_path_factory.mktemp("micro") / "native")


def texts(count: int = 500) -> list[str]:
    chance = random.Random(0)
    parts = [
        *"abcdefghijklmnopqrstuvwxyz ABC 0123456789.,!?'\"-<>/_\n\t",
        " the",
        " cat",
        "é",
        "你",
    ]
    parts += ["😀", "\u00a0", "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<od>", "<loc_5>"]
    parts += ["<loc_999>", "<image>", " <mask> ", "<poly>", "<loc_1000>", "What does the image"]
    return ["".join(chance.choices(parts, k=chance.randint(0, 30))) for _ in range(count)]


def check_equal(folder: Path, file: Path) -> None:
    from tokenizers import Tokenizer

    truth, ours = Tokenizer.from_file(str(file)), open_folder(folder).processor.tokenizer
    truth.no_truncation()
    truth.no_padding()
    assert ours.get_vocab() == truth.get_vocab()
    for text in texts():
        ids = truth.encode(text).ids
        assert ours(text).input_ids == ids, text
        for skip in (True, False):
            assert ours.decode(ids, skip_special_tokens=skip) == truth.decode(
                ids, skip_special_tokens=skip
            )


def test_nanos_tokens_are_those_of_its_file():
    check_equal(NANO, NANO / "tokenizer.json")


def test_a_native_folders_tokens_are_those_of_its_file(native, tmp_path):
    folder = copied(native, tmp_path / "it")
    saved = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    # What a trainer's last batch leaves in the file would cut questions.
    kind = {"direction": "Right", "strategy": "LongestFirst", "stride": 0}
    saved["truncation"] = {**kind, "max_length": 3}
    write_json(folder / "tokenizer.json", saved)
    check_equal(folder, folder / "tokenizer.json")


@pytest.mark.golden
def test_a_hub_folders_tokens_are_those_of_its_file(golden, tmp_path):
    for file in (golden / "hub-form").iterdir():
        if not file.name.startswith("config."):
            shutil.copyfile(file, tmp_path / file.name)
    shutil.copyfile(golden / "hub-form" / "config.tiny.json", tmp_path / "config.json")
    shutil.copyfile(golden / "legacy-tiny" / "model.safetensors", tmp_path / "model.safetensors")
    check_equal(tmp_path, golden / "legacy-tiny" / "tokenizer.json")


@pytest.mark.golden
def test_a_2024_folders_tokens_are_those_of_its_file(golden):
    check_equal(golden / "legacy-tiny", golden / "legacy-tiny" / "tokenizer.json")


def test_a_saved_copy_has_the_same_tokens(tmp_path):
    """Of a vocabulary of whole words too, for which BART's class has no switch."""
    from transformers import AutoProcessor

    convert_folder(NANO, tmp_path / "copy")
    ours = open_folder(NANO).processor.tokenizer
    again = open_folder(tmp_path / "copy").processor.tokenizer
    elsewhere = AutoProcessor.from_pretrained(tmp_path / "copy").tokenizer
    for text in texts(100):
        assert again(text).input_ids == elsewhere(text).input_ids == ours(text).input_ids


def _tokenizer(change):
    def edit(folder: Path) -> None:
        file = folder / "tokenizer.json"
        saved = json.loads(file.read_text(encoding="utf-8"))
        change(saved)
        write_json(file, saved)

    return edit


def _set(part, value):
    return _tokenizer(lambda saved: saved.__setitem__(part, value))


def _model(**changes):
    return _tokenizer(lambda saved: saved["model"].update(changes))


def _vocabulary(change):
    return _tokenizer(lambda saved: change(saved["model"]["vocab"]))


def _add(*tokens):
    def change(saved):
        at = 1 + max(token["id"] for token in saved["added_tokens"])
        saved["added_tokens"] += [{"id": at + i, **token} for i, token in enumerate(tokens)]

    return _tokenizer(change)


REPLACE = {"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": "x" * 100}
SPLIT = {"type": "Split", "pattern": {"Regex": "(a*)*b"}, "behavior": "Isolated", "invert": False}
REFUSED = {
    "a Replace normalizer": (_set("normalizer", REPLACE), "Replace"),
    "normalizers in a row": (_set("normalizer", {"type": "Sequence"}), "Sequence"),
    "a Split pattern": (_set("pre_tokenizer", SPLIT), "Split"),
    "cuts in a row": (_set("pre_tokenizer", {"type": "Sequence"}), "Sequence"),
    "a space before": (
        _set("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True}),
        "add_prefix_space",
    ),
    "a list for a cut": (_set("pre_tokenizer", ["ByteLevel"]), "damaged"),
    "another model": (_model(type="Unigram"), "BPE"),
    "merges left out by chance": (_model(dropout=0.5), "dropout"),
    "a prefix within words": (_model(continuing_subword_prefix="##"), "prefix"),
    "bytes for the unknown": (_model(byte_fallback=True), "byte_fallback"),
    "a long added token": (_add({"content": "x" * (MAX_ADDED_LENGTH + 1)}), "101 characters"),
    "an empty added token": (_add({"content": ""}), "0 characters"),
    "too many added tokens": (
        _add(*({"content": f"token {i}"} for i in range(MAX_ADDED))),
        "more than 5,000",
    ),
    "an added token beyond": (_add({"content": "new", "id": 10**9}), "ids 0 to"),
    "an added token by a number": (_add({"content": 7}), "damaged"),
    "two places for a token": (_add({"content": "<s>"}), "ids 0 to"),
    "a hole": (_vocabulary(lambda v: v.pop("Ġthe")), "ids 0 to"),
    "a place twice": (_vocabulary(lambda v: v.update({"Ġthe": 7})), "ids 0 to"),
    "a negative place": (_vocabulary(lambda v: v.update({"Ġthe": -1})), "ids 0 to"),
    "a place beyond": (_vocabulary(lambda v: v.update({"Ġthe": 10**400})), "ids 0 to"),
    "a place by a word": (_vocabulary(lambda v: v.update({"Ġthe": "7"})), "no whole number"),
    "half a place": (_vocabulary(lambda v: v.update({"Ġthe": 7.5})), "no whole number"),
    "a true place": (_vocabulary(lambda v: v.update({"Ġthe": True})), "no whole number"),
    "a long piece": (
        _vocabulary(lambda v: v.update({"x" * (MAX_PIECE + 1): v.pop("Ġthe")})),
        "257 characters",
    ),
    "a list for a vocabulary": (_model(vocab=[["a", 0]]), "damaged"),
    "a merge of unknown pieces": (_model(merges=[["a", "nowhere"]]), "merge into no piece"),
    "a merge of three": (_model(merges=[["a", "b", "c"]]), "damaged"),
    "merges without end": (_model(merges=[["Ġ", "t"]] * 2_000), "2,000 merges"),
    "more tokens than the model": (_add({"content": "new"}), "do not belong together"),
    "no model": (_set("model", None), "damaged"),
}


@pytest.mark.parametrize(("spoil", "said"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("layout", ["native", "original"])
def test_what_is_no_tokenizer_of_florence_is_told(native, tmp_path, layout, spoil, said):
    if layout == "native":
        folder = copied(native, tmp_path / "it")
    else:
        folder = Micro().original(tmp_path / "it")
    spoil(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        open_folder(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 400


def test_large_merges_are_not_read(native, tmp_path):
    folder = Micro().original(tmp_path / "it")
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    write_json(folder / "vocab.json", vocab)
    (folder / "merges.txt").write_text("a b\n" * (2 << 20))
    with pytest.raises(CheckpointError, match="larger than 4 MB"):
        open_folder(folder)


def test_nothing_else_of_the_file_is_used(native, tmp_path):
    """The decoder and the ends of a text are ours, whatever the file says."""
    folder = copied(native, tmp_path / "it")
    _set("decoder", REPLACE)(folder)
    _set("post_processor", {"type": "TemplateProcessing", "single": ["x"] * 100})(folder)
    (folder / "special_tokens_map.json").write_text('{"bos_token": "evil", "mask_token": "x"}')
    ours, sound = (open_folder(f).processor.tokenizer for f in (folder, native))
    for text in texts(50):
        ids = sound(text).input_ids
        assert ours(text).input_ids == ids
        assert ours.decode(ids) == sound.decode(ids)
