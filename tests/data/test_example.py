from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from florence_demo.data import example as module
from florence_demo.data.example import (
    Example,
    as_strings,
    check_example,
    example_from_strings,
    split_prefix,
)
from florence_demo.data.rows import usable
from florence_demo.errors import DatasetError, InputError
from florence_demo.prediction import Detections
from florence_demo.training.batch import IGNORE, Collator
from tests.micro_florence import micro_model, micro_processor

BOX = Detections(np.array([[10, 5, 40, 25]], np.float32), ("cat",))
OUTSIDE = Detections(np.array([[10, 5, 80, 25]], np.float32), ("cat",))
INVERTED = Detections(np.array([[40, 5, 10, 25]], np.float32), ("cat",))
NOT_A_NUMBER = Detections(np.array([[10, 5, np.nan, 25]], np.float32), ("cat",))
TOKEN_LABEL = Detections(np.array([[10, 5, 40, 25]], np.float32), ("cat<loc_5>",))
PICTURE = Image.new("RGB", (60, 30), "teal")


@pytest.fixture(scope="module")
def collator() -> Collator:
    return Collator(micro_processor(), max_positions=128)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    PICTURE.save(path)
    return path


GOOD = [
    pytest.param(Example(PICTURE, "od", detections=BOX), id="boxes"),
    pytest.param(Example(PICTURE, "od"), id="nothing there is an answer"),
    pytest.param(Example(PICTURE, "docvqa", "Who?", answer="Ada"), id="question"),
    pytest.param(Example(PICTURE, "custom", "<FORM>Who?", answer="Ada"), id="own task word"),
    pytest.param(
        Example(PICTURE, "region_to_category", region=(1, 2, 30, 20), answer="cat"), id="region"
    ),
]


@pytest.mark.parametrize("example", GOOD)
def test_good_rows_pass(example: Example) -> None:
    assert check_example(example) == (60, 30)


@pytest.mark.parametrize(
    ("example", "says"),
    [
        pytest.param(Example(Path("gone.png"), "od", where="f:7"), "f:7: there is no", id="gone"),
        pytest.param(Example(Path(__file__), "od"), "cannot be read", id="no picture"),
        pytest.param(Example(PICTURE, "caption", answer="  "), "answer is empty", id="no answer"),
        pytest.param(Example(PICTURE, "docvqa", answer="Ada"), "needs words", id="no question"),
        pytest.param(Example(PICTURE, "region_to_ocr", answer="A"), "needs a region", id="region"),
        pytest.param(Example(PICTURE, "od", detections=OUTSIDE), "outside", id="outside"),
        pytest.param(Example(PICTURE, "od", detections=INVERTED), "wrong order", id="inverted"),
        pytest.param(Example(PICTURE, "od", detections=NOT_A_NUMBER), "outside", id="nan"),
        pytest.param(Example(PICTURE, "od", detections=TOKEN_LABEL), "tokens", id="token label"),
        pytest.param(Example(PICTURE, "sing", answer="la"), "no task", id="unknown task"),
        pytest.param(
            Example(PICTURE, "referring_expression_segmentation", "cat", detections=BOX),
            "outline",
            id="box where an outline is due",
        ),
        pytest.param(Example(PICTURE, "ocr_with_region", detections=BOX), "corners", id="no quad"),
    ],
)
def test_bad_rows_are_told(example: Example, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        check_example(example)


def test_usable_keeps_the_good_and_counts_the_rest() -> None:
    problems: list[str] = []
    good = Example(PICTURE, "od", detections=BOX)
    kept = usable([good, DatasetError("x:1: no JSON"), Example(PICTURE, "caption")], problems)
    assert kept == [good]
    assert len(problems) == 2


@pytest.mark.parametrize(
    ("prefix", "suffix", "task"),
    [
        ("<OD>", "cat<loc_100><loc_200><loc_300><loc_999>dog<loc_0><loc_0><loc_5><loc_6>", "od"),
        ("<OD>", "", "od"),
        ("<CAPTION>", "A cat.", "caption"),
        ("<DocVQA>What is the <b> date?", "12 May", "docvqa"),
        ("<REGION_TO_CATEGORY><loc_1><loc_2><loc_300><loc_400>", "cat", "region_to_category"),
        (
            "<REGION_TO_DESCRIPTION><loc_1><loc_2><loc_300><loc_400>",
            "a cat<loc_1><loc_2><loc_300><loc_400>",
            "region_to_description",
        ),
        ("<REFERRING_EXPRESSION_SEGMENTATION>cat", "<loc_1>" * 8, None),
        ("<FORM>Who?", "Ada", "custom"),
        ("Count the cats.", "3<loc_5>", "custom"),
        ("<OCR_WITH_REGION>", "EXIT" + "".join(f"<loc_{i}>" for i in range(8)), "ocr_with_region"),
        (
            "<CAPTION_TO_PHRASE_GROUNDING>A cat and a dog.",
            "A cat<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>",
            "caption_to_phrase_grounding",
        ),
    ],
)
def test_strings_come_back_as_they_were(
    file: Path, prefix: str, suffix: str, task: str | None
) -> None:
    example = example_from_strings(file, prefix, suffix, "f:1")
    assert task is None or example.task == task
    assert as_strings(example, (60, 30)) == (prefix, suffix)


@pytest.mark.parametrize(
    ("prefix", "suffix", "says"),
    [
        ("<OD>", "cat<loc_1><loc_2><loc_3><loc_1000>", "<loc_999>"),
        ("<OD>", "cat<loc_1><loc_2><loc_3>", "not one for <OD>"),
        ("<OD>", "cat<loc_9><loc_2><loc_3><loc_4>", "not one for <OD>"),
        ("<OD>", "a cat", "not one for <OD>"),
        ("<REGION_TO_OCR><loc_1><loc_2>", "EXIT", "four locations"),
    ],
    ids=["bin 1000", "three bins", "inverted", "no location", "half a region"],
)
def test_strings_that_are_no_answer(file: Path, prefix: str, suffix: str, says: str) -> None:
    with pytest.raises(DatasetError, match=f"f:1.*{says}"):
        example_from_strings(file, prefix, suffix, "f:1")


def test_a_prompt_with_a_word_of_ones_own_stays_whole() -> None:
    task, rest = split_prefix("<FORM>Who signed?")
    assert (task.name, rest) == ("custom", "<FORM>Who signed?")


def test_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.save(tmp_path / "turned.jpg", exif=exif)
    example = Example(tmp_path / "turned.jpg", "od")
    assert example.size() == example.load().size == (30, 60)


def test_transparency_becomes_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert Example(lambda: clear, "od").load().getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    "prompt", ["Locate the<loc_3> objects", "<DocVQA>What is the date?", "cat ", ""]
)
def test_prompt_ids_are_those_of_the_processor(collator: Collator, prompt: str) -> None:
    theirs = collator.processor(text=prompt, images=PICTURE)["input_ids"][0]
    assert collator.prompt_ids(prompt) == list(theirs)


