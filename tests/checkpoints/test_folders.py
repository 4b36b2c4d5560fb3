"""Allowed roots and uploads: nothing a stranger writes leads anywhere else."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from florence_demo.checkpoints.folders import (
    UploadLimits,
    checkpoint_under,
    list_checkpoints,
    unpack_upload,
)
from florence_demo.errors import CheckpointError


def model(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ("config.json", "model.safetensors"):
        (folder / name).write_bytes(b"{}")
    return folder


@pytest.fixture
def root(tmp_path) -> Path:
    return model(tmp_path / "root", "readme.md")


# Listing


def test_models_and_adapters_are_listed_at_any_depth(root):
    found = [
        model(root / "a"),
        model(root / "run" / "checkpoint-500"),
        model(root / "run" / "checkpoint-1000", "config.json", "model.safetensors.index.json"),
        model(root / "lora", "adapter_config.json", "adapter_model.safetensors"),
        model(root / "old", "config.json", "pytorch_model.bin"),
    ]
    model(root / ".hidden")
    model(root / "notes", "config.json")
    model(root / "a" / "b" / "c" / "d" / "e" / "f")
    assert list_checkpoints(root) == sorted(found)
    assert list_checkpoints(root / "nowhere") == []


def test_links_that_lead_out_are_not_offered(root, tmp_path):
    outside = model(tmp_path / "outside")
    (root / "linked").symlink_to(outside)
    model(root / "mixed", "config.json")
    (root / "mixed" / "model.safetensors").symlink_to(outside / "model.safetensors")
    (root / "loop").symlink_to(root)
    # A hub cache links within its own root, and that is fine.
    blobs = model(root / "hub" / "blobs", "sha")
    inside = model(root / "hub" / "snapshot", "config.json")
    (inside / "model.safetensors").symlink_to(blobs / "sha")
    assert list_checkpoints(root) == [inside]
    assert checkpoint_under(root, "hub/snapshot") == inside
    for name in ("linked", "mixed"):
        with pytest.raises(CheckpointError, match="leads out"):
            checkpoint_under(root, name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/../../x", "/etc", "a\\b", "a\0b", "gone", "readme.md", "x" * 5000]
)
def test_names_from_a_browser_stay_inside(root, name):
    if name == ".":
        assert checkpoint_under(root, "a" if model(root / "a") else "") == root / "a"
        return
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint_under(root, name)


# Uploads


def zipped(path: Path, *names: str, data: bytes = b"{}") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return path


WHOLE = ("config.json", "model.safetensors", "tokenizer.json", "merges.txt")


@pytest.mark.parametrize("prefix", ["", "mine/", "a/b/"], ids=["flat", "folder", "deep"])
def test_a_zip_becomes_a_folder(tmp_path, prefix):
    names = [prefix + n for n in (*WHOLE, "modeling.py", "optimizer.pt", "sub/config.json")]
    upload = zipped(tmp_path / "mine.zip", *names)
    folder = unpack_upload([upload], tmp_path / "uploads" / "one")
    assert {p.name for p in folder.iterdir()} == set(WHOLE)
    assert [p.name for p in (tmp_path / "uploads").iterdir()] == ["one"]


def test_a_listing_is_not_even_read_when_it_is_too_long(tmp_path, monkeypatch):
    _many(tmp_path / "it.zip")
    monkeypatch.setattr(zipfile.ZipFile, "infolist", lambda _: pytest.fail("it was read"))
    with pytest.raises(CheckpointError, match="more files than"):
        unpack_upload([tmp_path / "it.zip"], tmp_path / "one")


def test_weights_that_unpack_to_many_times_their_size_are_no_weights(tmp_path):
    zipped(tmp_path / "it.zip", *WHOLE)
    with zipfile.ZipFile(tmp_path / "it.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model-2.safetensors", bytes(80 << 20))
    with pytest.raises(CheckpointError, match="times its size"):
        unpack_upload([tmp_path / "it.zip"], tmp_path / "one")
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("packed", [True, False], ids=["zip", "loose"])
def test_what_is_never_read_is_not_kept(tmp_path, packed):
    odd = ("trainer_state.json", "notes.txt", "tokenizer_config.json", "a\nb.safetensors")
    names = (*WHOLE, "model-00001-of-00002.safetensors", *odd)
    files = sorted(model(tmp_path / "in", *names).iterdir())
    if packed:
        files = [zipped(tmp_path / "it.zip", *names)]
    folder = unpack_upload(files, tmp_path / "one")
    kept = {p.name for p in folder.iterdir()}
    assert kept == {*WHOLE, "model-00001-of-00002.safetensors"}


def test_loose_files_have_the_sizes_of_their_kinds(tmp_path):
    source = model(tmp_path / "in", *WHOLE)
    (source / "config.json").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(CheckpointError, match=r"config\.json .* 1 MB"):
        unpack_upload(sorted(source.iterdir()), tmp_path / "one")


def test_the_name_of_an_upload_is_told_in_plain_words(tmp_path):
    upload = tmp_path / ("<b>[x](y)" + "z" * 150 + ".zip")
    upload.write_bytes(b"no zip")
    with pytest.raises(CheckpointError) as caught:
        unpack_upload([upload], tmp_path / "one")
    assert len(str(caught.value)) < 200
    assert "<" not in str(caught.value)


def test_loose_files_become_a_folder(tmp_path):
    source = model(tmp_path / "in", *WHOLE, "evil.py", ".hidden.json")
    folder = unpack_upload(sorted(source.iterdir()), tmp_path / "one")
    assert {p.name for p in folder.iterdir()} == set(WHOLE)


def _link(path):
    zipped(path, "config.json")
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("model.safetensors")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")


def _encrypted(path):
    zipped(path, *WHOLE)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)


def _lying(path):
    # The directory says two bytes; the entry unpacks to forty megabytes.
    zipped(path, "config.json", "model.safetensors", data=bytes(40 << 20))
    data = bytearray(path.read_bytes())
    at = -1
    while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:
        data[at + 24 : at + 28] = struct.pack("<I", 2)
    path.write_bytes(data)


def _many(path):
    """Fifty thousand names without a byte behind them."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", b"{}")
        for i in range(50_000):
            archive.writestr(f"nothing-{i}", b"")


