from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image, ImageDraw

from florence_demo.nano.scenes import contours as contours_module
from florence_demo.nano.scenes import types as types_module
from florence_demo.nano.scenes.backgrounds import scaled
from florence_demo.nano.scenes.catalogue import CLASSES
from florence_demo.nano.scenes.compose import KINDS, make_scene
from florence_demo.nano.scenes.contours import POINTS, contours
from florence_demo.nano.scenes.phrases import (
    Facts,
    counted,
    extent,
    join,
    matching,
    name,
    plural,
    position,
    referring,
    with_article,
)
from florence_demo.nano.scenes.sprites import Library
from florence_demo.nano.scenes.truth import typed
from florence_demo.nano.scenes.types import SceneObject
from florence_demo.prediction import Detections
from florence_demo.tasks import TASKS

LIBRARY = Library.drawn()
TASK_NAMES = {
    "caption", "detailed_caption", "more_detailed_caption", "od", "dense_region_caption",
    "region_proposal", "caption_to_phrase_grounding", "referring_expression_segmentation",
    "open_vocabulary_detection", "region_to_segmentation", "region_to_category",
    "region_to_description", "region_to_ocr", "ocr", "ocr_with_region", "vqa", "docvqa",
}  # fmt: skip


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(seed, library=LIBRARY) for seed in range(200)]


@pytest.fixture(scope="module")
def truths(scenes):
    found = defaultdict(list)
    for scene in scenes:
        for truth in scene.truths:
            found[truth.task].append((scene, truth))
    return found


def thing(label="dog", color=None, box=(0, 0, 10, 10)):
    return SceneObject(label, "drawn", color, np.array(box, np.float32), np.ones((1, 1), bool))


def filled(rings, shape):
    """Draw rings four times enlarged, as a mask."""
    page = Image.new("L", (shape[1] * 4, shape[0] * 4))
    for ring in rings:
        ImageDraw.Draw(page).polygon([tuple(p * 4 - 0.5) for p in ring], fill=1)
    return np.asarray(page).astype(bool)


def enlarged(mask):
    return np.kron(mask, np.ones((4, 4), bool))


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_same_seed_same_scene(kind):
    one, two = (make_scene(7, 192, library=LIBRARY, kind=kind) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert np.array_equal(one.instances, two.instances)
    assert len(one.truths) == len(two.truths)
    for a, b in zip(one.truths, two.truths, strict=True):
        assert (a.task, a.text, a.region, a.answer) == (b.task, b.text, b.region, b.answer)
        assert a.detections.labels == b.detections.labels
        assert np.array_equal(a.detections.xyxy, b.detections.xyxy)


def test_another_seed_gives_another_scene():
    assert len({make_scene(seed, 96, library=LIBRARY).image.tobytes() for seed in range(8)}) == 8


@pytest.mark.parametrize("size", [128, 256, 900])
@pytest.mark.parametrize("kind", KINDS)
def test_size_is_the_longer_side_and_aspect_is_bounded(kind, size):
    scene = make_scene(3, size, library=LIBRARY, kind=kind)
    width, height = scene.image.size
    assert max(width, height) == size
    assert 0.49 < width / height < 2.05
    assert scene.instances.shape == (height, width)
    assert scene.image.mode == "RGB"
    assert scene.kind == kind


@pytest.mark.parametrize("seed", [212, 225, 726], ids=str)
def test_a_receipt_longer_than_its_picture_is_set_again(seed):
    scene = make_scene(seed, 96, library=LIBRARY, kind="receipt")
    width, height = scene.image.size
    assert all((line.quad <= [width + 1, height + 1]).all() for line in scene.lines)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"kind must be one of objects.*'comic'"):
        make_scene(0, library=LIBRARY, kind="comic")


def test_boxes_are_the_bounds_of_the_instance_masks(scenes):
    for scene in scenes:
        for i, found in enumerate(scene.objects):
            ys, xs = np.nonzero(scene.instances == i + 1)
            bounds = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_allclose(found.xyxy, bounds, atol=1)


