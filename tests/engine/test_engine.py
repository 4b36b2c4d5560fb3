"""The engine on the embedded model: the order of one request, not the quality of its answers."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from florence_demo.decoding.rules import Generated
from florence_demo.engine import engine as engine_module
from florence_demo.engine.engine import Engine
from florence_demo.engine.feature_cache import FeatureCache, fingerprint
from florence_demo.engine.pieces import Cutter
from florence_demo.engine.request import Options, Request, Stopped
from florence_demo.errors import CheckpointError, InputError
from florence_demo.models.catalogue import ASSETS, MODELS, spec_at
from florence_demo.models.loading import load_model
from florence_demo.serving import engines as engine_cache
from florence_demo.serving.engines import EngineCache
from florence_demo.tasks import TASKS, task_named

HELDOUT = ASSETS / "heldout"
QUICK = Options(max_new_tokens=24, num_beams=1)


def picture(seed: int = 0, size: tuple[int, int] = (96, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def request(name: str, image: Image.Image) -> Request:
    task = TASKS[name]
    text = "a dog" if task.asks == "text" else ""
    return Request(image, task, text, (5, 5, 60, 50) if task.asks == "region" else None)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_answered(nano, name):
    asked = request(name, picture())
    found = nano.predict(asked.image, asked.task, asked.text, asked.region, QUICK)
    assert found.task == name
    assert found.size == (96, 64)
    assert found.parsed.keys() == {asked.task.token}
    assert found.model == MODELS["nano"].title
    assert 0 < found.tokens <= 26
    assert found.raw.startswith("</s>")


def test_a_batch_answers_what_each_question_alone_gives(nano):
    asked = [request(n, picture(i)) for i, n in enumerate(["caption", "od", "ocr", "docvqa"])]
    options = Options(max_new_tokens=40)
    together = nano.predict_batch(asked, options)
    alone = [nano.predict(r.image, r.task, r.text, r.region, options) for r in asked]
    assert [p.raw for p in together] == [p.raw for p in alone]


def test_a_second_task_on_a_picture_does_not_run_the_tower(nano, monkeypatch):
    calls = []
    encode = nano._decoder.encode_image
    monkeypatch.setattr(
        nano._decoder,
        "encode_image",
        lambda pixels, **how: calls.append(len(pixels)) or encode(pixels, **how),
    )
    image = picture(77)
    nano.predict(image, TASKS["caption"], options=QUICK)
    nano.predict(image.copy(), TASKS["od"], options=QUICK)
    assert calls == [1]
    nano.predict(picture(78), TASKS["od"], options=QUICK)
    assert calls == [1, 1]


def test_features_are_forgotten_when_they_exceed_their_room(nano, monkeypatch):
    monkeypatch.setattr(nano._features, "limit", 1)
    for seed in range(3):
        nano.predict(picture(seed), TASKS["caption"], options=QUICK)
    assert len(nano._features._kept) == 1


def test_what_is_cut_out_has_the_name_that_was_asked_for(nano):
    scene = Image.open(HELDOUT / "001.webp").convert("RGB")
    found = nano.predict(scene, TASKS["referring_expression_segmentation"], "the bell")
    assert found.detections.labels == ("the bell",)
    assert found.parsed["<REFERRING_EXPRESSION_SEGMENTATION>"]["labels"] == [""]  # Florence's own


def test_a_cut_off_answer_says_so(nano):
    found = nano.predict(picture(), TASKS["caption"], options=Options(max_new_tokens=2))
    assert found.truncated
    assert any("cut off" in n for n in found.notices)


def test_too_long_a_question_is_told(nano):
    with pytest.raises(InputError, match="too long"):
        nano.predict(picture(), TASKS["docvqa"], "why? " * 790, options=QUICK)


def test_options_are_checked_before_a_question_is_answered(nano):
    with pytest.raises(InputError, match="between"):
        nano.predict(picture(), TASKS["caption"], options=Options(num_beams=11))


def test_the_answer_so_far_is_offered_and_can_be_stopped(nano):
    seen: list[str] = []

    def on_step(partial) -> bool:
        seen.append(partial().text)
        return len(seen) < 3

    with pytest.raises(Stopped):
        nano.predict(picture(), TASKS["caption"], options=QUICK, on_step=on_step)
    assert len(seen) == 3


def test_threads_get_their_own_answers(nano):
    wanted = {s: nano.predict(picture(s), TASKS["caption"], options=QUICK).raw for s in range(3)}
    found: dict[int, str] = {}

    def ask(seed: int) -> None:
        found[seed] = nano.predict(picture(seed), TASKS["caption"], options=QUICK).raw

    threads = [threading.Thread(target=ask, args=(s,)) for s in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


def test_drawing_at_random_repeats_with_its_seed(nano):
    options = Options(max_new_tokens=12, num_beams=1, do_sample=True, temperature=2.0, seed=7)
    first = nano.predict(picture(), TASKS["caption"], options=options).raw
    assert nano.predict(picture(), TASKS["caption"], options=options).raw == first


@pytest.mark.parametrize("text", ["OPEN 24h", "café", "中文 é", "a\nb", "🔎"])
def test_pieces_keep_characters_that_span_tokens(nano, text):
    tokenizer = nano.loaded.processor.tokenizer
    ids = tokenizer(f"{text}<loc_7><sep>", add_special_tokens=False)["input_ids"]
    pieces = Cutter(tokenizer)(ids, [-0.5] * len(ids))
    assert "".join(p.text for p in pieces) == f"{text}<loc_7><sep>"
    assert pieces[-2].loc == 7
    assert sum(len(p.logprobs) for p in pieces) == len(ids)


# -- the cache of engines -------------------------------------------------------------------


@pytest.fixture
def loads(monkeypatch):
    names: list[str] = []

    def find(spec, *_):
        if spec.name == "owner/missing":
            raise CheckpointError("not here")
        return SimpleNamespace(spec=spec, base=None)

    monkeypatch.setattr(engine_cache, "find", find)
    monkeypatch.setattr(engine_cache, "load", lambda found, *_: names.append(found.spec.name))
    monkeypatch.setattr(engine_cache, "Engine", lambda loaded, tally: object())
    return names


def test_a_model_is_loaded_once(loads):
    cache = EngineCache()
    assert cache.get("base") is cache.get("base")
    assert loads == ["base"]


def test_the_model_used_longest_ago_goes_and_nano_stays(loads):
    cache = EngineCache(max_models=1)
    nano, base = cache.get("nano"), cache.get("base")
    large = cache.get("large")
    assert cache.loaded() == [nano, large]
    assert base not in cache.loaded()


def test_a_load_that_fails_leaves_the_others(loads):
    cache = EngineCache()
    base = cache.get("base")
    with pytest.raises(CheckpointError):
        cache.get("owner/missing")
    assert cache.loaded() == [base]


def test_a_dropped_model_is_loaded_again(loads):
    cache = EngineCache()
    cache.get("base")
    assert cache.drop("base")
    assert not cache.drop("base")
    cache.get("base")
    assert loads == ["base", "base"]


def test_a_folder_that_was_written_anew_is_loaded_anew(loads, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"first")
    cache, spec = EngineCache(), spec_at(tmp_path)
    first = cache.get(spec)
    assert cache.get(spec) is first
    weights.write_bytes(b"learned further")
    assert cache.get(spec) is not first
    second = cache.get(spec)
    assert cache.loaded() == [second]
    weights.unlink()
    tmp_path.rmdir()
    assert cache.get(spec) is second, "a model in memory needs its folder no more"


def test_pictures_with_other_colours_are_others():
    red, blue = (Image.new("P", (4, 4)) for _ in range(2))
    red.putpalette([255, 0, 0])
    blue.putpalette([0, 0, 255])
    assert fingerprint(red) != fingerprint(blue)
    assert fingerprint(red) == fingerprint(red.convert("RGB"))


def test_no_question_has_no_answer(nano):
    assert nano.predict_batch([]) == []


Q = "model.language_model.decoder.layers.0.self_attn.q_proj"
"""Packed for speed when the engine starts, so that a change of it alone would go unseen."""


def adapter(folder: Path, module: str, seed: int) -> str:
    folder.mkdir()
    config = json.loads((Path(MODELS["nano"].source) / "config.json").read_text())
    width = config["text_config"]["d_model"]
    draw = torch.Generator().manual_seed(seed)
    tensors = {
        f"base_model.model.{module}.lora_{part}.weight": torch.randn(shape, generator=draw)
        for part, shape in (("A", (2, width)), ("B", (width, 2)))
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": "nano",
        "r": 2,
        "lora_alpha": 2,
        "target_modules": ["q_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return str(folder)


@pytest.fixture
def adapters(tmp_path) -> list[str]:
    return [adapter(tmp_path / str(i), Q, seed=i) for i in range(2)]


def test_adapters_of_one_base_are_exchanged_without_reading_it_again(adapters, monkeypatch):
    loads = []
    load = engine_cache.load
    monkeypatch.setattr(
        engine_cache, "load", lambda found, *how: loads.append(str(found.spec)) or load(found, *how)
    )
    cache, image = EngineCache(), picture(5)
    first = cache.get(adapters[0])
    said = [
        cache.get(a).predict(image, TASKS["od"], options=QUICK) for a in [*adapters, adapters[0]]
    ]
    assert loads == [adapters[0]]
    assert len(cache.loaded()) == 1
    assert said[0].raw == said[2].raw
    alone = Engine(load_model(adapters[1])).predict(image, TASKS["od"], options=QUICK)
    assert said[1].raw == alone.raw != said[0].raw
    assert said[1].model == alone.model
    with pytest.raises(InputError, match="load it again"):
        first.predict(image, TASKS["od"], options=QUICK)


def test_in_int8_another_adapter_is_loaded_anew(tmp_path):
    encoder = Q.replace("decoder", "encoder")
    adapters = [adapter(tmp_path / str(i), encoder, seed=i) for i in range(2)]
    cache, image = EngineCache(dtype="int8", device="cpu"), picture(5)
    said = [cache.get(a).predict(image, TASKS["od"], options=QUICK).raw for a in adapters]
    alone = Engine(load_model(adapters[1], dtype="int8", device="cpu"))
    assert said[1] == alone.predict(image, TASKS["od"], options=QUICK).raw
    assert len(cache.loaded()) == 1


def test_an_exchange_that_breaks_afterwards_leaves_no_dead_engine(adapters, monkeypatch):
    cache, image = EngineCache(), picture(5)
    before = cache.get(adapters[0]).predict(image, TASKS["od"], options=QUICK).raw
    usual = engine_module.Familiarity.load

    def fail(*_args):
        raise OSError("the disk is gone")

    monkeypatch.setattr(engine_module.Familiarity, "load", fail)
    with pytest.raises(OSError, match="disk"):
        cache.get(adapters[1])
    monkeypatch.setattr(engine_module.Familiarity, "load", usual)
    assert cache.get(adapters[0]).predict(image, TASKS["od"], options=QUICK).raw == before


def test_an_adapter_may_be_unloaded_while_another_takes_its_place(adapters, monkeypatch):
    cache = EngineCache()
    cache.get(adapters[0])
    switch = engine_cache.switch_model

    def meanwhile(*args, **kwargs):
        assert not cache.drop(adapters[0]), "it is being exchanged already"
        return switch(*args, **kwargs)

    monkeypatch.setattr(engine_cache, "switch_model", meanwhile)
    second = cache.get(adapters[1])
    assert cache.loaded() == [second]


def test_an_adapter_that_does_not_fit_leaves_the_one_in_use(adapters, tmp_path):
    cache, image = EngineCache(), picture(5)
    engine = cache.get(adapters[0])
    before = engine.predict(image, TASKS["od"], options=QUICK).raw
    with pytest.raises(CheckpointError, match="weights that the model has not"):
        cache.get(adapter(tmp_path / "bad", "model.nowhere.q_proj", 3))
    assert cache.get(adapters[0]) is engine
    assert engine.predict(image, TASKS["od"], options=QUICK).raw == before


def test_large_pictures_are_prepared_one_by_one_and_answered_alike(nano, monkeypatch):
    requests = [request("od", picture(seed)) for seed in (91, 92, 93)]
    prepared: list[int] = []
    real = nano.loaded.processor.image_processor

    def counted(images, **kwargs):
        prepared.append(len(images))
        return real(images=images, **kwargs)

    monkeypatch.setattr(nano.loaded.processor, "image_processor", counted)
    answers = []
    for large in (engine_module.LARGE, 1):
        monkeypatch.setattr(engine_module, "LARGE", large)
        monkeypatch.setattr(nano, "_features", FeatureCache())
        answers.append([found.raw for found in nano.predict_batch(requests, QUICK)])
    assert prepared == [3, 1, 1, 1]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(("task", "told"), [("od", True), ("ocr", False)])
def test_a_location_that_is_no_bin_is_told(nano, monkeypatch, task, told):
    tokenizer = nano.loaded.processor.tokenizer
    ids = tokenizer("cat<loc_100><loc_200><loc_1000><loc_400>")["input_ids"]
    answer = Generated((2, *ids), (0.0,) * (len(ids) + 1), False)
    monkeypatch.setattr(nano._decoder, "decode", lambda *_, **__: [answer])
    found = nano.predict(Image.new("RGB", (100, 100)), task_named(task))
    assert ("<loc_999>" in " ".join(found.notices)) is told
    assert "<loc_1000>" in found.raw
    if told:
        assert found.detections.labels == ("cat",)
        assert found.detections.xyxy[0].tolist() == pytest.approx([10.05, 20.05, 99.95, 40.05])


def test_a_batch_without_listeners_tells_that_it_goes_on(nano, monkeypatch):
    began, seen = time.monotonic(), []
    usual = nano._decoder.encode_image

    def encode(pixels, *, before_block):
        def block() -> None:
            before_block()
            seen.append(nano.moved)

        return usual(pixels, before_block=block)

    monkeypatch.setattr(nano, "_features", FeatureCache())
    monkeypatch.setattr(nano._decoder, "encode_image", encode)
    nano.predict(picture(7), TASKS["caption"], options=QUICK)
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[0] >= began
