"""What is drawn, in the page and in the picture to download, and that labels stay harmless."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from florence_demo.output import annotate as annotate_module
from florence_demo.output.annotate import annotate
from florence_demo.output.overlay import OVERLAY_CSS, overlay
from florence_demo.output.tags import PALETTE, color_of, colors_of, places_of, text_color
from florence_demo.prediction import Detections, Prediction

SIZE = (400, 300)


def boxes(*rows: tuple[float, float, float, float], labels: tuple[str, ...] = ()) -> Detections:
    names = labels or tuple(f"thing {i}" for i in range(len(rows)))
    return Detections(np.array(rows, np.float32).reshape(-1, 4), names)


def ring(x1: float, y1: float, x2: float, y2: float, turns: int = 1) -> np.ndarray:
    """A rectangle of eight points, so that it counts as a mask and not as a frame of words."""
    xm, ym = (x1 + x2) / 2, (y1 + y2) / 2
    points = [(x1, y1), (xm, y1), (x2, y1), (x2, ym), (x2, y2), (xm, y2), (x1, y2), (x1, ym)]
    return np.array(points[::turns], np.float32)


class Page(HTMLParser):
    """Read markup as a browser does: which tags there are, with which attributes and texts."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, kind: str) -> list[dict[str, str]]:
        return [found for _, found in self.tags if kind in found.get("class", "").split()]


# --------------------------------------------------------------------------- colours


def contrast(one: str, other: str) -> float:
    def light(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_label_has_the_same_colour_on_every_run() -> None:
    pinned = {"person": "#91d5ff", "car": "#bae637", "dog": "#00a2ff", "cat": "#389e0d"}
    assert {label: color_of(label) for label in pinned} == pinned


def test_case_and_spaces_do_not_change_a_colour() -> None:
    assert color_of("  Traffic  LIGHT ") == color_of("traffic light")


OF_ONE_COLOUR = ("dog", "sheep")


def test_as_many_names_as_there_are_colours_are_told_apart() -> None:
    names = [f"name {n}" for n in range(len(PALETTE))]
    assert len({color_of(name) for name in names}) < len(names)
    assert len(set(colors_of([*names, "Name  0", "another"]))) == len(names)
    assert colors_of(["name 3", "NAME 3", "name 3"]) == [color_of("name 3")] * 3


def test_names_keep_their_colours_from_picture_to_picture() -> None:
    first, same = OF_ONE_COLOUR
    held: dict[str, str] = {}
    together = colors_of([first, same], held)
    assert together[0] == color_of(first)
    assert together[1] != together[0]
    assert colors_of([same], held) == together[1:]
    assert colors_of([same]) == [color_of(same)]


def test_page_and_picture_show_each_name_in_a_colour_of_its_own() -> None:
    found = boxes((50, 80, 150, 260), (200, 80, 300, 260), labels=OF_ONE_COLOUR)
    one, other = colors_of(OF_ONE_COLOUR)
    drawn = annotate(Image.new("RGB", SIZE, GREY), found)
    assert (at(drawn, 100, 260), at(drawn, 250, 260)) == (rgb(one), rgb(other))
    shown = overlay(found, SIZE)
    assert [shown.count(f'"--c:{color}') for color in (one, other)] == [2, 2]


@pytest.mark.parametrize("color", PALETTE)
def test_words_on_a_colour_are_legible(color: str) -> None:
    assert contrast(color, text_color(color)) >= 4.5


def test_the_palette_has_no_doubles() -> None:
    assert len(set(PALETTE)) == len(PALETTE)
    rgb = {c: np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in PALETTE}
    for one, other in combinations(PALETTE, 2):
        assert np.abs(rgb[one] - rgb[other]).max() > 25, (one, other)


# --------------------------------------------------------------------------- the page

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</span></div><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)",
    "</svg><style>*{display:none}</style>",
    "red;background:url(javascript:alert(1))",
    "${alert(1)} {{constructor}} `x`",
    "&lt;b&gt; &#60;b&#62;",
    "\x00\x1b[31m\u202egnp.exe\u2028\ufeff",
]


