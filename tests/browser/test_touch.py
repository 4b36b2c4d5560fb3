"""Fingers on the picture: two move and zoom it, one draws a box or scrolls the page."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import quiet
from tests.browser.test_page import choose, upload

pytestmark = pytest.mark.browser

_PLACE = """stage => {
  const {a, e, f} = new DOMMatrix(getComputedStyle(stage).transform);
  return [a, e, f];
}"""


class Hand:
    """Fingers on a phone's screen, at places in its pixels."""

    def __init__(self, page) -> None:
        self.page = page
        self.session = page.context.new_cdp_session(page)

    def _tell(self, kind: str, places) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        told = {"type": kind, "touchPoints": points}
        self.session.send("Input.dispatchTouchEvent", told)

    def drag(self, start, end, steps: int = 8) -> None:
        """Put fingers down one after another, move all of them and lift them."""
        for count in range(1, len(start) + 1):
            self._tell("touchStart", start[:count])
        for step in range(1, steps + 1):
            self._tell(
                "touchMove",
                [
                    (x + (to_x - x) * step / steps, y + (to_y - y) * step / steps)
                    for (x, y), (to_x, to_y) in zip(start, end, strict=True)
                ],
            )
        self._tell("touchEnd", [])


@pytest.fixture
def phone(browser, address, picture):
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    with quiet(page):
        page.goto(address)
        page.get_by_role("button", name="Ask", exact=True).first.wait_for()
        page.wait_for_function("window.fdLoaded?.['fd-ask']")
        upload(page, picture)
        yield page


def middle(page) -> tuple[float, float]:
    box = page.locator(".fd-view").first.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def around(at, apart: float):
    return [(at[0] - apart, at[1]), (at[0] + apart, at[1])]


def placed(page) -> tuple[float, float, float]:
    """How large the picture is, and how far it is moved."""
    return tuple(page.locator(".fd-stage").first.evaluate(_PLACE))


def test_two_fingers_zoom_about_their_middle(phone):
    at = middle(phone)
    Hand(phone).drag(around(at, 40), around(at, 80))
    scale, x, y = placed(phone)
    assert scale == pytest.approx(2, abs=0.05)
    stage = phone.locator(".fd-stage").first
    wide, high = (stage.evaluate(f"n => n.{side}") for side in ("offsetWidth", "offsetHeight"))
    assert (x, y) == (pytest.approx(-wide / 2, abs=6), pytest.approx(-high / 2, abs=6))
    # It is the picture that is zoomed, and not the page.
    assert phone.evaluate("visualViewport.scale") == 1


@pytest.mark.parametrize("task", ["caption", "region_to_category"], ids=["looking", "drawing"])
@pytest.mark.parametrize(
    ("apart", "by", "grown"),
    [
        pytest.param(40, (30, 20), 1, id="moved"),
        pytest.param(60, (-25, -15), 1.5, id="moved and zoomed"),
    ],
)
def test_two_fingers_move_the_zoomed_picture(phone, task, apart, by, grown):
    choose(phone, task)
    phone.locator(".fd-view").first.scroll_into_view_if_needed()
    for _ in range(2):
        phone.get_by_role("button", name="Zoom in").first.click()
    at = middle(phone)
    scale, x, y = placed(phone)
    start = around(at, 40)
    end = around((at[0] + by[0], at[1] + by[1]), apart)
    under = phone.locator(".fd-stage").first.bounding_box()
    Hand(phone).drag(start, end)
    now = placed(phone)
    assert now[0] == pytest.approx(scale * grown, rel=0.03)
    # What lay under the middle of the fingers still does.
    left, top = at[0] - under["x"], at[1] - under["y"]
    assert now[1] - x == pytest.approx(by[0] - left * (grown - 1), abs=4)
    assert now[2] - y == pytest.approx(by[1] - top * (grown - 1), abs=4)
    expect(phone.locator(".fd-frame:visible")).to_have_count(0)


def test_one_finger_draws_a_box_where_one_is_asked_for(phone):
    choose(phone, "region_to_category")
    phone.locator(".fd-view").first.scroll_into_view_if_needed()
    x, y = middle(phone)
    before = phone.evaluate("scrollY")
    Hand(phone).drag([(x - 60, y - 50)], [(x + 60, y + 50)])
    expect(phone.locator(".fd-frame:visible")).to_have_count(1)
    assert phone.evaluate("scrollY") == before


def test_one_finger_on_the_whole_picture_scrolls_the_page(phone):
    choose(phone, "caption")
    phone.evaluate("scrollTo(0, 0)")
    x, y = middle(phone)
    Hand(phone).drag([(x, y + 80)], [(x, y - 80)])
    phone.wait_for_function("scrollY > 40")
    assert placed(phone) == (1, 0, 0)


def test_one_finger_moves_the_zoomed_picture(phone):
    phone.locator(".fd-view").first.scroll_into_view_if_needed()
    phone.get_by_role("button", name="Zoom in").first.click()
    x, y = middle(phone)
    _, before, _ = placed(phone)
    Hand(phone).drag([(x, y)], [(x + 30, y)])
    assert placed(phone)[1] - before == pytest.approx(30, abs=3)
