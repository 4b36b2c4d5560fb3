"""The page's words: each is there in every language, with the same values in it."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.data.chosen import Data
from florence_demo.data.forms import DEMO_FORMS
from florence_demo.data.reading import open_data
from florence_demo.data.source import DataSource
from florence_demo.evaluation.evaluate import EvaluateConfig, evaluate
from florence_demo.models.catalogue import ASSETS
from florence_demo.serving.asking import Service, load_examples
from florence_demo.training.config import TrainConfig
from florence_demo.ui import AppConfig, build_app
from florence_demo.ui.checkpoint_card import NOTHING, Now, checkpoint_card, nothing_card
from florence_demo.ui.languages import LANGUAGES, WORDS, for_launch, mark, marked, plain, tables
from florence_demo.ui.report_panel import (
    failed_panel,
    progress_panel,
    report_panel,
    stopped_panel,
)
from florence_demo.ui.run_panel import run_panel, runs_panel
from florence_demo.ui.train_advice import cost_card
from florence_demo.ui.train_samples import Looking, shown
from tests.fakes import FakeEngine, FakeEngines
from tests.run_makers import finished_run

PACKAGE = Path(__file__).resolve().parents[2] / "florence_demo"
TABLES = {name: tables()[name] for name in LANGUAGES if name != "en"}
VALUE = re.compile(r"\{(\w+)\}")

HELDOUT = DataSource("heldout", str(ASSETS / "heldout"))

FORMS = {
    "en": {"one", "other"},
    "de": {"one", "other"},
    "fr": {"one", "other"},
    "es": {"one", "other"},
    "zh": {"other"},
}
"""The forms by number that each language has, where they are not those of a million."""

SAME = {
    "https://…", "1-5,9", "owner/name, or owner/name@revision", "HuggingFaceM4/DocumentVQA",
    "fp32", "bf16", "fp16", "JSON", "Markdown", "#",
}  # fmt: skip
"""What is the same in every language."""

GRADIOS = {
    "Error", "Upload file", "Capture from camera", "Paste from clipboard", "More tabs",
    "Click to upload or drop files", "Drop an image file here to upload", "Reset to default value",
    "Empty value", "number input for {}", "range slider for {}",
    "Invalid file type: {}. Only image/* allowed.", "Invalid file types: {}. Only image/* allowed.",
    "Invalid file type: {}. Only {} allowed.", "Invalid file types: {}. Only {} allowed.",
}  # fmt: skip
"""Those that gradio has in English alone."""


PIECED = {"{} regions", "{} region", "{} outlines", "{} outline"}
"""Those that ``Prediction.sentence`` puts together of little more than values."""

each_language = pytest.mark.parametrize("language", TABLES)


def _texts(words) -> list[str]:
    return [words] if isinstance(words, str) else list(words.values())


class _Texts(HTMLParser):
    """Collect the texts and the labels of a skeleton."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.found += [named[a] for a in _LABELS if named.get(a)]

    def handle_data(self, data):
        self.found.append(data.strip())


class _Ours(HTMLParser):
    """Collect the texts and the labels that a page marks as ours, and all others."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.others: list[str] = []
        self._open: list[tuple[str, bool]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        inside = self._inside() or ("data-words" in named and named["data-words"] != "label")
        labels = [named[a] for a in _LABELS if named.get(a)]
        (self.found if inside or "data-words" in named else self.others).extend(labels)
        self._open.append((tag, inside))

    def handle_endtag(self, tag):
        # What has no end, such as <img>, ends with what is around it.
        while any(tag == each for each, _ in self._open) and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        (self.found if self._inside() else self.others).append(data.strip())

    def _inside(self) -> bool:
        return bool(self._open) and self._open[-1][1]


_LABELS = ("aria-label", "aria-valuetext", "title", "placeholder", "alt")


def _constants(path: Path) -> list[str]:
    """Return the texts in a file of Python, "{}" where values are put in."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def _in_scripts(pattern: str) -> list[str]:
    scripts = (PACKAGE / "ui" / "js").glob("*.js")
    return [text for path in scripts for text in re.findall(pattern, path.read_text("utf-8"))]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("words") / "checkpoints"
    config = AppConfig(model="nano", checkpoints=root, data=root.with_name("data"))
    return plain(build_app(service=Service(config, FakeEngines())).get_config_file())


