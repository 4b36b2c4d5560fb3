from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from florence_demo.errors import CheckpointError
from florence_demo.nano.architecture import Sizes, build_model, sinusoids
from florence_demo.nano.export import export
from florence_demo.nano.learning import store
from florence_demo.nano.learning import stream as stream_module
from florence_demo.nano.learning.batches import Words, collate
from florence_demo.nano.learning.config import TrainConfig
from florence_demo.nano.learning.heads import AnswerLoss, soft_places
from florence_demo.nano.learning.learner import Learner, Shares
from florence_demo.nano.learning.loop import Trainer, load_matching, prepare, train
from florence_demo.nano.learning.optimizer import MuonAdamW, is_matrix
from florence_demo.nano.learning.plots import draw_curves, draw_samples, read_rows
from florence_demo.nano.learning.samples import (
    ALPHABET,
    FINE,
    IGNORE,
    TEXT_CLASS,
    ask,
    fine_letters,
    grid,
    make_sample,
    marked_cells,
    mirrored,
)
from florence_demo.nano.learning.stream import Stream
from florence_demo.nano.scenes.catalogue import CLASSES
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.sprites import Library
from florence_demo.nano.scenes.types import Truth
from florence_demo.nano.tokenizer import (
    FLORENCE_TOKENS,
    IMAGE_TOKENS,
    POSITIONS,
    SIDE,
    build_processor,
    common_words,
    numbers,
)
from florence_demo.prediction import Detections
from florence_demo.tasks import TASKS

WORDS = ["Ġdog", "dog", "Ġcats", "What", "Ġis", "Ġthe", "Ġimage", *CLASSES]
MICRO = Sizes(stages=(16, 32, 32), depths=(0, 1, 1), width=32, layers=(1, 1), head=16)


@pytest.fixture(scope="module")
def processor():
    return build_processor(WORDS)


@pytest.fixture(scope="module")
def library():
    return Library.drawn()


@pytest.fixture(scope="module")
def samples(processor, library):
    rng = np.random.default_rng(0)
    scenes = [make_scene(seed, 192, library=library) for seed in range(4)]
    return [make_sample(scene, processor.tokenizer, 3, rng) for scene in scenes]


@pytest.fixture(scope="module")
def batch(processor, samples):
    return collate(samples, Words.of(processor.tokenizer), group=8)


# Words


@pytest.mark.parametrize(
    "text",
    ["dog", "dogs", "Total 12.50 €", "Crème brûlée\n2 × 3", "a  b", "the dog's cats!", "汉字 🙂"],
)
def test_text_is_spelled_without_loss(processor, text):
    tokenizer = processor.tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text


def test_an_unknown_word_is_spelled_letter_by_letter(processor):
    assert processor.tokenizer.tokenize("dogma doge") == [*"dogma", "Ġ", *"doge"]


def test_a_known_word_is_one_token(processor):
    assert processor.tokenizer.tokenize("What is the dog") == ["What", "Ġis", "Ġthe", "Ġdog"]


def test_florence_tokens_follow_the_image_token_in_order(processor):
    first = processor.image_token_id
    ids = processor.tokenizer.convert_tokens_to_ids(["<image>", *FLORENCE_TOKENS])
    assert ids == list(range(first, first + 1025))
    assert ids[-1] == len(processor.tokenizer) - 1
    assert FLORENCE_TOKENS[4] == "<loc_0>"
    assert FLORENCE_TOKENS[1003] == "<loc_999>"
    assert len(FLORENCE_TOKENS) == 1024


def test_words_are_chosen_by_how_often_they_are_said():
    found = common_words(["The dog. A dog sees Rex", "a dog", "The cat"], least=2)
    assert found == ["Ġdog", "The"]


