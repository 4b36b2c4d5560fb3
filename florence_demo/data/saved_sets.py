"""Sets of the package ``datasets``: saved to disk, or on the hub.

Knows their cells; what a column means is the matter of ``columns``. A cell gives the bytes of a
picture; of the path that it may give instead, only a file that the hub's own cache holds for this
very set is read. Nothing is decoded by the package: it would open whatever a cell names.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.bounded_json import load_json
from florence_demo.data.annotated import Rows
from florence_demo.data.box_formats import LOOKED_AT, with_box_format
from florence_demo.data.columns import ROLES, columns_of, row_of
from florence_demo.data.parts import TRAIN, WHOLE, part_called
from florence_demo.data.source import DataSource
from florence_demo.errors import DatasetError
from florence_demo.files import stays

log = logging.getLogger(__name__)

SAVED_FILES = ("state.json", "dataset_dict.json", "dataset_info.json")
MISSING_DATASETS = (
    "Reading this set needs the package “datasets”: install it with `pip install datasets`."
)
NO_PARTS = "“{source}” has no parts: leave out “#{part}”, or name other data to measure on."
_REVISION = re.compile(r"\w[\w./-]{0,95}", re.ASCII)
_BATCH = 1_000


def find_saved(location: str) -> Mapping[str, str] | None:
    """Return the parts of a set that ``save_to_disk`` wrote, all of them in its one folder."""
    folder = Path(location)
    table = folder / SAVED_FILES[1]
    if table.is_file():
        try:
            splits = load_json(table)["splits"]
            names = [str(name) for name in splits] if isinstance(splits, list) else []
        except (KeyError, TypeError, ValueError):
            names = []
        return {part_called(name) or name: location for name in names} or {WHOLE: location}
    known = any((folder / name).is_file() for name in (SAVED_FILES[0], SAVED_FILES[2]))
    return {WHOLE: location} if known else None


def read_saved(source: DataSource) -> Rows:
    """Yield the rows of a set that ``save_to_disk`` wrote."""
    loaded = _opened(source)
    if isinstance(loaded, dict):
        own = next((n for n in loaded if source.part in (n, part_called(n))), next(iter(loaded)))
        loaded = loaded[own]
    yield from rows_of_set(source, loaded)


def read_hub(source: DataSource) -> Rows:
    """Yield the rows of a set on the Hugging Face hub."""
    if Path(source.location).exists():
        # The package would take the folder for the set; nobody is told that there is one.
        raise _not_opened(source)
    yield from rows_of_set(source, _opened(source), _folders_of(id_of(source.location)[0]))


def id_of(location: str) -> tuple[str, str | None]:
    """Return the id and the revision that "owner/name@revision" names, None for the newest."""
    name, _, revision = location.partition("@")
    return name, revision or None


def is_revision(text: str) -> bool:
    """Say whether a text may name a revision: a commit, a tag or a branch."""
    return bool(_REVISION.fullmatch(text)) and ".." not in text


def hub_parts(location: str) -> tuple[str, ...]:
    """Return the names of the parts of a set on the hub, none where the hub cannot be asked."""
    return tuple(part_called(own) or own for own in _own_names(location))


def _own_names(location: str) -> tuple[str, ...]:
    """Return what a set on the hub calls its parts, nothing where the hub cannot be asked."""
    try:
        import datasets

        name, revision = id_of(location)
        return tuple(datasets.get_dataset_split_names(name, revision=revision))
    except Exception:
        # The package raises whatever its file systems raise; reading the set will say what it is.
        log.debug("no parts of %s", location, exc_info=True)
        return ()


def _opened(source: DataSource) -> Any:
    try:
        import datasets
    except ImportError as exc:
        raise DatasetError(MISSING_DATASETS) from exc
    try:
        if source.format == "hub":
            own = _own_name(source.location, source.part or TRAIN)
            name, revision = id_of(source.location)
            return datasets.load_dataset(name, split=own, revision=revision)
        return datasets.load_from_disk(source.location)
    except Exception as exc:
        # The package raises whatever its file systems raise; none of it is for a person.
        raise _not_opened(source) from exc


def _own_name(location: str, part: str) -> str:
    """Return what a set on the hub calls a part."""
    names = _own_names(location)
    return part if part in names else next((n for n in names if part_called(n) == part), part)


def _not_opened(source: DataSource) -> DatasetError:
    return DatasetError(
        f"The set “{source.location}” cannot be opened: check its name, its revision where one is"
        " named, and the connection, or save it with `save_to_disk` and name that folder."
    )


def _folders_of(hub_id: str) -> tuple[Path, ...]:
    """Return where the files of a set on the hub lie once they are fetched."""
    import datasets
    from huggingface_hub import constants

    own = f"datasets--{hub_id.replace('/', '--')}"
    return Path(constants.HF_HUB_CACHE) / own, Path(datasets.config.EXTRACTED_DATASETS_PATH)


@dataclass(frozen=True, eq=False)
class SetPictures:
    """Give the pictures of a set by their row, whatever else is in it.

    Attributes:
        table: The set's pictures, undecoded.
        folders: Where a file may lie that a cell names.
    """

    table: Any
    folders: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> CellPicture:
        return CellPicture(self.table, row, self.folders)


@functools.lru_cache(2)
def open_pictures(location: str, part: str = "", column: str = "") -> SetPictures:
    """Return the pictures of a set that ``save_to_disk`` wrote, or of one on the hub.

    Args:
        location: The folder, or the id of the hub.
        part: Which of its parts, the first where it is not said.
        column: Where the pictures are; found where it is not said.

    Raises:
        DatasetError: It cannot be opened, or has no such part or column.
    """
    saved = Path(location).exists()
    source = DataSource("datasets" if saved else "hub", location, part)
    loaded = _opened(source)
    if isinstance(loaded, dict):
        own = [name for name in loaded if not part or part in (name, part_called(name))]
        if not own:
            raise DatasetError(f"“{location}” has no part “{part}”, only {', '.join(loaded)}.")
        loaded = loaded[own[0]]
    held = [name for name, feature in loaded.features.items() if _holds_pictures(feature)]
    named = [name for name in held if name == column or (not column and name in ROLES["image"])]
    if not named and (column or not held):
        asked = f" “{column}”" if column else ""
        raise DatasetError(f"The set “{location}” has no column{asked} of pictures.")
    table = loaded.with_format("arrow").select_columns([(named or held)[0]])
    return SetPictures(table, () if saved else _folders_of(location))


def rows_of_set(source: DataSource, loaded: Any, folders: tuple[Path, ...] = ()) -> Rows:
    """Yield the rows of an open set.

    Args:
        source: Says what its columns mean, where a person told that.
        loaded: The set.
        folders: Where a file may lie that a cell names.

    Raises:
        DatasetError: It has no picture or no answer among its columns.
    """
    classes = {name: _classes(feature) for name, feature in loaded.features.items()}
    # A class is a number with a name, and what it answers only a person knows.
    plainly = [n for n, f in loaded.features.items() if hasattr(f, "names") and classes[n]]
    name = f"“{source.location}”"
    held = [n for n, feature in loaded.features.items() if _holds_pictures(feature)]
    columns = columns_of(name, tuple(loaded.column_names), source.columns, plainly, held)
    # As Arrow holds them: with any other format a column is what the set says that it is, such as
    # a picture, a sound or a document, and reading it opens the file that a cell names.
    plain = loaded.with_format("arrow")
    taken = columns.taken
    words = plain.select_columns([c for role, c in taken.items() if role != "image"])
    pictures = plain.select_columns([taken["image"]])
    if "objects" in taken:
        known = words[:LOOKED_AT].to_pylist()
        shown = (CellPicture(pictures, i, folders) for i in range(len(known)))
        cells_of = (row[taken["objects"]] for row in known)
        columns = with_box_format(columns, zip(cells_of, shown, strict=True))
    yield columns.note(name)
    of_objects = classes.get(taken.get("objects", ""), [])

    def named(cell: Any) -> str | None:
        return _named(cell, of_objects)

    # Rows about one picture share its source: none is both learned from and measured on.
    shared: dict[object, CellPicture] = {}
    for at in range(0, len(words), _BATCH):
        for i, row in enumerate(words[at : at + _BATCH].to_pylist(), at):
            where = f"{source.location}:{i}"
            picture = CellPicture(pictures, i, folders)
            try:
                picture = shared.setdefault(picture.identity(), picture)
            except DatasetError as exc:
                yield DatasetError(f"{where}: {exc}")
                continue
            cells = {c: _named(v, classes[c]) if c in plainly else v for c, v in row.items()}
            try:
                yield row_of(columns, cells, picture, where, named, tuple(of_objects))
            except DatasetError as exc:
                yield exc


def _holds_pictures(feature: Any) -> bool:
    """Say whether a column may hold pictures: as such, as bytes, or as bytes beside a name."""
    if isinstance(feature, dict):
        return "bytes" in feature
    kind = type(feature).__name__
    return kind == "Image" or getattr(feature, "dtype", "") in ("binary", "large_binary")


def _classes(feature: Any) -> list[str]:
    """Return the names of a column's classes, wherever in it they are; none where it has none."""
    names = getattr(feature, "names", None)
    if isinstance(names, list):
        return [str(name) for name in names]
    inner = feature.values() if isinstance(feature, dict) else [getattr(feature, "feature", None)]
    return next(filter(None, (_classes(one) for one in inner if one is not None)), [])


