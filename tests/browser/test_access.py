"""Who cannot see, point or read English uses the page too."""

from __future__ import annotations

import re
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from florence_demo.ui.languages import tables
from tests.browser.conftest import quiet

pytestmark = pytest.mark.browser

TABS = ("try", "many", "checkpoints", "compare", "finetune", "evaluate")

GRADIOS: dict[str, tuple[str, str]] = {
    "nested-interactive": (".icon-button", "the button above uploaded files holds another one"),
    "aria-prohibited-attr": (".empty", "the JSON viewer without JSON has a name, but no role"),
}
"""Findings of axe that are gradio's and that no style mends: the selector by rule, and why."""

each_tab = pytest.mark.parametrize("tab", TABS)
each_theme = pytest.mark.parametrize("theme", ["light", "dark"])


@contextmanager
def opened(browser, address: str, **context):
    """A page of its own in some theme, language or size."""
    made = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **context})
    page = made.new_page()
    page.set_default_timeout(60_000)
    theme = context.get("color_scheme", "light")
    with quiet(page):
        page.goto(f"{address}?__theme={theme}")
        page.locator(".fd-example").first.wait_for()
        yield page


def open_tab(page, tab: str) -> None:
    """Open a tab, also where it stands in the menu of those that have no room."""
    found = page.locator(f"[role=tab][data-tab-id={tab}]")
    if not found.count():
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown button").nth(_in_menu(page, tab)).click()
    else:
        found.click()
    expect(page.locator("[role=tabpanel]:visible")).to_have_count(1)


def _in_menu(page, tab: str) -> int:
    return TABS.index(tab) - page.locator("[role=tab]").count()


def open_all(page) -> None:
    """Open what is folded in the tab that is shown."""
    closed = page.locator("[role=tabpanel]:visible .label-wrap:not(.open)")
    while closed.count():
        before = closed.count()
        closed.first.click()
        expect(closed).to_have_count(before - 1)


def findings(page) -> list[str]:
    """Return what axe finds serious or critical that is not among gradio's own."""
    found = []
    for rule in Axe().run(page).response["violations"]:
        if rule["impact"] not in ("serious", "critical"):
            continue
        selector, _ = GRADIOS.get(rule["id"], ("", ""))
        for node in rule["nodes"]:
            target = node["target"][0]
            if selector and page.locator(target).first.evaluate("(n, s) => n.matches(s)", selector):
                continue
            found.append(f"{rule['id']}: {node['html'][:120]} {node['failureSummary'][:200]}")
    return found


@each_theme
def test_axe_finds_nothing_serious(browser, address, theme):
    with opened(browser, address, color_scheme=theme, reduced_motion="reduce") as page:
        for tab in TABS:
            open_tab(page, tab)
            open_all(page)
            assert findings(page) == [], tab


@each_theme
def test_axe_finds_nothing_serious_in_answers(browser, address, theme, picture):
    with opened(browser, address, color_scheme=theme, reduced_motion="reduce") as page:
        page.locator(".fd-example").nth(1).click()
        expect(page.locator(".fd-table tbody tr").first).to_be_visible()
        open_all(page)
        assert findings(page) == []
        open_tab(page, "many")
        panel = page.locator("[role=tabpanel]:visible")
        panel.locator("input[type=file]").set_input_files(picture)
        expect(panel.get_by_text(".png", exact=True)).to_be_visible()
        panel.get_by_role("button", name="Start", exact=True).click()
        expect(panel.locator(".fd-tile")).to_have_count(1)
        expect(panel.get_by_text("Done")).to_be_visible()
        assert findings(page) == []
        page.once("dialog", lambda dialog: dialog.accept())
        panel.get_by_role("button", name="Delete these answers").click()
        expect(panel.locator(".fd-tile")).to_have_count(0)


def presses(page, until: str) -> int:
    """Return how many presses of Tab lead from the page's start to a button."""
    page.evaluate("() => { document.activeElement?.blur(); getSelection().removeAllRanges(); }")
    for count in range(1, 60):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.textContent.trim()") == until:
            return count
    raise AssertionError(f"{until} was not reached")


def test_few_presses_of_tab_lead_to_ask(browser, address):
    with opened(browser, address) as page:
        assert presses(page, "Ask") <= 8


def test_few_presses_of_tab_lead_to_ask_once_an_example_is_chosen(browser, address):
    with opened(browser, address) as page:
        page.locator(".fd-example").nth(1).click()
        expect(page.locator(".fd-table tbody tr").first).to_be_visible()
        page.locator("h1").click()  # the page's start
        assert presses(page, "Ask") <= 8