@pytest.mark.parametrize("label", HOSTILE)
@pytest.mark.parametrize("shape", ["box", "mask"])
def test_a_hostile_label_is_only_text(label: str, shape: str) -> None:
    found = boxes((10, 20, 200, 200), labels=(label,))
    if shape == "mask":
        found = Detections.from_polygons([[ring(10, 20, 200, 200)]], [label])
    markup = overlay(found, SIZE)
    harmless = overlay(boxes((10, 20, 200, 200), labels=("cat",)), SIZE)
    if shape == "mask":
        harmless = overlay(Detections.from_polygons([[ring(10, 20, 200, 200)]], ["cat"]), SIZE)
    page, expected = Page(markup), Page(harmless)
    # the same elements with the same attributes, whatever the label says
    assert [(t, sorted(a)) for t, a in page.tags] == [(t, sorted(a)) for t, a in expected.tags]
    for _, attributes in page.tags:
        assert not re.search(r"url|expression|javascript", attributes.get("style", ""))
    shown = page.texts[0]
    assert shown == page.of("fd-item")[0]["aria-label"]
    if label.isprintable():
        assert shown == label
    assert not set("\x00\x1b\u202e\u2028\ufeff") & set(markup)
    assert not set("${}`") & set(markup)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_no_text_adds_an_element(labels: list[str]) -> None:
    rows = [(10.0 * i, 5.0, 10.0 * i + 50, 90.0) for i in range(len(labels))]
    page = Page(overlay(boxes(*rows, labels=tuple(labels)), SIZE))
    assert {tag for tag, _ in page.tags} <= {"div", "svg", "g", "path", "span"}
    assert len(page.of("fd-item")) == len(labels)
    assert page.open == []


def test_every_shape_can_be_reached_and_named() -> None:
    found = boxes((0, 0, 300, 250), (10, 10, 50, 60), labels=("car", "wheel"))
    page = Page(overlay(found, SIZE))
    items = page.of("fd-item")
    assert [item["data-index"] for item in items] == ["0", "1"]
    assert [item["aria-label"] for item in items] == ["car", "wheel"]
    assert all(item["tabindex"] == "0" for item in items)
    assert [shape["d"] for shape in page.of("fd-hit")] == ["M0 0H300V250H0Z", "M10 10H50V60H10Z"]
    boxes_of_views = {a["viewbox"] for tag, a in page.tags if tag == "svg"}
    assert boxes_of_views == {"0 0 400 300"}
    for kind in ("fd-shape", "fd-hit"):
        style = OVERLAY_CSS[OVERLAY_CSS.index(f".{kind}{{") :]
        assert "non-scaling-stroke" in style[: style.index("}")]


def test_a_small_thing_lies_over_a_large_one() -> None:
    found = boxes((10, 10, 50, 60), (0, 0, 300, 250), labels=("wheel", "car"))
    items = Page(overlay(found, SIZE)).of("fd-item")
    assert [item["data-index"] for item in items] == ["1", "0"]


def test_a_prediction_brings_its_size() -> None:
    found = boxes((1, 2, 30, 40), labels=("cat",))
    asked = Prediction("od", "", "", "", SIZE, found, {})
    assert overlay(asked) == overlay(found, SIZE)
    with pytest.raises(ValueError, match="size"):
        overlay(found)


@pytest.mark.parametrize(("count", "crowded"), [(1, False), (12, False), (13, True)])
def test_many_labels_wait_for_the_pointer(count: int, crowded: bool) -> None:
    rows = [(i, i, i + 90, i + 90) for i in range(count)]
    assert len(Page(overlay(boxes(*rows), SIZE)).of("fd-crowded")) == crowded


def test_nothing_found_draws_nothing() -> None:
    assert overlay(Detections.empty(), SIZE) == ""
    picture = Image.new("RGB", SIZE, "green")
    assert annotate(picture, Detections.empty()).tobytes() == picture.tobytes()


def test_scores_are_shown_on_request() -> None:
    found = boxes((10, 20, 200, 200), labels=("car",))
    scored = Detections(found.xyxy, found.labels, scores=np.array([0.934], np.float32))
    assert Page(overlay(scored, SIZE, scores=True)).texts == ["car 0.93"]
    assert Page(overlay(scored, SIZE)).texts == ["car"]
    assert Page(overlay(found, SIZE, scores=True)).texts == ["car"]


def test_things_without_a_name_are_numbered_where_there_are_several() -> None:
    several = boxes((0, 0, 90, 90), (100, 0, 150, 90), labels=("", ""))
    assert Page(overlay(several, SIZE)).texts == ["1", "2"]
    one = Page(overlay(boxes((0, 0, 90, 90), labels=("",)), SIZE))
    assert one.texts == []
    assert one.of("fd-item")[0]["aria-label"] == "one place"


def test_a_very_long_label_is_cut() -> None:
    markup = overlay(boxes((0, 0, 90, 90), labels=("word " * 5000,)), SIZE)
    assert len(markup) < 3000
    assert Page(markup).texts[0].endswith("…")


def quad(x: float, y: float, turn: float = 0.0) -> np.ndarray:
    """A line of text, 100 by 20, turned around its first corner."""
    angle = np.radians(turn)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = np.array([[0, 0], [100, 0], [100, 20], [0, 20]], float)
    return (corners @ matrix + (x, y)).astype(np.float32)


