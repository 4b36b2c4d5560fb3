"""Whether a better model is offered for a picture, before a question is asked about it."""

from __future__ import annotations

import pytest
from PIL import Image

from florence_demo.engine.notices import UNFAMILIAR
from florence_demo.engine.request import Options
from florence_demo.models.catalogue import MODELS, ModelSpec
from florence_demo.serving.asking import EXAMPLES, Service, load_examples
from florence_demo.serving.config import AppConfig
from florence_demo.serving.offering import offer_for
from florence_demo.tasks import TASKS
from tests.fakes import FakeEngine, FakeEngines

DRAWN, STRANGE = Image.new("RGB", (400, 300), "teal"), Image.new("RGB", (401, 300), "teal")


@pytest.fixture
def service() -> Service:
    engine = FakeEngine()
    engine.strange = [STRANGE.size]
    return Service(AppConfig(model="nano"), FakeEngines(engine))


CASES = {
    "a drawing": (DRAWN, "nano", False),
    "a photograph": (STRANGE, "nano", True),
    "a photograph, and a model that knows them": (STRANGE, "base-ft", False),
    "no picture": (None, "nano", False),
}


@pytest.mark.parametrize(("image", "model", "offered"), CASES.values(), ids=CASES)
def test_a_better_model_is_offered_where_nano_does_not_know_the_picture(
    service, image, model, offered
):
    offer = offer_for(service, image, MODELS[model])
    assert (offer is not None) == offered
    if offer:
        assert offer.model == MODELS["base-ft"]
        assert "nano knows drawn scenes only" in offer.words
        assert service.engines.engine.asked == [], "nothing was asked for it"


@pytest.mark.parametrize(
    ("here", "button"), [(False, "Use base-ft (0.5 GB)"), (True, "Use base-ft")]
)
def test_the_size_is_told_where_it_must_be_fetched(service, monkeypatch, here, button):
    seen = []

    def in_cache(source: str, revision: str | None) -> bool:
        seen.append((source, revision))
        return here

    monkeypatch.setattr("florence_demo.serving.offering.in_cache", in_cache)
    offer = offer_for(service, STRANGE, MODELS["nano"])
    assert offer is not None
    assert offer.button == button
    base: ModelSpec = MODELS["base-ft"]
    assert seen == [(base.source, base.revision)]


def test_a_gpu_that_is_lent_is_not_asked_for_a_look(service, monkeypatch):
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    assert offer_for(service, STRANGE, MODELS["nano"]) is None


def test_nano_knows_its_examples_and_no_noise_and_looks_once(nano, monkeypatch):
    rows = {row["file"]: row for row in load_examples()}
    known = [Image.open(EXAMPLES / file) for file in rows]
    assert sum(map(nano.knows, known)) >= len(known) - 1
    noise = Image.effect_noise((300, 200), 120).convert("RGB")
    passes = []
    encode = nano._decoder.encode_image
    monkeypatch.setattr(
        nano._decoder,
        "encode_image",
        lambda *args, **how: passes.append(1) or encode(*args, **how),
    )
    assert not nano.knows(noise)
    found = nano.predict(noise, TASKS["caption"], options=Options(4, 1))
    assert passes == [1], "the question finds what was seen"
    assert UNFAMILIAR in found.notices


def test_a_model_that_cannot_tell_knows_everything(nano, monkeypatch):
    monkeypatch.setattr(nano, "_familiarity", None)
    assert nano.knows(Image.effect_noise((300, 200), 120).convert("RGB"))
