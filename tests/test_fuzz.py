"""A few inputs at every door, and the fuzzer itself; ``make fuzz`` tries many more."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from tests.fuzz import make_zips
from tests.fuzz.__main__ import failures, table
from tests.fuzz.control import Findings, drive
from tests.fuzz.door_planted import SENTENCES
from tests.fuzz.doors import NAMES
from tests.fuzz.oracle import SECRET, wrong_with
from tests.fuzz.worker import Plan


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Findings]:
    """All doors in one process: what takes longest is to import what lies behind them."""
    return drive(NAMES, Plan(seed=1, quick=True, drawn=10), tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", NAMES)
def test_a_door_opens_or_says_a_sentence(found: dict[str, Findings], name: str) -> None:
    findings = found[name]
    assert not findings.failures, failures(findings)
    assert findings.done
    assert findings.corpus[0] == findings.corpus[1] > 0
    # Whatever a model says is an answer.
    assert findings.refused > 0 or name == "answers"
    assert findings.accepted > 0


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    out = tmp_path_factory.mktemp("planted")
    return drive(["planted"], Plan(drawn=20), out, watchdog=5.0)["planted"]


SIGNS = {
    "a bug": "KeyError", "a panic": "BaseException", "a hang": "a hang",
    "a death": "a dead process",
    "much memory": "too much memory", "a look": "a file of this machine", "a program": "a program",
    **dict.fromkeys(SENTENCES, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNS)
def test_the_fuzzer_notices(planted: Findings, name: str) -> None:
    (failure,) = [f for f in planted.failures.values() if f.name == name or name in f.name]
    assert SIGNS[name] in next(s for s, f in planted.failures.items() if f is failure)
    assert failure.file.read_bytes() == name.encode()
    assert str(failure.file) in failures(planted)


def test_the_fuzzer_goes_on_after_an_input_that_ends_its_process(planted: Findings) -> None:
    assert planted.done
    assert planted.corpus[0] == planted.corpus[1]
    assert (planted.accepted, planted.refused) == (2, 1)
    assert "planted" in table([planted])


def test_what_a_stranger_says_may_be_said_back() -> None:
    assert wrong_with(f"“{SECRET}” is not here.") == ""
    assert wrong_with(f"“{SECRET[:-5]}…” is not here.") == ""
    assert wrong_with(f"“{Path.home()}/a” is not here.", f"{Path.home()}/a".encode()) == ""
    assert wrong_with(f"“{Path.home()}/a” is not here.") == "a path of this machine"


def test_an_honest_zip_is_one_that_is_read() -> None:
    files = {"a.txt": b"a" * 100, "b/c.safetensors": bytes(9)}
    bomb = make_zips.Entry("bomb", bytes(1000), 1000)
    data = make_zips.zipped([*make_zips.entries_of(files), bomb])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in files} == files
        assert archive.read("bomb") == bytes(1_000_000)
    assert len(data) < 50_000