def test_arrow_keys_walk_through_the_examples_and_the_tabs(browser, address):
    with opened(browser, address) as page:
        strip = page.get_by_role("toolbar", name="Examples")
        first, last = strip.locator(".fd-example").first, strip.locator(".fd-example").last
        first.focus()
        page.keyboard.press("ArrowRight")
        expect(strip.locator(".fd-example").nth(1)).to_be_focused()
        page.keyboard.press("End")
        expect(last).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(first).to_be_focused()
        expect(strip.locator(".fd-example[tabindex='0']")).to_have_count(1)
        page.get_by_role("tab").first.focus()
        page.keyboard.press("ArrowRight")
        second = page.get_by_role("tab").nth(1)
        expect(second).to_be_focused()
        expect(second).to_have_attribute("aria-selected", "true")
        expect(page.locator("[role=tab][tabindex='0']")).to_have_count(1)


# Whether what has the focus looks otherwise than without, it or what stands for it.
_SEEN = """() => {
  const at = document.activeElement;
  const look = node => {
    const s = getComputedStyle(node);
    return [s.outlineStyle === 'none' ? '' : s.outlineWidth + s.outlineColor, s.boxShadow,
      s.borderColor, s.backgroundColor].join();
  };
  const nodes = [at, at.nextElementSibling, at.parentElement, at.parentElement?.parentElement,
    at.closest('label')].filter(Boolean);
  const focused = nodes.map(look);
  at.blur();
  const without = nodes.map(look);
  at.focus();
  return focused.some((one, i) => one !== without[i]) ? '' : at.outerHTML.slice(0, 200);
}"""


@each_tab
@each_theme
def test_what_has_the_focus_is_seen(browser, address, tab, theme):
    with opened(browser, address, color_scheme=theme, reduced_motion="reduce") as page:
        page.add_style_tag(content="* { transition: none !important; }")
        open_tab(page, tab)
        unseen = []
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("() => document.activeElement === document.body"):
                break
            unseen.append(page.evaluate(_SEEN))
        assert [each for each in unseen if each] == []


# Those that one may press, but for links within a sentence and what lies in a larger label.
_SMALL = """() => [...document.querySelectorAll(
    'button, input:not([type=hidden]), select, summary, [role=button]')].filter(n => {
  if (n.closest('footer, .toast-wrap, [inert]')) return false;
  const target = n.closest('label') || n;
  const r = target.getBoundingClientRect();
  const seen = n.checkVisibility({opacityProperty: false, visibilityProperty: true}) && r.width > 1;
  return seen && (r.width < 23.9 || r.height < 23.9);
}).map(n => n.outerHTML.slice(0, 160))"""


@each_tab
@pytest.mark.parametrize("width", [1440, 390], ids=["desktop", "phone"])
def test_targets_are_large_enough_to_press(browser, address, tab, width):
    with opened(browser, address, viewport={"width": width, "height": 844}) as page:
        open_tab(page, tab)
        assert page.evaluate(_SMALL) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_moves_for_who_asks_for_it(browser, address):
    with opened(browser, address, reduced_motion="reduce") as page:
        page.locator(".fd-example").nth(1).click()
        moving = "() => document.getAnimations().map(a => a.animationName).filter(Boolean)"
        assert page.evaluate(moving) == []
        expect(page.locator(".fd-table tbody tr").first).to_be_visible()
        assert page.evaluate(moving) == []


def test_name_and_tabs_are_one_line(browser, address):
    with opened(browser, address) as page:
        name, tab = page.locator("h1").bounding_box(), page.get_by_role("tab").last.bounding_box()
        middle = name["y"] + name["height"] / 2
        assert tab["y"] < middle < tab["y"] + tab["height"]
        assert page.locator(".fd-tabs > .tab-wrapper").bounding_box()["height"] == 56


@pytest.mark.parametrize(
    ("locale", "lang", "words"),
    [
        ("en-GB", "en", "Compare"),
        ("de-CH", "de", "Vergleichen"),
        ("fr-FR", "fr", "Comparer"),
        ("es-MX", "es", "Comparar"),
        ("zh-CN", "zh-CN", "对比"),
        ("zh-TW", "zh-CN", "对比"),
        ("pl-PL", "en", "Compare"),
    ],
)
def test_the_page_speaks_the_browsers_language_and_says_which(
    browser, address, locale, lang, words
):
    with opened(browser, address, locale=locale) as page:
        expect(page.get_by_role("tab", name=words, exact=True)).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", lang)
        title = tables()[lang[:2]].get("Find everything", "Find everything")
        expect(page.locator(".fd-example").nth(1)).to_have_text(title)


_TEXTS = """() => [...document.querySelectorAll('[role=tabpanel], .fd-header, [role=tablist]')]
  .filter(n => n.checkVisibility()).flatMap(root => {
    const found = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode;
      if (text.parentElement.checkVisibility()) found.push(text.data.trim());
    }
    root.querySelectorAll('*').forEach(n => ['aria-label', 'placeholder', 'title', 'alt']
      .forEach(a => n.checkVisibility() && found.push(n.getAttribute(a) || '')));
    return found.filter(text => /\\p{L}{2}/u.test(text));
  })"""
