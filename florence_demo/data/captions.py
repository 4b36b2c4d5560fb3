"""A folder of pictures, each with a text file of the same name: its caption.

Knows the pairs, and that labels of boxes are none. What a file says may be a stranger's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from florence_demo.data.annotated import Annotated, Rows
from florence_demo.data.example import Example
from florence_demo.data.listings import IMAGE_SUFFIXES, caption_of, text_of
from florence_demo.data.named_pictures import Pictures, spelled
from florence_demo.data.parts import files_in, in_folders
from florence_demo.data.source import DataSource
from florence_demo.data.written import write_pictures
from florence_demo.data.yolo import is_labels
from florence_demo.errors import DatasetError

ENDINGS = (".txt", ".caption")
"""Of a caption's file."""
_LOOKED_AT = 20


def _is_captions(folder: Path) -> bool:
    words = map(_words_of, files_in(folder, *IMAGE_SUFFIXES)[:_LOOKED_AT])
    return any(w.is_file() and not is_labels(text_of(w, 4096)) for w in words)


find_captions = in_folders(_is_captions)


def _words_of(picture: Path) -> Path:
    """Return where a picture's caption is, the usual place where there is none."""
    places = [picture.with_suffix(ending) for ending in ENDINGS]
    found = (spelled(place, picture.parent) for place in places)
    return next(filter(None, found), places[0])


def read_captions(source: DataSource) -> Rows:
    """Yield a caption row for each picture of a folder that has a text of the same name."""
    folder = Path(source.location)
    pictures = Pictures(source, folder)
    for name in [p.name for p in files_in(folder, *IMAGE_SUFFIXES)]:
        words = _words_of(folder / name)
        if not words.is_file() or not source.holds(words):
            yield DatasetError(f"{name}: there is no {words.name} with its caption beside it.")
            continue
        try:
            caption, picture = caption_of(words), pictures.path(name)
        except DatasetError as exc:
            yield DatasetError(f"{words}: {exc}")
            continue
        yield Example(picture, "caption", answer=caption, where=f"{words}:1")


def write_captions(pictures: Sequence[Annotated], folder: Path) -> Path:
    """Write the pictures that have a caption, each with its text file; return the folder."""
    told = [picture for picture in pictures if picture.caption]
    for picture, name, _ in write_pictures(told, folder):
        (folder / name).with_suffix(".txt").write_text(picture.caption + "\n", encoding="utf-8")
    return folder
