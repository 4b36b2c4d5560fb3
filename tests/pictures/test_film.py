"""Pictures become a video with the sound of another: its times, its size, its colours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from florence_demo.errors import InputError
from florence_demo.output.film import drawn
from florence_demo.output.tags import color_of, rgb
from florence_demo.pictures import film as film_module
from florence_demo.pictures.film import save_film
from florence_demo.pictures.frames import FILM_LIMITS, BrokenOff, open_frames
from florence_demo.prediction import Detections
from tests import film_makers as make

Pictures = Iterator[tuple[float, Image.Image]]


def of(path: Path) -> Pictures:
    return ((frame.seconds, frame.picture) for frame in open_frames(path, "1", limits=FILM_LIMITS))


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "in.mp4"
    path.write_bytes(data)
    return path


def sound(path: Path) -> tuple[int, float]:
    """How many samples are heard, and how loud."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return 0, 0.0
        waves = [frame.to_ndarray() for frame in container.decode(audio=0)]
    wave = np.concatenate(waves, axis=1)
    return wave.shape[1], float(np.abs(wave).max())


def boxes(*labels: str, left: float = 20) -> Detections:
    rows = [[left + 60 * i, 20, left + 40 + 60 * i, 70] for i in range(len(labels))]
    return Detections(np.array(rows, np.float32), labels)


def test_five_seconds_with_sound_are_drawn_on(tmp_path: Path) -> None:
    source = saved(tmp_path, make.film(50, size=(160, 96), sound=True))
    answers = [(0.0, boxes("cat", "dog")), (2.0, boxes("dog")), (4.0, boxes("dog", "cat"))]
    target = tmp_path / "out.mp4"
    assert save_film(drawn(of(source), answers), target, source) == ()
    frames = list(open_frames(target, "1"))
    assert [round(frame.seconds, 3) for frame in frames] == [round(i / 10, 3) for i in range(50)]
    assert {frame.picture.size for frame in frames} == {(160, 96)}
    samples, loud = sound(target)
    assert samples == pytest.approx(5 * 16_000, abs=1100)
    assert loud > 0.1
    # The place of the first thing is a cat's, then a dog's, and keeps the colour of its label.
    for frame in frames:
        at = int(frame.seconds / 2)
        for place, label in enumerate([("cat", "dog"), ("dog",), ("dog", "cat")][at]):
            # On the line at the bottom of the box, which is two pixels wide.
            row = np.asarray(frame.picture, int)[69:71, 30 + 60 * place : 50 + 60 * place]
            assert np.abs(row.mean(axis=(0, 1)) - rgb(color_of(label))).max() < 60, frame.number


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_a_turned_video_keeps_its_size_as_it_is_shown(tmp_path: Path, ending: str) -> None:
    source = saved(tmp_path, make.turned(make.film(10, sound=True), 90))
    target = tmp_path / f"out{ending}"
    save_film(of(source), target, source)
    frames = list(open_frames(target, "1"))
    assert (len(frames), frames[0].picture.size) == (10, (32, 64))
    assert frames[0].picture.getpixel((28, 3))[0] > 200
    assert sound(target)[0] > 0


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.5, 1.25]
    save_film(((s, make.picture(i)) for i, s in enumerate(times)), tmp_path / "a.mp4")
    found = [frame.seconds for frame in open_frames(tmp_path / "a.mp4", "1")]
    assert found == pytest.approx(times, abs=0.001)


@pytest.mark.parametrize("size", [(63, 31), (64, 31), (63, 32), (2, 2)], ids=str)
def test_an_odd_side_gets_one_pixel_more(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (200, 100, 50))
    save_film([(0.0, picture), (0.1, picture.resize((20, 20)))], tmp_path / "a.mp4")
    frames = list(open_frames(tmp_path / "a.mp4", "1"))
    assert [frame.picture.size for frame in frames] == [
        (size[0] + size[0] % 2, size[1] + size[1] % 2)
    ] * 2
    corner = frames[0].picture.getpixel((frames[0].picture.width - 1, frames[0].picture.height - 1))
    assert corner == pytest.approx((200, 100, 50), abs=12)


def test_what_came_before_the_cut_is_written_and_told(tmp_path: Path) -> None:
    data = make.film(50, front=True, sound=True)
    source = saved(tmp_path, data[: len(data) * 2 // 3])
    with pytest.raises(BrokenOff, match="breaks off after"):
        save_film(of(source), tmp_path / "out.mp4", source)
    assert 10 < len(list(open_frames(tmp_path / "out.mp4", "1"))) < 45
    assert sound(tmp_path / "out.mp4")[0] > 16_000


def test_sound_that_cannot_be_copied_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path, make.film(5))
    pictures = list(of(source))
    source.write_bytes(b"hello")
    (told,) = save_film(iter(pictures), tmp_path / "out.mp4", source)
    assert "could not be copied: the video is silent" in told
    assert len(list(open_frames(tmp_path / "out.mp4", "1"))) == 5
    source.write_bytes(make.film(5))
    assert save_film(iter(pictures), tmp_path / "out.mp4", source) == ()  # it has none


def test_another_encoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_module, "_ENCODERS", ("no_such_encoder", "mpeg4"))
    (told,) = save_film([(0.0, make.picture(1))], tmp_path / "a.mp4")
    assert "No H.264 is encoded here: the video is in MPEG4." in told
    assert len(list(open_frames(tmp_path / "a.mp4", "1"))) == 1


def test_it_is_whole_or_not_there(tmp_path: Path) -> None:
    def broken() -> Pictures:
        yield 0.0, make.picture(1)
        raise InputError("no")

    for pictures, told in ((broken(), "^no$"), (iter(()), "no frames to write")):
        with pytest.raises(InputError, match=told):
            save_film(pictures, tmp_path / "a.mp4")
    with pytest.raises(InputError, match="must end with"):
        save_film(broken(), tmp_path / "a.gif")
    with pytest.raises(InputError, match="folder that exists"):
        save_film(broken(), tmp_path / "nowhere" / "a.mp4")
    assert list(tmp_path.iterdir()) == []
