from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from florence_demo.errors import DatasetError
from florence_demo.nano.scenes.catalogue import (
    ALL_HUES,
    CLASSES,
    CODE_POINTS,
    COLORS,
    HELD_OUT_STYLES,
    PAINTED,
    TRAIN_STYLES,
    UNUSABLE,
    WINDOWS,
)
from florence_demo.nano.scenes.compose import make_scene
from florence_demo.nano.scenes.sources import NAME_ALIASES, STYLES, fetch
from florence_demo.nano.scenes.sprites import SMALL_EDGE, Library, Pose, Sprite, lay, main, paint

STUDY = """
    dog cat horse cow pig sheep elephant lion rabbit duck penguin fish turtle frog butterfly bee
    snail car bus truck bicycle motorcycle airplane helicopter rocket boat ship apple banana
    orange strawberry grapes watermelon pineapple carrot pizza hamburger cake donut bread cup
    tree cactus sunflower rose mushroom house umbrella clock chair book key guitar camera laptop
    phone scissors hammer backpack shoe shirt ball balloon gift
"""


def square(edge=64, color=(200, 30, 30, 255)):
    picture = Image.new("RGBA", (edge, edge))
    ImageDraw.Draw(picture).rectangle((8, 8, edge - 9, edge - 9), fill=color)
    return picture


def sprite(picture=None, label="ball"):
    return Sprite(label, "drawn", lambda: (picture or square()).copy())


@pytest.fixture
def folder(tmp_path):
    for style, label in (("fluent", "dog"), ("noto", "car"), ("twemoji", "dog")):
        (tmp_path / style).mkdir()
        square().save(tmp_path / style / f"{label}-0.webp", lossless=True)
    square().save(tmp_path / "fluent" / "spaceship-0.webp", lossless=True)
    (tmp_path / "fx").mkdir()
    square().save(tmp_path / "fx" / "boat-0.webp", lossless=True)
    (tmp_path / "fonts").mkdir()
    for font in ("LiberationSerif-Bold.ttf", "Lato-Regular.ttf"):
        (tmp_path / "fonts" / font).write_bytes(b"")
    (tmp_path / "backgrounds").mkdir()
    Image.new("RGB", (40, 30), "green").save(tmp_path / "backgrounds" / "grass.webp")
    return tmp_path


def test_classes_are_the_studys_and_at_most_a_hundred():
    assert len(STUDY.split()) == 64
    assert set(STUDY.split()) <= set(CLASSES)
    assert len(CLASSES) <= 100
    assert len({c for codes in CODE_POINTS.values() for c in codes}) == sum(
        map(len, CODE_POINTS.values())
    )
    assert set(CLASSES) >= PAINTED >= ALL_HUES | WINDOWS


def test_the_held_out_style_is_not_trained():
    assert not set(TRAIN_STYLES) & set(HELD_OUT_STYLES)
    assert {s.name for s in STYLES} == {*TRAIN_STYLES, *HELD_OUT_STYLES}
    assert all(s.licence in ("MIT", "Apache-2.0", "CC-BY-4.0") for s in STYLES)
    assert {u.split("/")[0] for u in UNUSABLE} <= {s.name for s in STYLES}
    assert all(NAME_ALIASES.values())


@pytest.mark.parametrize("color", COLORS)
def test_paint_gives_the_colour_and_keeps_the_shape(color):
    painted = paint(square(), color)
    assert painted.getchannel("A").tobytes() == square().getchannel("A").tobytes()
    red, green, blue, _ = painted.getpixel((32, 32))
    hue, _, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    distance = abs((hue * 360 - COLORS[color][0] + 180) % 360 - 180)
    assert distance < 6
    assert value > 0.5


def test_paint_changes_the_leading_colour_alone():
    picture = square()
    ImageDraw.Draw(picture).rectangle((10, 10, 20, 20), fill=(20, 160, 40, 255))
    assert paint(picture, "blue").getpixel((15, 15))[:3] == pytest.approx((20, 160, 40), abs=6)
    both = paint(picture, "blue", all_hues=True).getpixel((15, 15))
    assert both[2] > both[1]


def test_paint_leaves_windows_and_colours_what_is_grey():
    picture = square(color=(220, 180, 30, 255))
    ImageDraw.Draw(picture).rectangle((8, 8, 56, 34), fill=(40, 150, 230, 255))
    painted = paint(picture, "red", windows=True)
    assert painted.getpixel((30, 20))[2] > 150
    assert painted.getpixel((30, 50))[0] > painted.getpixel((30, 50))[2] + 80
    grey = paint(square(color=(180, 180, 180, 255)), "green").getpixel((32, 32))
    assert grey[1] > grey[0] + 40


@pytest.mark.parametrize(
    ("pose", "size"),
    [
        (Pose(30, 20), (30, 20)),
        (Pose(200, 100), (200, 100)),
        (Pose(40, 20, angle=90), (20, 40)),
    ],
    ids=["smaller", "larger", "turned"],
)
def test_lay_fits_its_pose(pose, size):
    laid = lay(sprite(), None, pose)
    assert laid.mode == "RGBA"
    assert np.abs(np.subtract(laid.size, size)).max() <= 1
    assert laid.getpixel((laid.width // 2, laid.height // 2)) == (200, 30, 30, 255)


def test_lay_mirrors_and_turns_clockwise():
    picture = Image.new("RGBA", (40, 40), (0, 0, 255, 255))
    ImageDraw.Draw(picture).rectangle((0, 0, 19, 39), fill=(255, 0, 0, 255))
    one = sprite(picture)
    assert lay(one, None, Pose(40, 40)).getpixel((5, 20))[0] > 200
    assert lay(one, None, Pose(40, 40, flip=True)).getpixel((5, 20))[2] > 200
    assert lay(one, None, Pose(40, 40, angle=90)).getpixel((20, 5))[0] > 200


def test_enlarged_edges_stay_sharp():
    alpha = np.asarray(lay(sprite(square(32)), None, Pose(320, 320)).getchannel("A"))
    assert ((alpha > 20) & (alpha < 235)).mean() < 0.06


def test_full_size_is_opened_for_large_scenes_only():
    big = sprite(square(320))
    assert max(big.levels(None, 100)[0].size) == SMALL_EDGE
    assert max(big.levels(None, 300)[0].size) == 320


def test_load_takes_styles_and_fonts(folder):
    library = Library.load(folder)
    assert library.labels == ("dog", "car")
    assert library.sprites["dog"][0].style == "fluent"
    assert [p.name for p in library.fonts] == ["Lato-Regular.ttf"]
    assert set(library.backgrounds) == {"grass"}
    other = Library.load(folder, ("twemoji",), ("LiberationSerif",))
    assert other.labels == ("dog",)
    assert [p.name for p in other.fonts] == ["LiberationSerif-Bold.ttf"]


def test_load_says_how_to_get_sprites(tmp_path):
    with pytest.raises(DatasetError, match=r"python -m florence_demo\.nano\.scenes\.sprites"):
        Library.load(tmp_path)


def test_loaded_sprites_make_scenes(folder):
    library = Library.load(folder, fonts=())
    scene = make_scene(0, 128, library=library, kind="objects")
    assert {o.label for o in scene.objects} <= {"dog", "car"}
    assert all((o.color in COLORS) == (o.label == "car") for o in scene.objects)


def test_fetch_names_a_missing_client(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetError, match="npm is not installed"):
        fetch(tmp_path / "sprites", CODE_POINTS, tmp_path, None)


def test_main_explains_itself(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "sprites" in capsys.readouterr().out