@pytest.mark.parametrize("turn", [0, 30, 90, 180, -45])
def test_text_is_as_wide_and_high_as_its_place_and_turned_with_it(turn: float) -> None:
    found = Detections.from_polygons([[quad(200, 150, turn)]], ["OPEN  NOW"])
    page = Page(overlay(found, SIZE, words=True))
    (text,) = page.of("fd-text")
    assert (text["font-size"], text["textlength"]) == ("16", "100")
    x, y, told = (float(n) for n in re.findall(r"[-\d.]+", text["transform"]))
    assert (x, y) == pytest.approx(quad(200, 150, turn)[[0, 3]].mean(axis=0), abs=0.1)
    assert told % 360 == pytest.approx(turn % 360, abs=0.1)
    assert "OPEN NOW" in page.texts
    assert Page(overlay(found, SIZE)).of("fd-text") == []


def test_lines_are_drawn_in_the_order_in_which_they_are_read() -> None:
    lines = [[quad(200, 100)], [quad(20, 100)], [quad(20, 50)], [quad(20, 150)]]
    found = Detections.from_polygons(lines, ["c", "b", "a", ""])
    items = Page(overlay(found, SIZE, words=True)).of("fd-item")
    assert [item["data-index"] for item in items] == ["2", "1", "0", "3"]


def test_what_is_no_line_of_text_gets_none() -> None:
    dot = np.array([[5, 5], [5, 5], [5, 5], [5, 5]], np.float32)
    for found in (
        Detections.from_polygons([[dot]], ["a"]),
        Detections.from_polygons([[quad(20, 50)], [ring(0, 0, 90, 90)]], ["a", "b"]),
        boxes((0, 0, 90, 90)),
    ):
        assert Page(overlay(found, SIZE, words=True)).of("fd-text") == []


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_line_is_only_text(label: str) -> None:
    markup = overlay(Detections.from_polygons([[quad(20, 50)]], [label]), SIZE, words=True)
    harmless = overlay(Detections.from_polygons([[quad(20, 50)]], ["cat"]), SIZE, words=True)
    assert [(t, sorted(a)) for t, a in Page(markup).tags] == [
        (t, sorted(a)) for t, a in Page(harmless).tags
    ]
    assert not set("\x00\x1b\u202e\u2028\ufeff{}$`") & set(markup)


def test_a_shape_is_told_by_its_index() -> None:
    found = boxes((10, 10, 50, 60), (0, 0, 300, 250), labels=("wheel", "car"))
    shapes = Page(overlay(found, SIZE)).of("fd-shape")
    assert [shape["data-shape"] for shape in shapes] == ["1", "0"]


def test_parts_that_overlap_fill_as_a_union_whichever_way_they_run() -> None:
    one, other = ring(0, 0, 100, 100), ring(50, 50, 150, 150, turns=-1)
    found = Detections.from_polygons([[one, other]], ["cat"])
    path = Page(overlay(found, SIZE)).of("fd-hit")[0]["d"]
    rings = [np.array(p.split(), float) for p in re.findall(r"[-\d. ]+", path.replace("L", " "))]
    areas = []
    for values in rings:
        x, y = values.reshape(-1, 2).T
        areas.append(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    assert len(areas) == 2
    assert min(areas) > 0


CORNERS = {
    "middle": (100, 100, 200, 200),
    "top": (100, 0, 200, 90),
    "left": (0, 100, 5, 200),
    "right": (395, 100, 400, 200),
    "bottom right": (390, 290, 400, 300),
    "all": (0, 0, 400, 300),
    "outside": (-50, -50, 450, 350),
}


@pytest.mark.parametrize("name", CORNERS)
def test_a_tag_stays_inside_the_picture_at_any_width(name: str) -> None:
    page = Page(overlay(boxes(CORNERS[name], labels=("a label of some length",)), SIZE))
    style = page.of("fd-label")[0]["style"]
    assert re.fullmatch(
        r"top:clamp\(0px,[\d.]+%(?: - 1\.5em)?,100% - 1\.5em\);"
        r"(left|right):[\d.]+%;max-width:min\([\d.]+%,24em\)",
        style,
    )
    side, room = (float(v) for v in re.findall(r":(?:min\()?([\d.]+)%", style)[-2:])
    assert side + room == pytest.approx(100, abs=0.02)
    assert room > 50  # it hangs on the corner that has room


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(-50, 450)] * 4, st.floats(5, 300), st.floats(5, 40)), max_size=12
    )
)
def test_tags_never_leave_the_picture(rows: list[tuple[float, ...]]) -> None:
    corners = np.array([r[:4] for r in rows], np.float32).reshape(-1, 2, 2)
    placed = np.concatenate([corners.min(1), corners.max(1)], 1)
    tags = [(r[4], r[5]) for r in rows]
    for place, (width, height) in zip(places_of(placed, tags, SIZE), tags, strict=True):
        assert 0 <= place.x <= SIZE[0] - width + 0.01
        assert 0 <= place.y <= SIZE[1] - height + 0.01