@pytest.fixture(scope="module")
def sources(config) -> set[str]:
    """Every text of the sources that may be one of the page's words."""
    texts = [text for path in PACKAGE.rglob("*.py") for text in _constants(path)]
    found = {text for html in texts if "<" in html for text in _Texts(html).found}
    found |= set(_in_scripts(r"'([^'\n]*)'")) | {row["title"] for row in load_examples()}
    found |= _spoken(config)
    # A name at the beginning of a choice is written with a capital letter there.
    return {each for text in (*found, *texts) for each in (text, text[:1].upper() + text[1:])}


def _spoken(config) -> set[str]:
    """Return what the page's components say at first."""
    found: set[str] = set()
    for component in config["components"]:
        if component["type"] == "api":
            continue
        props, kind = component["props"], component["type"]
        names = ["info", "placeholder", "submit_btn", *(() if kind == "html" else ("label",))]
        names += ["value"] if kind in ("button", "markdown") else []
        found |= {props[n] for n in names if isinstance(props.get(n), str)}
        found |= {choice[0] for choice in props.get("choices") or ()}
        for html in (props.get("html_template"), props.get("value")):
            if isinstance(html, str) and "data-words" in html:
                found |= set(_Ours(html).found)
    return {text for text in found if text not in SAME and re.search(r"[^\W\d_]{2}", text)}


@each_language
def test_every_language_has_the_same_words(language):
    assert list(TABLES[language]) == list(TABLES["de"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_table_is_written_once_and_as_text(language):
    pairs: list[str] = []
    file = WORDS / f"{language}.json"
    json.loads(file.read_text("utf-8"), object_pairs_hook=lambda p: pairs.extend(k for k, _ in p))
    words = [p for p in pairs if p not in ("one", "other")]
    assert len(words) == len(set(words)), "one of the words stands there twice"
    for source, said in tables()[language].items():
        assert all(text == text.strip() != "" for text in _texts(said)), source
        assert not any("<" in text for text in _texts(said)) or "<" in source, source
        if not isinstance(said, str):
            assert set(said) == FORMS[language], source


@each_language
def test_the_same_values_are_in_each(language):
    for source, said in TABLES[language].items():
        for text in _texts(said):
            assert sorted(VALUE.findall(text)) == sorted(VALUE.findall(source)), source


@each_language
def test_a_sentence_ends_as_it_does_in_english(language):
    for source, said in TABLES[language].items():
        for text in _texts(said):
            assert (source[-1] in ".!?…") == (text[-1] in ".!?…。？！"), source


def _shape(words: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, VALUE.sub("{}", words).split("{}"))))


def _has(shapes: list[re.Pattern[str]], words: str) -> bool:
    return any(shape.fullmatch(words) for shape in shapes)


def test_no_value_is_one_of_the_words_that_gradio_knows(config):
    """It takes such a value for words too, and gives it in another language another name."""
    words = set(for_launch()["i18n"].translations["de"])
    assert {"Data", "Steps"} <= words
    assert not words & {"forms", "upload", "steps", "nano", "my-data"}
    for component in config["components"]:
        props = component["props"]
        if component["type"] in ("button", "downloadbutton", "markdown"):
            continue
        values = [props.get("value"), *(choice[1] for choice in props.get("choices") or ())]
        assert not words & {value for value in values if isinstance(value, str)}, component["type"]


def test_every_word_of_the_components_is_in_the_tables(config):
    forms = [_shape(words) for words in TABLES["de"] if VALUE.search(words)]
    unknown = [t for t in _spoken(config) - set(TABLES["de"]) if not _has(forms, t)]
    assert "\n".join(sorted(unknown)) == ""


def test_every_word_of_the_scripts_is_in_the_tables():
    said = _in_scripts(r"fd\.(?:say|tell)\(\s*'([^'\n]+)'")
    # What is no name of a thing in the page's language, but a sentence or a phrase.
    said += [t for t in _in_scripts(r"'([A-Z][^'\n]* [^'\n]*)'") if "<" not in t]
    assert said
    assert "\n".join(sorted(set(said) - set(TABLES["de"]))) == ""


