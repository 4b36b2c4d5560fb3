"""A model is known by its files, wherever they lie."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from florence_demo.models.finding import find
from florence_demo.models.weights import digest_of
from florence_demo.trust import OPERATOR


def test_equal_files_are_one_model(tmp_path):
    nano = find("nano", OPERATOR)
    shutil.copytree(nano.info.path, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("another card")
    assert digest_of(find(str(tmp_path / "copy"), OPERATOR)) == digest_of(nano)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "generation_config.json", "confidence.json", "tokenizer.json"]
)
def test_another_file_is_another_model(tmp_path, name):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(folder)
    found = [
        SimpleNamespace(info=SimpleNamespace(path=tmp_path / f), base=None) for f in ("one", "two")
    ]
    assert digest_of(found[0]) != digest_of(found[1])
    found[1].info.path, found[1].base = tmp_path / "one", SimpleNamespace(path=tmp_path / "two")
    assert digest_of(found[0]) != digest_of(found[1]), "its base counts"