def test_instances_hold_the_objects_and_nothing_else(scenes):
    for scene in scenes:
        assert set(np.unique(scene.instances)) - {0} == set(range(1, len(scene.objects) + 1))


def test_polygons_cover_their_masks(scenes):
    shares = []
    for scene in scenes:
        for i, found in enumerate(scene.objects):
            mask = enlarged(scene.instances == i + 1)
            drawn = filled(found.rings, scene.instances.shape)
            shares.append((mask & drawn).sum() / (mask | drawn).sum())
            assert found.rings[0].shape == (POINTS, 2)
    assert np.mean(shares) > 0.93
    assert min(shares) > 0.6


def test_objects_stand_left_to_right_and_are_mostly_seen(scenes):
    for scene in scenes:
        lefts = [(o.xyxy[0], o.xyxy[1]) for o in scene.objects]
        assert lefts == sorted(lefts)
        if scene.kind == "objects":
            assert 1 <= len(scene.objects) <= 6
        else:
            assert scene.objects == ()
            assert scene.lines


def test_lines_lie_in_the_picture_with_a_box_a_character(scenes):
    for scene in scenes:
        width, height = scene.image.size
        for line in scene.lines:
            assert line.quad.shape == (4, 2)
            assert line.chars.shape == (len(line.text), 4)
            assert line.quad.min() >= -1
            assert (line.quad <= [width + 1, height + 1]).all()
            low, high = line.quad.min(axis=0), line.quad.max(axis=0)
            assert (line.chars[:, :2] > low - 0.25 * (high - low) - 4).all()
            assert (line.chars[:, 2:] < high + 0.25 * (high - low) + 4).all()
            # Clockwise on the screen, from the line's own top left.
            (ax, ay), (bx, by), (cx, cy) = line.quad[:3]
            assert (bx - ax) * (cy - by) - (by - ay) * (cx - bx) > 0
            assert bx > ax


def test_ink_fills_the_quads():
    scene = make_scene(5, 400, library=LIBRARY, kind="form")
    grey = np.asarray(scene.image.convert("L")).astype(int)
    for line in scene.lines:
        x1, y1 = np.maximum(line.quad.min(axis=0), 0).astype(int)
        x2, y2 = line.quad.max(axis=0).astype(int)
        inside = grey[y1:y2, x1:x2]
        assert np.percentile(inside, 98) - inside.min() > 60


def test_objects_never_hide_a_sign():
    for seed in range(60):
        scene = make_scene(seed, library=LIBRARY, kind="objects")
        for line in scene.lines:
            x1, y1 = np.maximum(line.quad.min(axis=0), 0).astype(int)
            x2, y2 = line.quad.max(axis=0).astype(int)
            assert not scene.instances[y1:y2, x1:x2].any()


@pytest.mark.parametrize(
    ("mask", "least"),
    [
        (np.ones((20, 30), bool), 0.97),
        (np.hypot(*np.mgrid[-20:20, -20:20]) < 19, 0.96),
        (np.tri(40, dtype=bool), 0.95),
        (np.hypot(*np.mgrid[-200:200, -200:200]) < 190, 0.96),
    ],
    ids=["rectangle", "disc", "triangle", "thinned disc"],
)
def test_contour_of_a_shape(mask, least):
    (ring,) = contours(mask, (0, 0))
    drawn = filled([ring], mask.shape)
    assert (enlarged(mask) & drawn).sum() / (enlarged(mask) | drawn).sum() > least
    assert ring[0, 1] == pytest.approx(ring[:, 1].min(), abs=1)


def test_a_line_is_walked_as_numpy_interpolates():
    ring = contours_module._trace(np.hypot(*np.mgrid[-20:20, -20:20]) < 17)[0]
    line = contours_module._Line.along(ring)
    where = np.concatenate([np.linspace(0, line.length, 200), line.ways])
    expected = [np.interp(where, line.ways, values) for values in line.values]
    np.testing.assert_array_equal(line.at(where), expected)