def test_tags_keep_clear_of_each_other() -> None:
    same = np.array([[100, 100, 300, 250]] * 4, np.float32)
    places = places_of(same, [(80.0, 20.0)] * 4, SIZE)
    for one, other in combinations(places, 2):
        assert abs(one.x - other.x) >= 80 or abs(one.y - other.y) >= 20


# --------------------------------------------------------------------------- the picture


def at(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    pixel = image.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel


def rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


GREY = (120, 120, 120)


def test_a_box_is_drawn_in_the_colour_the_page_uses() -> None:
    picture = Image.new("RGB", SIZE, GREY)
    found = boxes((50, 80, 250, 260), labels=("cat",))
    drawn = annotate(picture, found)
    assert at(drawn, 150, 260) == at(drawn, 50, 200) == rgb(color_of("cat"))
    assert at(drawn, 150, 170) == GREY  # the inside stays as it was
    assert at(picture, 150, 260) == GREY  # and so does the original
    assert f"--c:{color_of('cat')}" in overlay(found, SIZE)


def test_a_mask_is_laid_over_its_area_only_and_once() -> None:
    drawn = annotate(
        Image.new("RGB", SIZE, GREY),
        Detections.from_polygons([[ring(20, 20, 200, 200), ring(150, 100, 300, 280)]], [""]),
    )
    inside, both, other = at(drawn, 60, 60), at(drawn, 175, 150), at(drawn, 280, 250)
    assert inside == both == other != GREY
    assert at(drawn, 350, 50) == at(drawn, 60, 260) == GREY
    # no line runs through the middle where the parts overlap
    assert at(drawn, 175, 200) == at(drawn, 200, 150) == inside


def test_no_mask_lies_over_the_line_of_a_box() -> None:
    found = Detections(
        np.array([[20, 20, 380, 280], [150, 150, 250, 295]], np.float32),
        ("car", "cat"),
        ((), (ring(150, 150, 250, 295),)),
    )
    drawn = annotate(Image.new("RGB", SIZE, GREY), found)
    assert at(drawn, 200, 280) == rgb(color_of("car"))


def test_words_in_a_frame_stay_readable() -> None:
    quad = np.array([[50, 100], [250, 100], [250, 150], [50, 150]], np.float32)
    found = Detections.from_polygons([[quad]], ["sign"])
    drawn = annotate(Image.new("RGB", SIZE, "white"), found)
    assert min(at(drawn, 150, 125)) > 215


EDGES = {
    **CORNERS,
    "no area": (100, 100, 100, 100),
    "beyond": (500, 400, 600, 500),
    "far away": (-1e6, -1e6, 1e6, 1e6),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("size", [(400, 300), (24, 18), (1, 1), (3000, 20)])
@pytest.mark.parametrize("shape", ["box", "mask"])
def test_any_place_in_any_picture_can_be_drawn(
    name: str, size: tuple[int, int], shape: str
) -> None:
    found = boxes(EDGES[name], labels=("ein sehr langes Wort für ein Ding 叶子 Ωжя",))
    if shape == "mask":
        found = Detections.from_polygons([[ring(*EDGES[name])]], found.labels)
    drawn = annotate(Image.new("RGB", size, GREY), found, scores=True)
    assert (drawn.mode, drawn.size) == ("RGB", size)
    assert overlay(found, size)


def test_a_label_is_cut_with_an_ellipsis_where_there_is_no_room() -> None:
    assert annotate_module._shorten("abcdefgh", lambda text: 10.0 * len(text), 50) == "abcd…"
    assert annotate_module._shorten("abc d", lambda text: 10.0 * len(text), 50) == "abc d"
    assert annotate_module._shorten("abcdef", lambda text: 10.0 * len(text), 5) == "…"


def test_lines_and_letters_grow_with_the_picture() -> None:
    def share(size: tuple[int, int]) -> float:
        found = boxes((size[0] * 0.2, size[1] * 0.3, size[0] * 0.7, size[1] * 0.9), labels=("cat",))
        drawn = np.asarray(annotate(Image.new("RGB", size, GREY), found), int)
        return float((np.abs(drawn - GREY).max(axis=2) > 30).mean())

    assert share((3200, 2400)) == pytest.approx(share((1600, 1200)), rel=0.15)


def test_other_modes_are_drawn_in_colour() -> None:
    drawn = annotate(Image.new("L", SIZE, 120), boxes((50, 80, 250, 260), labels=("cat",)))
    assert at(drawn, 150, 260) == rgb(color_of("cat"))


def test_the_font_knows_more_than_english() -> None:
    font = annotate_module._font(24, False)
    missing = bytes(font.getmask("\uffff"))
    for letter in "éßøžΩжя…":
        assert bytes(font.getmask(letter)) != missing, letter