def test_a_task_word_inside_a_question_stays_a_question(collator: Collator) -> None:
    ids = collator.prompt_ids("<DocVQA>What does <OD> mean?")
    assert collator.processor.tokenizer.decode(ids[6:-1]) == "<DocVQA>What does <OD> mean?"


def test_the_image_token_in_a_question_is_refused(collator: Collator) -> None:
    with pytest.raises(InputError, match="image token"):
        collator.prompt_ids("What is <image>?")


def test_batch(collator: Collator) -> None:
    rows = [
        Example(PICTURE, "docvqa", "What?", answer="cat"),
        Example(PICTURE, "od", detections=BOX),
    ]
    batch = collator(rows)
    tokenizer = collator.processor.tokenizer
    assert {k: v.shape[0] for k, v in batch.items()} == dict.fromkeys(batch, 2)
    assert batch["pixel_values"].shape[1:] == (3, 32, 32)
    first = batch["labels"][0]
    assert first.tolist() == [0, *tokenizer("cat", add_special_tokens=False)["input_ids"], 2] + [
        IGNORE
    ] * (batch["labels"].shape[1] - 3)
    # The encoder must not see what the decoder has to say.
    question = tokenizer.decode(batch["input_ids"][0])
    assert "cat" not in question
    assert batch["attention_mask"][0].sum() < batch["attention_mask"][1].sum()
    assert (batch["input_ids"][0][batch["attention_mask"][0] == 0] == 1).all()
    assert "pixel_values" not in collator(rows, pixels=False)


def test_loss_of_a_padded_batch_is_the_token_weighted_mean_of_its_rows(collator: Collator) -> None:
    model = micro_model(collator.processor)
    rows = [
        Example(PICTURE, "docvqa", "What is the name?", answer="a"),
        Example(PICTURE, "od", detections=BOX),
        Example(PICTURE, "caption", answer="a red circle and a blue square"),
    ]
    whole = float(model(**collator(rows)).loss)
    alone = [
        (float(model(**b).loss), (b["labels"] != IGNORE).sum())
        for b in map(collator, ([r] for r in rows))
    ]
    weighted = sum(loss * int(n) for loss, n in alone) / sum(int(n) for _, n in alone)
    assert whole == pytest.approx(weighted, abs=1e-5)