def test_the_processor_opens_in_plain_transformers(processor, tmp_path):
    from transformers import AutoProcessor

    processor.save_pretrained(tmp_path)
    opened = AutoProcessor.from_pretrained(tmp_path)
    made = opened(text="<OD>", images=Image.new("RGB", (300, 200)), return_tensors="pt")
    ours = processor(text="<OD>", images=Image.new("RGB", (300, 200)), return_tensors="pt")
    assert made["pixel_values"].shape == (1, 3, SIDE, SIDE)
    assert torch.equal(made["input_ids"], ours["input_ids"])
    assert int((made["input_ids"] == opened.image_token_id).sum()) == IMAGE_TOKENS
    read = opened.post_process_generation(
        "dog<loc_0><loc_0><loc_500><loc_999>", task="<OD>", image_size=(100, 100)
    )
    assert read["<OD>"]["labels"] == ["dog"]


@pytest.mark.parametrize(
    "text",
    [
        "<s></s>",
        "<s>What does the sign say?</s>",
        "<s>dog<loc_0><loc_7><loc_999><loc_1000>cats  two  blanks <loc_07>\n 3 \u00a0x</s>",
        "<s>a dog<poly><loc_1><loc_2><sep><loc_3></poly> <pad> <s >it's don't <image></s>",
        " naïve 汉字 🙂 \t dog's",
    ],
)
def test_numbers_are_those_of_the_tokenizer(processor, text):
    tokenizer = processor.tokenizer
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert numbers(tokenizer, text) == expected
    assert numbers(tokenizer, text) == expected


# Model


def test_a_saved_folder_opens_in_plain_transformers(processor, tmp_path):
    from transformers import Florence2ForConditionalGeneration

    store.save_folder(tmp_path / "nano", build_model(processor, MICRO), processor)
    model, info = Florence2ForConditionalGeneration.from_pretrained(
        tmp_path / "nano", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.dtype == torch.float16
    assert model.config.text_config.max_position_embeddings == POSITIONS >= 1026
    assert model.generation_config.no_repeat_ngram_size == 0
    assert model.generation_config.num_beams == 3
    assert model.generation_config.decoder_start_token_id == 2
    assert json.loads((tmp_path / "nano/config.json").read_text())["dtype"] == "float16"
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "nano").iterdir()}
    assert modes == {0o644}


def test_the_default_model_is_small_enough_to_ship(processor):
    model = build_model(processor)
    assert sum(p.numel() for p in model.parameters()) * 2 < 9_600_000


def test_neighbouring_places_begin_alike():
    places = torch.nn.functional.normalize(
        sinusoids(torch.arange(1000) + 0.5, 192, longest=2000.0, shortest=16.0)
    )
    like = places @ places.T
    assert like[500, 501] > like[500, 510] > like[500, 600]


# Losses


def test_soft_places_are_distributions_around_the_place():
    soft = soft_places()
    assert soft.shape == (1000, 1000)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(1000))
    assert torch.equal(soft.argmax(dim=1), torch.arange(1000))


def test_a_near_miss_costs_less_than_a_far_one():
    loss = AnswerLoss(first_location=10)
    logits = torch.zeros(3, 1010)
    for row, said in enumerate((500, 503, 700)):
        logits[row, 10 + said] = 10
    near, close, far = loss(logits, torch.full((3,), 510), torch.arange(3)).tolist()
    assert near < close < far


def test_words_are_compared_exactly():
    logits = torch.randn(4, 1010)
    targets = torch.tensor([0, 3, 7, 9])
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    nowhere = torch.zeros(0, dtype=torch.int64)
    torch.testing.assert_close(AnswerLoss(10)(logits, targets, nowhere), expected)


# Samples


def test_the_grid_says_what_the_scene_says(library):
    scene = make_scene(11, 256, library=library, kind="objects")
    cells = grid(scene)
    for thing in scene.objects:
        assert CLASSES.index(thing.label) + 1 in cells["classes"]
    empty = cells["classes"] == 0
    assert (cells["masks"][empty] == 0).all()
    assert (cells["slots"][cells["classes"] != TEXT_CLASS] == 0).all()
    assert cells["boxes"].min() >= 0
    assert cells["boxes"].max() <= 1


