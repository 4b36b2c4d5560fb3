"""What a browser remembers is a stranger's word: what fits is set again, and nothing else."""

from __future__ import annotations

import gradio as gr
import pytest
from PIL import Image

from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.questions import Press
from florence_demo.ui.ask_layout import Model, lay_out
from florence_demo.ui.conversation import Cards, picker
from florence_demo.ui.settings import _restorer, applied, settings_of
from tests.fakes import FakeEngines


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    return Service(AppConfig(model="nano", open_hub=False), FakeEngines())


@pytest.fixture
def surface(service):
    with gr.Blocks():
        model = gr.Dropdown(["nano"], render=False)
        return lay_out(Model(model, service.check_model, render=True), "ask", "caption", False)


@pytest.mark.parametrize(
    ("name", "value", "set_to"),
    [
        ("task", "od", "od"),
        ("task", "not-a-task", None),
        ("task", {"a": 1}, None),
        ("words", "a red car", "a red car"),
        ("words", "x" * 9000, "x" * 4000),
        ("model", "base-ft", "base-ft"),
        ("model", "/etc", None),
        ("model", "owner/name", None),
        ("beams", 4, 4),
        ("beams", 4.0, 4),
        ("beams", 99, None),
        ("beams", "many", None),
        ("beams", float("nan"), None),
        ("temperature", 0.5, 0.5),
        ("tokens", 10**400, None),
        ("seed", 7, 7),
        ("seed", None, None),
        ("sample", True, True),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_fits_is_set_again_and_nothing_else(service, surface, name, value, set_to):
    settings = settings_of(service, surface)
    updates = dict(zip((s.name for s in settings), applied(settings, {name: value}), strict=True))
    assert updates.pop(name).get("value") == set_to
    assert all("value" not in update for update in updates.values())


@pytest.mark.parametrize("kept", [None, [], "x", 7, {"picture": 7}, {"picture": {"a": 1}}], ids=str)
def test_what_is_nothing_of_ours_leaves_the_page_as_it_is(service, surface, kept):
    *settings, picture, canvas, pane, parsed, raw, found, cards = _restorer(
        service, surface, settings_of(service, surface)
    )(kept)
    assert all("value" not in each for each in (*settings, picture, canvas, parsed, raw, found))
    assert "value" not in pane
    assert len(cards["name"]) == 24


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/zero", "../secret.png", "gone.png"])
def test_no_picture_but_ones_own_is_brought_back(service, surface, path):
    told = _restorer(service, surface, [])({"picture": path})
    assert told[2]["hint"].startswith("The picture that was here is no longer")
    assert "value" not in told[0]


def test_the_picture_comes_back_while_its_file_lives(service, surface):
    file = service.scratch.keep(b"", "mine.png")
    Image.new("RGB", (400, 300), "teal").save(file)
    picture, canvas, pane, *_ = _restorer(service, surface, [])({"picture": str(file)})
    assert picture == str(file)
    assert canvas["size"] == [400, 300]
    assert pane["hint"].startswith("400 × 300")


@pytest.mark.parametrize(
    "value",
    [
        None, {}, [], "x", {"page": ""}, {"page": 7, "asked": 1}, {"page": "p", "asked": -1},
        {"page": "p", "asked": True}, {"page": "p", "asked": 1.5}, {"page": "p", "asked": 1 << 60},
        {"page": "p" * 65, "asked": 1}, {"page": "p", "asked": 1, "name": ["a"]},
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_what_is_no_press_of_a_page_is_none(value):
    assert Cards().preprocess(value) is None


def test_a_press_is_told_by_the_page():
    given = {"page": "p", "asked": 5, "name": "n", "cards": ["ignored"]}
    assert Cards().preprocess(given) == Press("n", "p", 5)


@pytest.mark.parametrize("data", [None, {}, {"id": "1"}, {"id": [1]}, {"id": 10**30}, 7], ids=str)
def test_a_card_that_is_not_there_is_a_sentence(service, data):
    talk = service.conversations.of(Press("", "page", 1))
    for press in (None, Press("nobody", "page", 1), Press(talk.name, "page", 1)):
        with pytest.raises(gr.Error, match="no longer here"):
            picker(service)(press, gr.EventData(None, data))