def test_no_double_shift(collator: Collator) -> None:
    """The label at place t is learned from the labels before t, as the model itself shifts them."""
    import torch

    model = micro_model(collator.processor)
    batch = collator([Example(PICTURE, "caption", answer="a red circle")])
    labels = batch["labels"]
    fed = torch.cat([torch.tensor([[2]]), labels[:, :-1]], dim=1)
    assert batch["decoder_input_ids"].equal(fed)
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    logits = model(**inputs).logits
    expected = torch.nn.functional.cross_entropy(logits[0], labels[0])
    assert float(model(**batch).loss) == pytest.approx(float(expected), abs=1e-5)


def test_too_long_is_told_with_its_place(collator: Collator) -> None:
    long = Example(PICTURE, "ocr", answer="a " * 200, where="f:3")
    assert collator.too_long(long).startswith("f:3: the answer has")
    assert collator.too_long(Example(PICTURE, "ocr", answer="a")) == ""


def test_a_pictures_size_takes_no_decoding_and_is_looked_at_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "monotonic", lambda: 0.0)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    looked: list[object] = []
    size = module.upright_size
    monkeypatch.setattr(module, "upright_size", lambda image: looked.append(image) or size(image))

    def cell() -> bytes:
        return file.read_bytes()

    for image in (file, cell):
        for _ in range(3):
            assert Example(image, "od").size() == (60, 30)
    assert len(looked) == 2


def test_a_picture_that_changed_is_looked_at_again(file: Path) -> None:
    assert Example(file, "od").size() == (60, 30)
    Image.new("RGB", (7, 5)).save(file)
    assert Example(file, "od").size() == (7, 5)


@pytest.mark.parametrize("name", ["a\0.png", "x" * 400, "\ud800.png", "a.png/b.png", "gone.png"])
def test_a_path_that_is_none_is_told(file: Path, name: str) -> None:
    example = Example(file.parent / name, "od", where="f:1")
    for look in (example.size, example.load):
        with pytest.raises(DatasetError, match="f:1: there is no picture"):
            look()


def test_a_picture_over_the_limits_is_told(tmp_path: Path) -> None:
    Image.new("1", (9_000, 9_000)).save(tmp_path / "huge.png")
    for image in (tmp_path / "huge.png", (tmp_path / "huge.png").read_bytes):
        for look in (Example(image, "od").size, Example(image, "od").load):
            with pytest.raises(DatasetError, match="9000 x 9000"):
                look()


def test_what_was_wrong_with_a_picture_may_pass(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    looked: list[object] = []

    def busy(source: object) -> tuple[int, int]:
        looked.append(source)
        raise InputError("Too many pictures are being opened.")

    def cell() -> bytes:
        return file.read_bytes()

    for image in (file, cell):
        with monkeypatch.context() as patch:
            patch.setattr(module, "upright_size", busy)
            for _ in range(3):
                with pytest.raises(DatasetError, match="Too many pictures"):
                    Example(image, "od").size()
        now += 61
        assert Example(image, "od").size() == (60, 30)
    assert len(looked) == 2


LONG: dict[str, Example] = {
    "a long answer": Example(PICTURE, "ocr", answer="a" * 20_001),
    "a long accepted answer": Example(PICTURE, "vqa", "x", answer="a", references=("a" * 20_001,)),
    "many accepted answers": Example(PICTURE, "vqa", "x", answer="a", references=("a",) * 101),
    "many places": Example(
        PICTURE, "od", detections=Detections(np.ones((1_001, 4), np.float32), ("a",) * 1_001)
    ),
    "many points": Example(
        PICTURE, "region_to_segmentation", detections=Detections.from_polygons(
            [[np.ones((20_001, 2), np.float32)]], [""]
        ),
    ),
    "half a character": Example(PICTURE, "caption", answer="a\ud800"),
}  # fmt: skip


@pytest.mark.parametrize("example", LONG.values(), ids=LONG)
def test_a_row_with_more_than_any_model_takes_is_refused(example: Example) -> None:
    with pytest.raises(DatasetError, match=r"at most|half of a character"):
        check_example(example)


def test_what_is_said_of_a_row_is_short() -> None:
    problems: list[str] = []
    usable([Example(PICTURE, "sing" * 9_999), DatasetError("x" * 99_999)], problems)
    assert all(len(problem) <= 2_000 for problem in problems)