SAME = re.compile(
    r"nano|Start|Pause|[a-z-]+\.png|https://…|.*JSON.*|Text \(TXT\)|owner/name.*|HuggingFaceM4/.*"
    # What the demo's forms ask, and the answers.
    r"|Which \w+ is ticked\?|tea|milk|huge"
)
TRANSLATED = ("try", "many", "checkpoints", "compare", "finetune", "evaluate")


@pytest.mark.parametrize("tab", TRANSLATED)
def test_no_word_of_the_page_stays_english(browser, address, tab):
    texts = []
    for locale in ("en-US", "de-DE"):
        with opened(browser, address, locale=locale) as page:
            open_tab(page, tab)
            open_all(page)
            texts.append(set(page.evaluate(_TEXTS)))
    assert sorted(t for t in texts[0] & texts[1] if not SAME.fullmatch(t)) == []


SENTENCES = {
    "a file's name": (
        "holiday.mp4 has no frames: choose another file.",
        "holiday.mp4 hat keine Einzelbilder: eine andere Datei wählen.",
    ),
    "numbers as one writes them": (
        "This picture is too long (70000 x 30): cut it to at most 65,500 pixels a side.",
        "Dieses Bild ist zu lang (70000 x 30): auf höchstens 65.500 Pixel je Seite zuschneiden.",
    ),
    "a sentence in a sentence": (
        "Box 3: The region has no area: drag a box of at least one pixel each way.",
        "Rahmen 3: Der Bereich hat keine Fläche: einen Rahmen von mindestens einem Pixel je Seite"
        " ziehen.",
    ),
    "one with values in another": (
        "This link cannot be followed wholly. There is no task “fly”: choose one of od, ocr.",
        "Diesem Link kann nicht ganz gefolgt werden. Es gibt keine Aufgabe „fly“: eine von od, ocr"
        " wählen.",
    ),
    "a task's name": (
        "“Find everything” takes no text: clear the text box, or pick a task with words.",
        "„Alles finden“ nimmt keinen Text: das Textfeld leeren oder eine Aufgabe mit Worten"
        " wählen.",
    ),
    "what nobody knows": ("No sentence of ours at all.", "No sentence of ours at all."),
}


def test_a_sentence_with_values_is_known_by_its_form(browser, address):
    with opened(browser, address, locale="de-DE") as page:
        for english, german in SENTENCES.values():
            assert page.evaluate("words => fd.say(words)", english) == german


def test_a_message_is_in_the_language_of_the_page(browser, address):
    with opened(browser, address, locale="fr") as page:
        page.get_by_role("button", name="Demander", exact=True).first.click()
        expect(page.get_by_test_id("toast-text")).to_have_text(
            tables()["fr"]["There is no picture yet: upload one, or press an example."]
        )


def test_what_is_chosen_is_chosen_in_another_language_too(browser, address):
    with opened(browser, address, locale="de-DE") as page:
        open_tab(page, "finetune")
        for name in ("Demo: Formulare", "Schritte"):
            expect(page.get_by_role("radio", name=name, exact=True)).to_be_checked()
        # A model, or a folder, may be called as one of the page's words.
        assert page.evaluate("fd.say('forms')") == "Formulare"


def test_what_is_copied_is_what_stands_there(browser, address):
    with opened(browser, address, locale="de-DE") as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.wait_for_function("window.fdLoaded?.['fd-ask']")
        page.locator(".fd-example").nth(1).click()
        expect(page.locator(".fd-sentence").first).to_contain_text("Dinge")
        page.get_by_role("button", name="Kopieren", exact=True).first.click()
        said = page.locator(".fd-sentence").first.inner_text()
        assert page.evaluate("navigator.clipboard.readText()") == said


@pytest.mark.parametrize("lang", ["de", "fr", "es", "zh"])
def test_another_picture_clears_the_answer_in_every_language(browser, address, lang, tmp_path):
    Image.new("RGB", (300, 400), "navy").save(tmp_path / "other.png")
    with opened(browser, address, locale=lang) as page:
        page.wait_for_function("window.fdLoaded?.['fd-ask']")
        rows = page.locator(".fd-answer .fd-table tbody tr")
        page.locator(".fd-example").nth(1).click()
        expect(rows.first).to_be_visible()
        page.locator("input[type=file]").first.set_input_files(tmp_path / "other.png")
        expect(rows.first).to_be_hidden()
        expect(page.get_by_text("300 × 400").first).to_be_visible()


def test_what_the_server_draws_anew_is_in_the_language_too(browser, address):
    with opened(browser, address, locale="de-DE") as page:
        open_tab(page, "checkpoints")
        card = page.get_by_role("region", name="Das Modell", exact=True)
        expect(card.get_by_text("Ein Modell wählen")).to_be_visible()
        # Gradio writes the next words into the element that is there.
        page.get_by_label("Modelle hier").click()
        page.get_by_role("option", name="mine").click()
        expect(card.get_by_text("Ein Florence-2")).to_be_visible()
        expect(card.get_by_text("Einzelheiten")).to_be_visible()