def _lzma(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name in WHOLE:
            archive.writestr(name, b"{}")


def _sized(**sizes):
    """A zip of which one file is larger than any of its kind."""

    def make(path):
        zipped(path, *WHOLE)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            for name, size in sizes.items():
                archive.writestr(name.replace("__", "."), bytes(size))

    return make


def _long_folders(path):
    zipped(path, *(f"{letter * 60_000}/config.json" for letter in "abc"))


BAD = {
    "a listing that fills the memory": (_many, "more files than"),
    "an unusual packing": (_lzma, "packed in an unusual way"),
    "a large generation_config": (
        _sized(generation_config__json=(256 << 10) + 1),
        r"generation_config\.json in the upload is larger than 0\.25 MB",
    ),
    "a large vocabulary": (_sized(vocab__json=(4 << 20) + 1), r"vocab\.json .* 4 MB"),
    "a large adapter_config": (_sized(adapter_config__json=(1 << 20) + 1), "1 MB"),
    "long names of folders": (_long_folders, "several"),
    "dots": (lambda p: zipped(p, "config.json", "../model.safetensors"), "lead out"),
    "absolute": (lambda p: zipped(p, "config.json", "/model.safetensors"), "lead out"),
    "backslash": (lambda p: zipped(p, "config.json", "..\\model.safetensors"), "lead out"),
    "drive": (lambda p: zipped(p, "config.json", "C:model.safetensors"), "lead out"),
    "link": (_link, "link"),
    "encrypted": (_encrypted, "password"),
    "no zip": (lambda p: p.write_bytes(b"hello"), "no zip file"),
    "cut off": (lambda p: p.write_bytes(zipped(p, *WHOLE).read_bytes()[:-40]), "no zip file"),
    "empty": (lambda p: zipped(p), "no config.json"),
    "a pickle": (lambda p: zipped(p, "config.json", "pytorch_model.bin"), "pickle"),
    "two": (lambda p: zipped(p, "a/config.json", "b/config.json"), "several"),
    "no weights": (lambda p: zipped(p, "config.json"), "no checkpoint"),
    "zeros": (lambda p: zipped(p, *WHOLE, data=bytes(20 << 20)), "larger"),
    "a lying directory": (_lying, "larger|no zip file"),
    "many": (lambda p: zipped(p, "config.json", *(f"{i}.json" for i in range(300))), "300|301"),
}


@pytest.mark.parametrize(("make", "said"), BAD.values(), ids=BAD)
def test_bad_uploads_get_one_sentence_and_leave_nothing(tmp_path, make, said):
    make(tmp_path / "it.zip")
    store = tmp_path / "store"
    with pytest.raises(CheckpointError, match=said) as caught:
        unpack_upload([tmp_path / "it.zip"], store / "one", UploadLimits(unpacked=30 << 20))
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 600
    assert list(store.iterdir()) == []
    assert not (tmp_path / "model.safetensors").exists()


def test_loose_files_are_limited_too(tmp_path):
    source = model(tmp_path / "in", *WHOLE)
    (source / "model.safetensors").write_bytes(bytes(2000))
    with pytest.raises(CheckpointError, match="larger"):
        unpack_upload(sorted(source.iterdir()), tmp_path / "one", UploadLimits(unpacked=1000))
    twice = [source / "config.json", model(tmp_path / "two") / "config.json"]
    with pytest.raises(CheckpointError, match="same name"):
        unpack_upload(twice, tmp_path / "one")
    with pytest.raises(CheckpointError, match="already there"):
        unpack_upload(sorted(source.iterdir()), source)
    with pytest.raises(CheckpointError, match="could not be stored"):
        unpack_upload([tmp_path / "gone.json", source / "config.json"], tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_an_archive_is_counted_while_it_is_unpacked():
    from florence_demo.files import copy_at_most

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return bytes(size)

    target = Path("/dev/null")
    if target.exists():
        with pytest.raises((CheckpointError, FileExistsError)):
            copy_at_most(Endless(), target, 10 << 20, CheckpointError("too large"))
