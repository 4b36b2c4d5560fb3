"""What a page remembers in the browser, and finds again when it is loaded anew.

Knows what is remembered and where it is set. What a browser kept is a stranger's word: whatever of
it does not fit is left out, and the page stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.pictures.images import file_of
from florence_demo.serving.asking import Service
from florence_demo.serving.conversation import new_name
from florence_demo.serving.questions import ASKING, Press
from florence_demo.tasks import task_named
from florence_demo.ui.ask_layout import Surface
from florence_demo.ui.ask_tab import inputs_of
from florence_demo.ui.conversation import PRESS, outputs_of
from florence_demo.ui.handlers import friendly
from florence_demo.ui.numbers import Number, Slider
from florence_demo.ui.pickers import LATEST, QUIET

_LETTERS = 4000
_SECRET = "florence-demo"  # none: it lies in the browser beside what it locks
# A link that was followed says what is asked; on a page that is loaded anew it is old.
_KEPT = f"""
kept => {{
  const how = performance.getEntriesByType('navigation')[0]?.type;
  const linked = how === 'navigate' && location.hash.includes('?');
  const {{name, picture}} = kept || {{}};
  return ({PRESS})(linked ? {{name, picture}} : kept);
}}
"""
_GONE = "The picture that was here is no longer on this server: put it in again."


@dataclass(frozen=True, eq=False)
class Setting:
    """Hold one thing that a person sets.

    Attributes:
        name: What it is called where it is kept, and in links.
        component: Holds its value.
        checked: From what came from outside to a value; raises ValueError or one of ours.
    """

    name: str
    component: Any
    checked: Callable[[Any], Any]


def settings_of(service: Service, surface: Surface) -> list[Setting]:
    """Return what a person sets on a surface: task, words, model and how answers are searched."""
    q = surface.question
    found = [
        Setting("task", q.menu, lambda value: task_named(str(value)).name),
        Setting("words", q.words, lambda value: str(value)[:_LETTERS]),
    ]
    if surface.model.render:
        found.append(Setting("model", surface.model.component, lambda v: _model(service, v)))
    for name, component in vars(q.search).items():
        found.append(Setting(name, component, _check_of(component)))
    return found


def applied(settings: list[Setting], given: Mapping[str, Any]) -> list[Any]:
    """Return what sets each setting to what came from outside; what does not fit is left out.

    Args:
        settings: As ``settings_of`` returns them.
        given: By their names.
    """
    updates = []
    for setting in settings:
        update = gr.skip()
        if setting.name in given:
            with suppress(FlorenceDemoError, ValueError, TypeError, OverflowError):
                update = gr.update(value=setting.checked(given[setting.name]))
        updates.append(update)
    return updates


def connect_settings(service: Service, app: gr.Blocks, surface: Surface) -> None:
    """Remember a surface's settings, picture and cards, and bring them back on a new load.

    Args:
        service: The page's.
        app: The page.
        surface: The surface.
    """
    q, answer = surface.question, surface.answer
    settings = settings_of(service, surface)
    components = [setting.component for setting in settings]
    key = f"fd-{surface.api}"
    kept = gr.BrowserState({}, storage_key=key, secret=_SECRET)
    loaded = app.load(
        _restorer(service, surface, settings),
        kept,
        [*components, q.picture, q.picker, *answer.followed],
        js=_KEPT,
        **QUIET,
    )
    inputs_of(surface).switch_after(loaded.then)
    # What stands at first would else be kept in the place of what is still to be brought back.
    loaded.then(None, None, None, js=f"() => {{ (window.fdLoaded ||= {{}})['{key}'] = true; }}")
    names = [setting.name for setting in settings]
    remember = (
        f"(kept, picture, cards, ...values) => {{ if (!window.fdLoaded?.['{key}']) return kept;"
        " const path = picture && picture.path; const told = {picture: path || null,"
        " name: (cards && cards.name) || ''};"
        f" {names}.forEach((name, i) => {{ told[name] = values[i]; }}); return told; }}"
    )
    changes = [each.change for each in (*components, q.picture, answer.cards)]
    gr.on(changes, None, [kept, q.picture, answer.cards, *components], kept, js=remember, **LATEST)


def _restorer(
    service: Service, surface: Surface, settings: list[Setting]
) -> Callable[[Any], tuple[Any, ...]]:
    @friendly
    def restore(kept: Any) -> tuple[Any, ...]:
        given = kept if isinstance(kept, dict) else {}
        press = surface.answer.cards.preprocess(given)
        return (*applied(settings, given), *_brought_back(service, surface, given, press))

    return restore


def _brought_back(
    service: Service, surface: Surface, given: Mapping[str, Any], press: Press | None
) -> tuple[Any, ...]:
    """Return the picture, the canvas, what the pane shows, and the cards."""
    skip = gr.skip()
    talk = service.conversations.find(press.conversation) if press else None
    picture, canvas, pane, forms = skip, skip, skip, (skip, skip, skip)
    # Cards that are still to come have a name already, which nobody else knows.
    cards = talk.told(press.page) if talk and press else {"name": new_name()}
    if not given.get("picture"):
        return picture, canvas, pane, *forms, cards
    try:
        payload = ImageData(path=str(given["picture"]))
        image = surface.question.picture.preprocess(payload)
        assert image is not None
        canvas, pane = service.prepare(image)
        file = file_of(image)
        picture = str(file)
        card = talk.newest() if talk else None
        about = card.picture.file if card and card.picture else None
        # An answer that another load of the page still waits for comes to its card alone.
        if press and talk and card and about == file and card.state != ASKING:
            pane, parsed, raw, found, cards = outputs_of(talk, press, card)
            forms = (parsed, raw, found)
    except InputError:
        pane = {"hint": _GONE}
    return picture, canvas, pane, *forms, cards


def _model(service: Service, value: Any) -> str:
    service.check_model(value)
    return str(value)


def _check_of(component: Any) -> Callable[[Any], Any]:
    """Return what checks a value for a component of the search."""
    if isinstance(component, gr.Checkbox):
        return bool
    if not isinstance(component, Slider | Number):
        raise ValueError(f"a checkbox, a slider or a number expected, got {component}")
    low, high = (component.minimum, component.maximum)

    def check(value: Any) -> float:
        number = float(value)
        if not math.isfinite(number) or not (low or 0) <= number <= (high or 1 << 53):
            raise ValueError(f"a number between {low} and {high} expected, got {value!r}")
        return int(number) if number.is_integer() else number

    return check