def walked(mask):
    """Walk around a mask edge by edge; of two ways on, take the one that was found last."""
    inside = np.pad(mask, 1)
    ways = {}
    for dy, dx, start, end in (
        (-1, 0, (0, 0), (0, 1)),
        (0, 1, (0, 1), (1, 1)),
        (1, 0, (1, 1), (1, 0)),
        (0, -1, (1, 0), (0, 0)),
    ):
        for y, x in np.argwhere(mask).tolist():
            if not inside[y + 1 + dy, x + 1 + dx]:
                here = (y + start[0], x + start[1])
                ways.setdefault(here, []).append((y + end[0], x + end[1]))
    rings = []
    while ways:
        first = here = next(iter(ways))
        ring = []
        while here in ways:
            ends = ways[here]
            there = ends.pop()
            if not ends:
                del ways[here]
            ring.append(((here[1] + there[1]) / 2, (here[0] + there[0]) / 2))
            here = there
            if here == first:
                break
        rings.append(np.array(ring))
    return rings


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_outlines_are_walked_in_their_order_even_where_only_corners_touch(share):
    mask = np.random.default_rng(0).random((30, 40)) < share
    for found, expected in zip(contours_module._trace(mask), walked(mask), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_outlines_are_found_when_they_are_asked_for(monkeypatch):
    found = []
    monkeypatch.setattr(types_module, "contours", lambda *a: found.append(a) or contours(*a))
    scene = make_scene(3, library=LIBRARY, kind="objects")
    assert found == []
    truth = next(t for t in scene.truths if t.task == "region_to_segmentation")
    (rings,) = truth.detections.polygons
    assert len(found) == 1
    assert truth.detections.polygons[0] is rings
    assert any(rings[0] is thing.rings[0] for thing in scene.objects)
    assert len(found) == len([o for o in scene.objects if "rings" in vars(o)])


@pytest.mark.parametrize("gain", [0.0, 0.15, 0.8237, 1.0, 1.1599])
def test_bytes_are_scaled_and_rounded(gain):
    assert scaled(gain) == [min(255, round(v * gain)) for v in range(256)]


def test_contours_of_two_parts_are_two_rings():
    mask = np.zeros((20, 50), bool)
    mask[:, :30] = True
    mask[5:15, 36:] = True
    large, small = contours(mask, (100, 7))
    assert len(large) == POINTS
    assert len(small) == POINTS // 2
    assert large[:, 0].max() < small[:, 0].min()
    assert large[:, 0].min() == pytest.approx(100, abs=1)
    assert large[:, 1].min() == pytest.approx(7, abs=1)


def test_contours_of_a_speck_are_its_box():
    (ring,) = contours(np.ones((1, 1), bool), (4, 5))
    assert ring.min(axis=0).tolist() == [4, 5]


def test_every_task_has_truths(truths):
    assert set(truths) == TASK_NAMES
    assert set(TASKS) >= TASK_NAMES


def test_kinds_come_by_their_share(scenes):
    counts = Counter(scene.kind for scene in scenes)
    assert set(counts) == set(KINDS)
    assert 0.45 < counts["objects"] / len(scenes) < 0.68
    written = sum(bool(s.lines) for s in scenes if s.kind == "objects")
    assert 0.15 < written / counts["objects"] < 0.5


def test_places_of_objects_are_those_of_the_scene(truths):
    for task in ("od", "dense_region_caption", "region_proposal"):
        for scene, truth in truths[task]:
            boxes = [o.xyxy for o in scene.objects]
            np.testing.assert_array_equal(truth.detections.xyxy, boxes)
    for scene, truth in truths["od"]:
        assert truth.detections.labels == tuple(o.label for o in scene.objects)
        assert set(truth.detections.labels) <= set(CLASSES)
    for _, truth in truths["region_proposal"]:
        assert set(truth.detections.labels) == {""}


def test_captions_name_every_object(truths):
    for task in ("caption", "detailed_caption", "more_detailed_caption"):
        for scene, truth in truths[task]:
            assert truth.answer[0].isupper()
            assert truth.answer[-1] in ".?!"
            for found in scene.objects:
                stem = plural(found.label) if task == "caption" else found.label
                assert found.label in truth.answer or stem in truth.answer


def test_phrases_stand_in_their_caption_in_order(truths):
    for scene, truth in truths["caption_to_phrase_grounding"]:
        places = [truth.text.index(label) for label in truth.detections.labels]
        assert places == sorted(places)
        boxes = {tuple(o.xyxy) for o in scene.objects}
        assert {tuple(b) for b in truth.detections.xyxy} <= boxes
        assert len(truth.detections) > 0


def test_open_vocabulary_finds_all_or_refuses(truths):
    empty = 0
    for scene, truth in truths["open_vocabulary_detection"]:
        forms = [{o.label, name(o), plural(o.label), plural(name(o))} for o in scene.objects]
        expected = [o.xyxy for o, f in zip(scene.objects, forms, strict=True) if truth.text in f]
        assert len(truth.detections) == len(expected)
        if expected:
            np.testing.assert_array_equal(truth.detections.xyxy, expected)
        else:
            empty += 1
        assert set(truth.detections.labels) <= {truth.text}
    assert 0.1 < empty / len(truths["open_vocabulary_detection"]) < 0.4


def test_referring_expressions_mean_one_object(scenes, truths):
    for scene, truth in truths["referring_expression_segmentation"]:
        facts = Facts("objects", scene.image.size, scene.objects, (), "")
        phrase = truth.text.removeprefix("the ")
        meant = [i for i in range(len(scene.objects)) if phrase in referring(facts, i)]
        assert len(meant) == 1
        (rings,) = truth.detections.polygons
        np.testing.assert_array_equal(rings[0], scene.objects[meant[0]].rings[0])


@pytest.mark.parametrize(
    ("objects", "index", "expected"),
    [
        ([thing("dog"), thing("cat", box=(50, 0, 60, 10))], 0, {"dog", "dog at the top left"}),
        (
            [thing("car", "red"), thing("car", "blue", (2, 0, 12, 10))],
            0,
            {"red car"},
        ),
        ([thing("dog"), thing("dog", box=(60, 0, 70, 10))], 1, {"right dog"}),
        ([thing("dog"), thing("dog", box=(1, 60, 11, 70))], 0, {"top dog"}),
        (
            [thing("dog"), thing("dog", box=(3, 0, 33, 28))],
            1,
            {"largest dog", "right dog"},
        ),
        ([thing("dog"), thing("dog", box=(1, 1, 11, 11))], 0, set()),
    ],
    ids=["class", "colour", "side", "height", "size", "no plain difference"],
)
def test_what_singles_an_object_out(objects, index, expected):
    facts = Facts("objects", (100, 100), tuple(objects), (), "")
    assert set(referring(facts, index)) == expected


def test_regions_are_boxes_with_their_answers(truths):
    for scene, truth in truths["region_to_category"]:
        (found,) = [o for o in scene.objects if tuple(o.xyxy) == tuple(truth.detections.xyxy[0])]
        assert truth.answer == found.label
        assert truth.region is not None
        sides = np.maximum(found.xyxy[2:] - found.xyxy[:2], 1)
        off = np.abs(np.array(truth.region) - found.xyxy) / np.tile(sides, 2)
        assert off.max() < 0.021
        assert truth.region[0] >= 0
        assert truth.region[2] <= scene.image.width
    for _, truth in truths["region_to_segmentation"]:
        assert len(truth.detections.polygons[0][0]) >= 3
    for scene, truth in truths["region_to_ocr"]:
        assert truth.answer in [line.text for line in scene.lines]


def test_text_reads_as_its_lines(truths):
    for scene, truth in truths["ocr"]:
        assert truth.answer == "\n".join(line.text for line in scene.lines)
    for scene, truth in truths["ocr_with_region"]:
        assert truth.detections.labels == tuple(line.text for line in scene.lines)
        assert all(rings[0].shape == (4, 2) for rings in truth.detections.polygons)
    empty = [t for s, t in truths["ocr"] if not s.lines]
    assert all(t.answer == "" for t in empty)


def test_document_answers_stand_on_the_page(truths):
    for scene, truth in truths["docvqa"]:
        assert truth.answer
        lines = [line.text for line in scene.lines]
        assert any(truth.answer in text for text in [*lines, " ".join(lines)])


def test_a_receipt_adds_up():
    for seed in range(20):
        scene = make_scene(seed, library=LIBRARY, kind="receipt")
        texts = [line.text for line in scene.lines]
        amounts = [round(float(t.lstrip("$€")) * 100) for t in texts if t.lstrip("$€")[:1].isdigit()
                   and t[-3:-2] == "." and "/" not in t and t.count(".") == 1]  # fmt: skip
        assert sum(amounts[:-1]) == amounts[-1]


def question(truth):
    return truth.text.rstrip("?").lower()


def test_answers_to_questions_are_right(truths):
    asked = Counter()
    for scene, truth in truths["vqa"]:
        text, labels = question(truth), [o.label for o in scene.objects]
        if text.startswith("how many objects"):
            asked["objects"] += 1
            assert truth.answer == str(len(labels))
        elif text.startswith("how many") and labels and "animals" not in text:
            asked["count"] += 1
            counts = [labels.count(c) for c in CLASSES if text == f"how many {plural(c)} are there"]
            assert [truth.answer] == [str(n) for n in counts]
        elif "is there" in text:
            asked[truth.answer] += 1
            phrase = text.removeprefix("is there ")
            there = any(
                phrase in (with_article(o.label), with_article(name(o))) for o in scene.objects
            )
            assert truth.answer == ("yes" if there else "no")
        elif text.startswith("where is the "):
            asked["where"] += 1
            found = scene.objects[labels.index(text.removeprefix("where is the "))]
            assert truth.answer == position(found, scene.image.size)
        elif " is the " in text and ("colour" in text or "color" in text) and labels:
            asked["colour"] += 1
            assert truth.answer == scene.objects[labels.index(text.rsplit(" ", 1)[1])].color
        elif "largest" in text:
            asked["largest"] += 1
            sizes = [extent(o, scene.image.size) for o in scene.objects]
            assert truth.answer == labels[int(np.argmax(sizes))]
    assert set(asked) == {"objects", "count", "yes", "no", "where", "colour", "largest"}
    assert 0.6 < asked["yes"] / asked["no"] < 1.7


@pytest.mark.parametrize(
    ("phrase", "count", "expected"),
    [
        ("dog", 1, "a dog"),
        ("apple", 1, "an apple"),
        ("orange car", 1, "an orange car"),
        ("dog", 2, "two dogs"),
        ("bus", 3, "three buses"),
        ("fish", 2, "two fish"),
        ("butterfly", 4, "four butterflies"),
        ("snowman", 2, "two snowmen"),
        ("grapes", 1, "a bunch of grapes"),
        ("small scissors", 1, "a small pair of scissors"),
        ("glasses", 2, "two pairs of glasses"),
        ("bread", 2, "two loaves of bread"),
    ],
)
def test_counted(phrase, count, expected):
    assert counted(phrase, count) == expected


@pytest.mark.parametrize(
    ("parts", "expected"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_join(parts, expected):
    assert join(parts) == expected


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 10, 10), "top left"),
        ((45, 45, 55, 55), "centre"),
        ((90, 45, 99, 55), "right"),
        ((40, 80, 60, 99), "bottom"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_position(box, expected):
    assert position(thing(box=box), (100, 100)) == expected


def test_matching_takes_a_class_or_a_coloured_class():
    objects = [thing("car", "red"), thing("car", "blue"), thing("dog")]
    assert matching(objects, "car") == [0, 1]
    assert matching(objects, "blue car") == [1]
    assert matching(objects, "red dog") == []


def test_typed_keeps_the_words():
    import random

    forms = {typed(random.Random(seed), "Is there a dog?") for seed in range(60)}
    assert forms == {"Is there a dog?", "is there a dog?", "is there a dog"}


def test_truth_without_places_has_none():
    scene = make_scene(1, 96, library=LIBRARY, kind="sign")
    caption = next(t for t in scene.truths if t.task == "caption")
    assert isinstance(caption.detections, Detections)
    assert len(caption.detections) == 0