def test_every_character_of_a_page_has_its_slot(library):
    scene = make_scene(5, 256, library=library, kind="sign")
    count = sum(not c.isspace() for line in scene.lines for c in line.text)
    slots = grid(scene)["slots"]
    assert 0 < ((slots > 0) | (slots == IGNORE)).sum() <= count


def test_every_character_has_a_fine_cell_of_its_own(library):
    scene = make_scene(5, 256, library=library, kind="page")
    cells = fine_letters(scene).reshape(FINE, FINE)
    scale = np.tile(np.float32(FINE) / np.asarray(scene.image.size, np.float32), 2)
    said = 0
    for line in scene.lines:
        for character, (x1, y1, x2, y2) in zip(line.text, line.chars * scale, strict=True):
            if not character.isspace():
                seen = cells[int((y1 + y2) // 2), int((x1 + x2) // 2)]
                said += seen == ALPHABET.index(character) + 1
    count = sum(not c.isspace() for line in scene.lines for c in line.text)
    # Two narrow ones can share a cell.
    assert 0.9 * count < said <= count


@pytest.mark.parametrize(
    ("truth", "marked"),
    [
        pytest.param(Truth("caption", answer="A dog."), -1, id="a caption names no place"),
        pytest.param(Truth("od"), 0, id="nothing there"),
        pytest.param(
            Truth("region_to_category", region=(0.0, 0.0, 64.0, 32.0), answer="dog"),
            4 * 2,
            id="a region",
        ),
        pytest.param(
            Truth(
                "od",
                places=Detections(np.array([[128, 128, 256, 256]], np.float32), ("dog",)),
            ),
            64,
            id="a quarter of the picture",
        ),
    ],
)
def test_marked_cells(truth, marked):
    shares = marked_cells(truth, (256, 256))
    if marked < 0:
        assert (shares == -1).all()
    else:
        assert shares.sum() == pytest.approx(marked)


def test_questions_are_asked_and_answered_in_the_language_of_the_codec(processor, library):
    scene = make_scene(3, 256, library=library, kind="objects")
    truth = next(t for t in scene.truths if t.task == "od")
    question = ask(truth, scene.image.size, processor.tokenizer)
    assert question is not None
    said = processor.tokenizer.decode(question.answer)
    found = TASKS["od"].answer.decode(said, scene.image.size).detections
    assert found.labels == truth.detections.labels
    np.testing.assert_allclose(found.xyxy, truth.detections.xyxy, atol=0.3)


def test_streams_side_by_side_share_the_seeds(processor, library):
    seen = []
    for rank in range(2):
        stream = Stream(library, processor.tokenizer, 2, 8, 0, 100 + rank, 2)
        stream.one = seen.append
        batches = stream.samples()
        next(batches), next(batches)
    assert sorted(seen) == list(range(100, 108))


def test_a_lone_tower_sees_things_of_earlier_scenes_too(processor, library, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        stream_module, "make_scene", lambda *a, **k: drawn.append(a) or make_scene(*a, **k)
    )

    def filled(questions: int) -> int:
        stream = Stream(library, processor.tokenizer, 2, 8, questions, 0)
        return sum(int((stream.one(seed).classes > 0).sum()) for seed in range(12))

    assert filled(0) > 1.2 * filled(1)
    assert len(drawn) == 24


def test_a_mirrored_scene_keeps_each_thing_under_its_pixels(library):
    scene = make_scene(11, 256, library=library, kind="objects")
    other = mirrored(scene)
    assert np.array_equal(np.asarray(other.image)[:, ::-1], np.asarray(scene.image))
    assert np.array_equal(other.instances[:, ::-1], scene.instances)


# Training


def test_a_bad_scene_is_skipped(processor, library, caplog):
    stream = Stream(library, processor.tokenizer, 2, 8, 0, 0)

    def one(seed):
        if seed == 1:
            raise ValueError("empty range")
        return seed

    stream.one = one
    assert next(stream.samples()) == [0, 2]
    assert "seed 1 makes no scene" in caplog.text


def test_muon_moves_inner_matrices_only(processor):
    names = {n for n, p in build_model(processor, MICRO).named_parameters() if is_matrix(n, p)}
    assert "model.vision_tower.convs.1.conv.weight" in names
    assert "model.language_model.encoder.layers.0.fc1.weight" in names
    assert not any("embed" in n or "shared" in n or "norm" in n for n in names)
    assert not any("conv1" in n for n in names)  # depthwise: no matrix at all


def test_depthwise_convolutions_and_tables_take_smaller_steps(processor):
    model = build_model(processor, MICRO)
    optimizer = MuonAdamW(model.named_parameters(), muon_lr=1e-3, adam_lr=1e-3)
    names = (
        "model.vision_tower.convs.1.norm.bias",
        "model.vision_tower.blocks.1.0.spatial_block.conv1.weight",
        "model.language_model.shared.weight",
    )
    before = [model.get_parameter(n).detach().clone() for n in names]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(1.0)
    moved = [
        float((model.get_parameter(n) - b).detach().abs().mean())
        for n, b in zip(names, before, strict=True)
    ]
    assert moved == pytest.approx([1e-3, 1e-4, 2e-4], rel=0.01)


def test_a_few_steps_learn_a_batch_by_heart(processor, batch):
    torch.manual_seed(0)
    learner = Learner(build_model(processor, MICRO), processor).train()
    optimizer = MuonAdamW(learner.named_parameters(), muon_lr=4e-3, adam_lr=4e-3)
    losses = []
    for _ in range(30):
        said = learner.learn(batch, Shares())
        optimizer.step(1.0)
        optimizer.zero_grad()
        losses.append(said)
    assert losses[-1]["answer"] < 0.75 * losses[0]["answer"]
    assert losses[-1]["letter_loss"] < losses[0]["letter_loss"]
    assert losses[-1]["dense_class"] < 0.7 * losses[0]["dense_class"]
    assert losses[-1]["mark"] < losses[0]["mark"]


def test_without_questions_only_the_tower_learns(processor, samples):
    learner = Learner(build_model(processor, MICRO), processor)
    blind = [type(s)(**{**vars(s), "questions": ()}) for s in samples]
    learner.learn(collate(blind, learner.words, 8), Shares())
    moved = {n.split(".")[0] for n, p in learner.named_parameters() if p.grad is not None}
    parts = {n for n, p in learner.named_parameters() if p.grad is not None and "model." in n}
    assert moved == {"dense", "letters", "model"}
    assert all("vision_tower" in n for n in parts)


@pytest.fixture
def config(tmp_path, processor, monkeypatch):
    for maker in ("learning.loop", "export"):
        monkeypatch.setattr(
            f"florence_demo.nano.{maker}.build_model", lambda p: build_model(p, MICRO)
        )
    monkeypatch.setattr("florence_demo.nano.export.FAMILIAR", 12)
    processor.save_pretrained(tmp_path / "run" / store.PROCESSOR)
    return TrainConfig(
        out=tmp_path / "run",
        sprites=tmp_path / "none",
        processes=1,
        batch=2,
        questions=1,
        tower_pictures=2,
        single_pictures=2,
        pictures=6,
    )


def test_a_training_goes_on_where_it_was_stopped(config):
    train(config)
    first = store.load_checkpoint(config.out)
    assert first is not None
    assert (first["step"], first["pictures"]) == (3, 6)
    again = Trainer(config, rank=0)
    assert (again.at.step, again.at.pictures, again.at.pairs) == (3, 6, first["pairs"])
    for name, value in again.learner.state_dict().items():
        assert torch.equal(value, first["learner"][name]), name
    for name, value in again.optimizer.momentum.items():
        assert torch.equal(value, first["optimizer"]["momentum"][name]), name
    state = again.state()["optimizer"]["adam"]
    assert state.keys() == first["optimizer"]["adam"].keys()


def test_a_run_is_written_as_a_folder_after_a_cooldown(config, tmp_path):
    from transformers import Florence2ForConditionalGeneration

    with pytest.raises(CheckpointError, match="train first"):
        export(config, tmp_path / "early")
    train(config)
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano/README.md").write_text("card")
    export(config, tmp_path / "nano", cooldown_minutes=0.001)
    Florence2ForConditionalGeneration.from_pretrained(tmp_path / "nano")
    assert (tmp_path / "nano/README.md").read_text() == "card"
    cooled = store.load_checkpoint(tmp_path / "run-cooldown")
    kept = store.load_checkpoint(config.out)
    assert cooled is not None
    assert kept is not None
    assert cooled["step"] > kept["step"] == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_learns_the_same_from_scenes_drawn_beside(config, workers):
    # The tower alone: what the heads of cells draw depends on the process that draws it.
    train(dataclasses.replace(config, workers=workers, tower_pictures=100))
    found = store.load_checkpoint(config.out)
    assert found is not None
    assert (found["step"], found["pictures"], found["pairs"]) == (3, 6, 0)
    here = dataclasses.replace(config, out=config.out.with_name("here"), tower_pictures=100)
    shutil.copytree(config.out / store.PROCESSOR, here.out / store.PROCESSOR)
    train(here)
    expected = store.load_checkpoint(here.out)
    assert expected is not None
    for name, value in found["learner"].items():
        torch.testing.assert_close(value, expected["learner"][name], msg=name)


def test_a_training_asks_questions_drawn_beside_goes_on_and_stops(config):
    config = dataclasses.replace(config, workers=1, questions=2, group=3)
    train(config)
    train(dataclasses.replace(config, pictures=10))
    state = store.load_checkpoint(config.out)
    assert state is not None
    assert (state["step"], state["pictures"]) == (5, 10)
    assert state["pairs"] > 0


def test_a_training_stops_when_its_time_is_up_and_its_steps_have_fallen(config, monkeypatch):
    scales = []
    step = MuonAdamW.step
    monkeypatch.setattr(
        MuonAdamW, "step", lambda self, scale: scales.append(scale) or step(self, scale)
    )
    # A clock of its own: each look at it takes a minute.
    minutes = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 60.0 * next(minutes))
    monkeypatch.setattr("florence_demo.nano.learning.loop.time", clock)
    train(dataclasses.replace(config, cooldown=True, minutes=20, pictures=0, check_minutes=1e9))
    assert len(scales) > 3
    assert scales[0] == pytest.approx(1 - 1 / 20)
    *falls, _ = np.diff(scales)
    assert falls == pytest.approx([falls[0]] * len(falls))
    assert scales[-1] == 0.02


def test_what_is_written_is_the_last_weights_or_their_average(config, tmp_path):
    train(config)
    state = store.load_checkpoint(config.out)
    assert state is not None
    name = "model.language_model.shared.weight"
    last, average = state["learner"][f"model.{name}"], state["ema"][name]
    assert not torch.equal(last.half(), average.half())
    for weights, expected in ((None, average), ("average", average), ("last", last)):
        export(dataclasses.replace(config, weights=weights), tmp_path / "nano")
        assert torch.equal(
            store.load_shipped(tmp_path / "nano").learner[f"model.{name}"].half(), expected.half()
        )
    rows = [row for row in read_rows(config.out) if row.get("event") == "export"]
    assert [row["weights"] for row in rows] == ["average", "average", "last"]


def test_after_a_cooldown_the_last_weights_are_written_unless_told(config, tmp_path):
    train(config)
    for weights, part in ((None, "learner"), ("average", "ema")):
        told = dataclasses.replace(config, weights=weights)
        export(told, tmp_path / "nano", cooldown_minutes=0.001)
        cooled = store.load_checkpoint(tmp_path / "run-cooldown")
        assert cooled is not None
        name = "model.language_model.shared.weight"
        expected = cooled[part][name if part == "ema" else f"model.{name}"]
        written = store.load_shipped(tmp_path / "nano").learner[f"model.{name}"]
        assert torch.equal(written.half(), expected.half())


def test_a_checkpoint_survives_a_changed_head():
    module, state = torch.nn.Linear(3, 2), {"weight": torch.ones(5, 3), "bias": torch.ones(2)}
    load_matching(module, state)
    assert torch.equal(module.bias, torch.ones(2))
    assert not torch.equal(module.weight, torch.ones(2, 3))


def test_places_are_not_drowned_by_large_features(config, batch):
    trainer = Trainer(config, rank=0)
    model = trainer.learner.model.model
    with torch.no_grad():
        for convolution in model.vision_tower.convs:
            convolution.conv.weight.mul_(300)
    trainer._match_positions(batch)
    features = model.vision_tower(trainer.learner.pixels(batch)).last_hidden_state
    rows = model.multi_modal_projector.image_position_embed.row_embeddings.weight
    middle = features.square().mean(dim=(0, 2, 3)).median()
    torch.testing.assert_close(rows.square().mean(), middle)
    assert trainer.ema is not None
    averaged = trainer.ema.module.model.multi_modal_projector.image_position_embed
    assert torch.equal(rows, averaged.row_embeddings.weight)


def test_the_recipe_goes_from_the_tower_to_questions():
    config = TrainConfig(tower_pictures=100, single_pictures=50, questions=4)
    assert [config.questions_at(n) for n in (0, 99, 100, 149, 150)] == [0, 0, 1, 1, 4]
    assert config.shares_at(0).cells == 1
    assert config.shares_at(10**6).cells == pytest.approx(0.3)


def test_an_interrupted_checkpoint_leaves_the_one_before(tmp_path: Path, monkeypatch):
    store.save_checkpoint(tmp_path, {"step": 1})

    def broken(*_args):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        store.save_checkpoint(tmp_path, {"step": 2})
    monkeypatch.undo()
    assert store.load_checkpoint(tmp_path) == {"step": 1}


def test_a_training_goes_on_from_a_shipped_folder(config, tmp_path):
    train(config)
    export(config, tmp_path / "nano")
    shipped = store.load_checkpoint(config.out)
    assert shipped is not None
    later = dataclasses.replace(config, out=tmp_path / "later", start=tmp_path / "nano")
    prepare(later)
    again = Trainer(later, rank=0)
    assert (again.at.step, again.at.pictures) == (3, 6)
    for name, value in again.learner.state_dict().items():
        wanted = shipped["ema"].get(name.removeprefix("model."), shipped["learner"][name])
        torch.testing.assert_close(value, wanted, atol=2e-3, rtol=2e-3)
    with pytest.raises(CheckpointError, match="go on from"):
        store.load_shipped(tmp_path / "nothing")


# Pictures of a training


def test_a_run_is_drawn(processor, library, tmp_path):
    store.log(tmp_path, {"event": "processor", "words": 3})
    for minute in range(3):
        store.log(tmp_path, {"minutes": minute, "cell_acc": 0.1 * minute, "answer": 5 - minute})
    with Image.open(draw_curves(tmp_path)) as curves:
        assert len(curves.convert("RGB").getcolors(100_000)) > 10
    model = build_model(processor, MICRO).eval()
    with Image.open(draw_samples(tmp_path, model, processor, library, range(4))) as samples:
        assert len(samples.convert("RGB").getcolors(2_000_000)) > 1000
