"""The cards of what was asked, and what happens when one is picked or a question is stopped.

Knows the browser and the events. What is kept of a question is ``serving.conversation``'s business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from PIL import Image

from florence_demo.errors import InputError
from florence_demo.serving.asking import Service
from florence_demo.serving.conversation import Conversation
from florence_demo.serving.questions import GONE, Asked, Card, Press, Shown
from florence_demo.tasks import TASKS
from florence_demo.ui.components import Skeleton, read_script, said_by
from florence_demo.ui.handlers import friendly

_LETTERS = 64


class Cards(Skeleton):
    """Show what was asked and answered, the newest first.

    Its value is what ``Conversation.told`` returns. It triggers ``pick`` with a card's ``id`` and
    whether its picture is ``here``, on the canvas, and ``look`` while a card waits for its answer.
    To handlers it says which press of which page it was.

    Args:
        keyed: Whether programs need a key.
    """

    def __init__(self, *, keyed: bool = False, **kwargs: Any) -> None:
        html = (
            '<section class="fd-talk" data-words aria-label="Asked so far" hidden>'
            '<h3>Asked so far</h3><div class="fd-talk-list"></div></section>'
        )
        calls = read_script("calls.js").replace("__KEYED__", json.dumps(keyed))
        script = read_script("answers.js") + calls + read_script("conversation.js")
        super().__init__(html, script, label="Asked so far", **kwargs)

    def preprocess(self, payload: Any) -> Press | None:
        """Return which press of which page it is, None where none is told."""
        return press_of(payload)


class Pressed(gr.State):
    """Say which press of which page a question is, to handlers that programs ask too.

    Programs leave states out, so to them there is nothing to give. Nothing is kept in it: what a
    page sends in its place is what counts.
    """

    def get_block_name(self) -> str:
        """Name the component that clients leave out."""
        return "state"

    @property
    def stateful(self) -> bool:
        """Whether the server keeps its value."""
        return False

    def preprocess(self, payload: Any) -> Press | None:
        """Return which press of which page it is, None for a program."""
        return press_of(payload)


def press_of(payload: Any) -> Press | None:
    """Return what a page says of a press, None where it says nothing that makes sense."""
    given = payload if isinstance(payload, dict) else {}
    name, page, number = given.get("name", ""), given.get("page"), given.get("asked", 0)
    texts = (name, page)
    if not all(isinstance(each, str) and len(each) <= _LETTERS for each in texts) or not page:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 53:
        return None
    return Press(name, page, number)


PRESS = (
    "cards => { const last = window.fdPress ? window.fdPress.asked : 0;"
    " window.fdPage ||= Math.random().toString(36).slice(2);"
    " window.fdPress = {name: (cards || {}).name || '', page: window.fdPage,"
    " asked: Math.max(Date.now(), last + 1)}; return {...cards, ...window.fdPress}; }"
)
"""Counts a press, after which nothing of those before holds the pane."""

SAY = "({name, page, asked} = {}) => ({name, page, asked})"
"""Says which press it is, without what the cards hold."""

SAY_PRESS = f"cards => ({SAY})(({PRESS})(cards))"
SAY_LAST = "(...values) => [...values.slice(0, -1), window.fdPress]"


def followed(
    service: Service,
    press: Press | None,
    image: Image.Image | None,
    question: Asked,
    told: Iterator[tuple[dict[str, Any], Sequence[Shown]]],
) -> Iterator[tuple[Any, ...]]:
    """Yield what each step of a question shows: the pane, other forms, the answer, the cards.

    Args:
        service: The page's.
        press: Where the question comes from, None for a program.
        image: The picture.
        question: The question as it is read.
        told: As ``Conversation.follow`` takes it.
    """
    talk = service.conversations.of(press)
    kept = service.kept(image, talk) if press else None
    steps = talk.follow(press or Press("", "", 0), question, kept, told)
    skip = pane = gr.skip()
    try:
        for step in steps:
            pane = pane if step.pane is None else step.pane
            cards = skip if step.cards is None or press is None else step.cards
            if step.pane is None:
                yield skip, skip, skip, skip, cards
            elif not step.answers:
                yield step.pane, skip, skip, skip, cards
            else:
                yield step.pane, *forms_of(step.answers), cards
    finally:
        steps.close()
    if press is not None:
        # Where two values come at once, gradio may keep the older one: the pane and the cards are
        # told again, and know by their numbers what is newer. What has none is not repeated.
        yield pane, skip, skip, skip, talk.told(press.page)


def forms_of(answers: Sequence[Shown]) -> tuple[Any, ...]:
    """Return answers parsed, as the model wrote them, and the one that can be taken home."""
    parsed = {word: each for _, found in answers for word, each in found.parsed.items()}
    if len(answers) == 1:
        return parsed, answers[0][1].raw, answers[0][1]
    raw = "\n".join(f"{TASKS[found.task].token} {found.raw}" for _, found in answers)
    return parsed, raw, None


def outputs_of(talk: Conversation, press: Press, card: Card) -> tuple[Any, ...]:
    """Return a card as it is shown in the pane, and let it hold the pane."""
    talk.show(press, card)
    found, pane = card.found, {**card.pane(), "asked": press.number}
    forms = (None, card.words, None) if found is None else (found.parsed, found.raw, found)
    return pane, *forms, talk.told(press.page)


def picker(service: Service) -> Callable[..., tuple[Any, ...]]:
    """Return what shows a card again; its outputs are the picture, the canvas, then the answer's.

    A card of another picture brings that one back, if it still lives.
    """

    @friendly
    def pick(press: Press | None, event: gr.EventData) -> tuple[Any, ...]:
        talk = service.conversations.find(press.conversation) if press else None
        card = talk.card(said_by(event, "id")) if talk else None
        if press is None or talk is None or card is None:
            raise InputError("This card is no longer here: ask again.")
        pane, parsed, raw, found, cards = outputs_of(talk, press, card)
        kept, here = card.picture, said_by(event, "here") is True
        if kept is None or here:
            return gr.skip(), gr.skip(), pane, parsed, raw, found, cards
        if not kept.alive:
            pane = {**pane, "overlay": "", "notices": [*pane.get("notices", ()), GONE]}
            return gr.skip(), gr.skip(), pane, parsed, raw, None, cards
        kept.touch(service.scratch.touch)
        canvas = {"picture": kept.copy, "size": list(kept.size), "box": None}
        return str(kept.file), canvas, pane, parsed, raw, found, cards

    return pick


def stopper(service: Service) -> Callable[..., tuple[Any, ...]]:
    """Return what ends a page's question and keeps what was written."""

    @friendly
    def stop(press: Press | None) -> tuple[Any, ...]:
        if press is None:
            return tuple(gr.skip() for _ in range(5))
        talk = service.conversations.of(press)
        card = talk.stop(press.page)
        if card is None:
            # The question may still be on its way here: it comes too late.
            talk.show(press, None)
            return tuple(gr.skip() for _ in range(5))
        return outputs_of(talk, press, card)

    return stop


def looker(service: Service) -> Callable[[Press | None], Any]:
    """Return what tells the cards as they are now."""

    @friendly
    def look(press: Press | None) -> Any:
        talk = service.conversations.find(press.conversation) if press else None
        return talk.told(press.page) if press and talk else gr.skip()

    return look