def test_no_word_is_left_over(sources):
    exact = {VALUE.sub("{}", text) for text in sources} | PIECED | GRADIOS
    # "{}, and where" says which words are made by it; one of values alone says nothing.
    made = [_shape(t) for t in exact if "{}" in t and len(t.replace("{}", "")) >= 4]
    unused = [w for w in TABLES["de"] if VALUE.sub("{}", w) not in exact and not _has(made, w)]
    assert "\n".join(unused) == ""


def _panels(tmp_path: Path) -> Iterator[str]:
    """Yield what the server draws of runs, models and measurements."""
    root = tmp_path / "checkpoints"
    yield nothing_card(root)
    yield nothing_card(root, training=False)
    told = {"before": {"custom/anls": 0.1, "other od/accuracy": 0.9}, "measured": 3}
    for name, more in (
        ("done", {}),
        ("early", {"steps": 40, "after": {"custom/anls": 0.05, "custom/cer": 0.5}, **told}),
        ("live", {"state": "training", "pid": os.getpid(), "seconds_left": 90.0}),
        ("stopped", {"state": "stopped", "step": 1, "steps": 1, "message": "Waking up"}),
    ):
        run = finished_run(root / name, **more)
        yield run_panel(run)
        yield runs_panel([run])
        for now in (NOTHING, Now("Loaded: ask it below.", "Loaded as nano, fp32, cpu, 18 MB.")):
            yield checkpoint_card(inspect_checkpoint(run.folder), run, now=now)
            yield checkpoint_card(inspect_checkpoint(run.folder), None, now=now)
    yield from (progress_panel(0, 0, "Opening the data"), progress_panel(3, 9, "Asking"))
    yield from (stopped_panel(), failed_panel())
    for count, failures in ((1, ()), (20, ("a row",))):
        found = evaluate(FakeEngine(), open_data(HELDOUT, limit=count), EvaluateConfig("nano"))
        yield report_panel(replace(found, data="forms", failures=failures))
    for rows in (None, 100):
        yield cost_card(TrainConfig(model="nano", steps=20), rows)
    yield shown(Looking(), Data(DEMO_FORMS, "forms", rows=9))


def test_every_word_of_the_panels_is_in_the_tables(tmp_path):
    forms = [_shape(words) for words in TABLES["de"] if VALUE.search(words)]
    pages = [_Ours(html) for html in _panels(tmp_path)]
    known = set(TABLES["de"]) | {w[:1].upper() + w[1:] for w in TABLES["de"]}
    said = {text for page in pages for text in page.found if re.search(r"[^\W\d_]{2}", text)}
    said = {text for text in said if not _AMOUNT.fullmatch(text)}
    assert "\n".join(sorted(t for t in said - known - SAME if not _has(forms, t))) == ""
    # What is not marked is data, such as a form's answer, or the field's name of a number.
    others = {text for page in pages for text in page.others if text in known}
    assert others <= {"forms", "medium"}


_AMOUNT = re.compile(r"[\d.,]+( [kMG]?B| (second|minute|hour|day)s?|%)?")


def test_words_are_marked_for_gradio_and_come_back():
    props = {"label": "Care", "info": "A stranger's", "choices": [("Short description", "caption")]}
    mark(props, "dropdown")
    assert props["label"].startswith("__i18n__")
    assert props["info"] == "A stranger's"
    assert props["choices"][0][1] == "caption"
    assert plain(props["label"]) == "Care"
    assert plain([{"label": props["choices"][0][0]}]) == [{"label": "Short description"}]


@pytest.mark.parametrize("value", ["Ask", {"a": 1}, None, 3], ids=str)
def test_values_are_nobodys_words_but_their_owners(value):
    props = {"value": value}
    mark(props, "textbox")
    assert props == {"value": value}


def test_words_with_values_in_them_are_not_gradios():
    # Gradio would put nothing in.
    assert marked("{n} pictures") == "{n} pictures"