def _named(value: Any, names: list[str]) -> str | None:
    """Return the name of the class of this number, None where it is the number of none."""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


@dataclass(frozen=True, eq=False)
class CellPicture:
    """Get a picture of a set when it is used: until then nothing of it is kept.

    Attributes:
        table: The set's pictures, undecoded.
        row: Which of them.
        folders: Where a file may lie that a cell names.
    """

    table: Any
    row: int
    folders: tuple[Path, ...] = ()

    def __call__(self) -> bytes | Path:
        """Return the picture's bytes, or its file.

        Raises:
            DatasetError: The cell has neither.
        """
        cell = self.table[self.row].column(0)[0].as_py()
        if cell is None:
            raise DatasetError("the row has no picture.")
        given = cell if isinstance(cell, dict) else {"bytes": cell, "path": cell}
        data, path = given.get("bytes"), given.get("path") or ""
        if isinstance(data, bytes) and data:
            return data
        for folder in self.folders if path and isinstance(path, str) else ():
            if stays(folder / path, *self.folders) and (folder / path).is_file():
                return folder / path
        raise DatasetError(
            "the set holds no picture here, at most the name of a file: open it with `datasets` and"
            " save it again with `save_to_disk`, which puts the pictures into the set."
        )

    def identity(self) -> object:
        """Return what two cells with one picture have in common.

        Raises:
            DatasetError: The cell has none.
        """
        found = self()
        return found if isinstance(found, Path) else hashlib.blake2b(found, digest_size=16).digest()
