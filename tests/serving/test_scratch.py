"""Temporary files: where they lie, when they go, and that nothing else goes with them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from florence_demo.serving.scratch import AGE, Scratch

LATER = AGE + 60


@pytest.fixture
def scratch(tmp_path):
    made = Scratch(tmp_path)
    yield made
    made.close()


def write(folder: Path, *names: str) -> list[Path]:
    files = [folder / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"123")
    return files


def count(scratch: Scratch) -> int:
    return sum(1 for p in scratch.root.rglob("*") if p.is_file())


def test_nothing_is_made_before_it_is_needed(tmp_path):
    Scratch(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_it_is_for_its_user_alone(scratch):
    assert scratch.root.stat().st_mode & 0o077 == 0
    assert scratch.new_folder().is_relative_to(scratch.private)
    assert scratch.new_served_folder().is_relative_to(scratch.served)


def test_what_is_old_goes_and_what_is_young_stays(scratch):
    write(scratch.new_folder(), "upload/a.json", "upload/images/b.png")
    write(scratch.new_served_folder(), "picture.jpg", "report.html")
    write(scratch.served / "deep_links" / "x", "state.json")
    assert scratch.size() == 15
    assert scratch.sweep() == 0
    assert count(scratch) == 5
    assert scratch.sweep(time.time() + LATER) == 5
    assert count(scratch) == 0
    assert [p for p in scratch.root.rglob("*") if p not in (scratch.served, scratch.private)] == []


def test_an_upload_is_as_old_as_its_last_use(scratch):
    upload = scratch.new_folder()
    old, *_ = write(upload, "upload/old.json")
    os.utime(old, (1, 1))  # as an archive says
    assert scratch.sweep() == 0
    scratch.touch(old.parent)
    assert old.is_file()


@pytest.mark.parametrize("where", ["/etc/hostname", "..", "private", "served/none.png"])
def test_touching_reaches_nothing_outside(scratch, where):
    assert scratch.private.is_dir()
    target = scratch.root / where
    before = target.stat().st_mtime if target.exists() else None
    scratch.touch(target)
    assert (target.stat().st_mtime if target.exists() else None) == before


def test_the_end_leaves_nothing(tmp_path):
    scratch = Scratch(tmp_path)
    write(scratch.new_folder(), "a")
    scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_forgets_leaves_nothing_either(tmp_path):
    code = (
        "import sys; from pathlib import Path; from florence_demo.serving.scratch import Scratch;"
        "s = Scratch(Path(sys.argv[1])); (s.new_folder() / 'a').write_text('1')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    write(tmp_path / f"florence-demo-{dead}-abc", "private/upload/a.png")
    alive = write(tmp_path / f"florence-demo-{os.getppid()}-abc", "a.png")[0]
    other = write(tmp_path / "florence-demo-notes", "a.png")[0]
    scratch = Scratch(tmp_path)
    scratch.new_folder()
    assert {p.name for p in tmp_path.iterdir()} == {
        scratch.root.name, alive.parent.name, other.parent.name,
    }  # fmt: skip
    scratch.close()


def test_a_link_is_removed_and_not_followed(scratch, tmp_path):
    outside = write(tmp_path / "mine", "keep.png")[0]
    (scratch.new_folder() / "link").symlink_to(outside.parent)
    (scratch.served / "link").symlink_to(outside.parent)
    scratch.sweep(time.time() + LATER)
    assert outside.is_file()
