"""What a question's steps show on the page."""

from __future__ import annotations

from florence_demo.serving.asking import Service
from florence_demo.serving.questions import Asked, Press
from florence_demo.tasks import TASKS
from florence_demo.ui import AppConfig
from florence_demo.ui.conversation import followed
from tests.fakes import FakeEngines


def test_pane_and_cards_are_told_again_at_the_end():
    """Of two values that come at once gradio may keep the older one."""
    service = Service(AppConfig(model="nano"), FakeEngines())
    asked = Asked.of(TASKS["caption"], "", None)
    told = iter([({"sentence": "A dog."}, ())])
    *steps, last = followed(service, Press("", "a page", 1), None, asked, told)
    assert last[0] == steps[-1][0]
    assert [len(step["cards"]) for *_, step in (*steps[:1], last)] == [1, 1]
