"""Sets of the package ``datasets``: a cell gives bytes, and never opens what it names."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florence_demo.data.reading import open_data, parse_source
from florence_demo.data.source import DataSource
from florence_demo.errors import DatasetError

datasets = pytest.importorskip("datasets")

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(buffer, "PNG")
    return buffer.getvalue()


def table(image: Any, question: Any = "Who?") -> Any:
    return datasets.Dataset.from_dict(
        {"image": [image], "question": [question], "answers": [["Ada"]]}
    )


def saved(folder: Path, rows: Any) -> DataSource:
    rows.save_to_disk(str(folder))
    return DataSource("datasets", str(folder))


def test_a_cell_gives_bytes(tmp_path: Path) -> None:
    for number, cell in enumerate((png(), {"bytes": png(), "path": "x.png"})):
        (row,) = open_data(saved(tmp_path / str(number), table(cell)))
        assert row.size() == row.load().size == (20, 10)


@pytest.mark.parametrize("name", ["outside.png", "set/inside.png", "gone.png", "script.eps"])
@pytest.mark.parametrize("form", ["path", "text"])
def test_a_path_in_a_cell_opens_nothing(tmp_path: Path, name: str, form: str) -> None:
    path = tmp_path / name
    cell = {"bytes": None, "path": str(path)} if form == "path" else str(path)
    source = saved(tmp_path / "set", table(cell))
    if name != "gone.png":
        path.write_bytes(EPS if name.endswith(".eps") else png())
    with pytest.raises(DatasetError, match="save it again with `save_to_disk`"):
        open_data(source)


@pytest.mark.parametrize("limits", [EPS, b"II*\0", b"no picture"], ids=["eps", "tiff", "text"])
def test_bytes_in_a_cell_are_opened_as_any_stranger_s_are(tmp_path: Path, limits: bytes) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        open_data(saved(tmp_path / "set", table(limits)))


def test_a_column_is_not_what_the_set_says_it_is(tmp_path: Path) -> None:
    """A question of the type "picture" would be opened by the package, whatever it names."""
    path = tmp_path / "secret.png"
    path.write_bytes(png())
    rows = table(png(), {"bytes": None, "path": str(path)})
    opened: list[Any] = []
    rows = rows.cast_column("question", datasets.Image())
    source = saved(tmp_path / "set", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.Image, "decode_example", lambda *args, **_: opened.append(args))
        with pytest.raises(DatasetError, match="needs words"):
            open_data(source)
    assert opened == []


class Hub:
    """Stand in for the hub, whose client keeps files in a cache."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path):
        from huggingface_hub import constants

        self.rows: Any = None
        self.asked: list[tuple[str, ...]] = []
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", cache / "extracted")
        monkeypatch.setattr(datasets, "load_dataset", self.load)
        monkeypatch.setattr(datasets, "get_dataset_split_names", self.names)

    def load(self, name: str, split: str, revision: str | None) -> Any:
        self.asked.append((name, split, *([revision] if revision else [])))
        return self.rows

    def names(self, name: str, revision: str | None) -> list[str]:
        return ["train", "val"] if revision == "v1.0" else ["train", "validation"]


def put(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png())
    return str(path)


def test_a_set_of_the_hub_reads_its_own_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(monkeypatch, tmp_path)
    source = DataSource("hub", "owner/name", "validation")
    own = put(tmp_path / "datasets--owner--name/snapshots/1/a.png")
    hub.rows = table({"bytes": None, "path": own})
    (row,) = open_data(source)
    assert row.load().size == (20, 10)
    assert hub.asked == [("owner/name", "validation")]
    for other in (
        tmp_path / "secret.png",
        tmp_path / "datasets--owner--private/snapshots/1/a.png",
        tmp_path / "datasets--owner--name/../secret.png",
    ):
        hub.rows = table({"bytes": None, "path": put(other)})
        with pytest.raises(DatasetError, match="holds no picture here"):
            open_data(source)


def test_a_set_of_the_hub_has_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, tmp_path)
    hub.rows = table(png())
    source = parse_source("owner/name@v1.0#validation")
    assert (source.format, source.location) == ("hub", "owner/name@v1.0")
    assert source.identity != parse_source("owner/name#validation").identity
    assert DataSource.from_json(source.to_json()) == source
    assert len(open_data(source)) == 1
    # Its own name of the part, at that revision.
    assert hub.asked == [("owner/name", "val", "v1.0")]
    for odd in ("owner/name@", "owner/name@a b", "owner/name@../x", "owner/name@-x"):
        with pytest.raises(DatasetError, match="no data that can be read"):
            parse_source(odd)


def test_a_folder_is_no_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, tmp_path)
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match="cannot be opened"):
        open_data(DataSource("hub", "owner/name"))
    assert hub.asked == []
