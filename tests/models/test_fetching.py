"""What arrives from the hub: told as it comes, stopped, kept, and gone on with."""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path

import pytest

from florence_demo.errors import CheckpointError
from florence_demo.models import hub as hub_module
from florence_demo.models.fetching import Amount, BrokenOff, DownloadStopped
from florence_demo.models.hub import download, in_cache
from tests.hub_server import COMMIT, Hub, hub_server

WEIGHTS = bytes(range(256)) * 2000  # 512,000 bytes
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, "README.md": b"no"}
ALL = len(WEIGHTS) + len(FILES["config.json"])
NAME = "owner/name"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_server(monkeypatch, tmp_path / "cache") as served:
        served.files = dict(FILES)
        yield served


def fetched(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def wanted() -> dict[str, bytes]:
    return {name: data for name, data in FILES.items() if name != "README.md"}


class Told:
    """Remember what a download tells, and stop it where a test wants."""

    def __init__(self, stop_at: float = 2.0) -> None:
        self.said: list[tuple[float, str]] = []
        self.stop_at = stop_at
        self.half = threading.Event()

    def __call__(self, share: float, words: str) -> None:
        self.said.append((share, words))
        if share >= 0.5:
            self.half.set()
        if share >= self.stop_at:
            raise DownloadStopped("Stopped.")


@pytest.mark.parametrize("revision", [None, COMMIT], ids=["the newest", "a commit"])
def test_every_chunk_is_told_and_the_files_are_whole(hub, revision):
    told = Told()
    assert not in_cache(NAME, revision)
    assert fetched(download(NAME, revision, "It", told)) == wanted()
    shares = [share for share, _ in told.said]
    assert shares == sorted(shares)
    assert len(shares) > 5
    assert shares[-1] == 1.0
    assert in_cache(NAME, revision)


def test_it_is_told_while_it_comes(hub):
    told = Told()
    hub.hold = {"model.safetensors": 300_000}
    done = threading.Thread(target=download, args=(NAME, None, "It", told))
    done.start()
    assert told.half.wait(30)
    assert 0.5 <= told.said[-1][0] < 1
    hub.go.set()
    done.join(30)
    assert told.said[-1][0] == 1.0


def test_a_stop_keeps_what_has_arrived_and_it_goes_on_from_there(hub):
    with pytest.raises(DownloadStopped):
        download(NAME, None, "It", Told(stop_at=0.5))
    assert not in_cache(NAME, None)
    told = Told()
    assert fetched(download(NAME, None, "It", told)) == wanted()
    first, again = hub.sent["model.safetensors"]
    assert first == 0
    assert again >= ALL / 2
    # What was here is counted at once: config.json, then half of the weights.
    assert [share >= 0.5 for share, _ in told.said[:4]] == [False, False, True, True]


def test_the_hubs_end_in_the_middle_is_a_sentence_and_it_goes_on_from_there(hub):
    hub.cut = {"model.safetensors": [300_000, 0]}
    with pytest.raises(BrokenOff, match=r"0 MB of 1 MB\. What has arrived is kept") as e:
        download(NAME, None, "It", Told())
    assert "“nano”" in str(e.value)
    assert fetched(download(NAME, None, "It", Told())) == wanted()
    assert 0 not in hub.sent["model.safetensors"][1:]


def test_a_connection_that_breaks_off_again_and_again_arrives_as_long_as_something_comes(hub):
    hub.cut = {"model.safetensors": [100_000, 200_000, 300_000, 400_000]}
    assert fetched(download(NAME, None, "It", Told())) == wanted()
    assert len(hub.sent["model.safetensors"]) == 5


def test_a_hub_that_gives_no_parts_begins_anew(hub):
    hub.cut = {"model.safetensors": [300_000]}
    hub.ranges = False
    told = Told()
    assert fetched(download(NAME, None, "It", told)) == wanted()
    assert hub.sent["model.safetensors"] == [0, 0]
    assert told.said[-1][0] == 1.0


def test_what_arrives_damaged_is_thrown_away(hub, monkeypatch, tmp_path):
    damaged = WEIGHTS[:-1] + b"!"
    monkeypatch.setattr(
        "tests.hub_server.hub_data",
        lambda served, name: damaged if name == "model.safetensors" else served.files[name],
    )
    with pytest.raises(CheckpointError, match="arrived damaged"):
        download(NAME, None, "It")
    assert list((tmp_path / "cache").rglob("*.incomplete")) == []
    assert not in_cache(NAME, None)


def test_a_commit_that_is_here_asks_the_hub_for_no_list_again(hub):
    folder = download(NAME, COMMIT, "It")
    hub.asked.clear()
    assert download(NAME, COMMIT, "It") == folder
    assert f"GET /api/models/{NAME}" not in hub.asked
    assert len(hub.sent["model.safetensors"]) == 1


def nothing_listens(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(
            "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}"
        )


def hangs_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.down = True


def offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


NO_HUB = pytest.mark.parametrize("lose", [nothing_listens, hangs_up, offline])


@NO_HUB
@pytest.mark.parametrize("limit", [None, 10**9], ids=["an operator", "a visitor"])
def test_no_network_is_one_sentence_and_one_quiet_line(hub, monkeypatch, caplog, lose, limit):
    lose(hub, monkeypatch)
    with caplog.at_level(logging.INFO), pytest.raises(CheckpointError, match="cannot be reached"):
        download(NAME, None, "It", None, limit)
    told = [r for r in caplog.records if not r.name.startswith("httpx")]
    assert [(r.name, r.levelno, r.exc_info) for r in told] == [
        (hub_module.__name__, logging.INFO, None)
    ]


@NO_HUB
def test_without_a_network_what_is_here_is_opened(hub, monkeypatch, lose):
    folder = download(NAME, None, "It")
    lose(hub, monkeypatch)
    assert download(NAME, None, "It") == folder
    assert in_cache(NAME, None)


def test_a_full_disk_is_told(hub, monkeypatch):
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("florence_demo.models.fetching._try_once", full)
    with pytest.raises(CheckpointError, match="The disk is full: It takes 1 MB"):
        download(NAME, None, "It")


def test_a_log_gets_a_line_a_tenth_and_a_terminal_a_bar(hub, caplog, capsys):
    with caplog.at_level(logging.INFO, "florence_demo"):
        download(NAME, None, "It")
    lines = [r.getMessage() for r in caplog.records if r.name.endswith("fetching")]
    assert 5 <= len(lines) <= 10
    assert lines[-1].startswith("It: Downloading 1 MB of 1 MB")
    assert capsys.readouterr().err == ""


AMOUNTS = {
    "nobody knows": (Amount(0, 10), None, "Downloading 0 MB of 0 MB"),
    "seconds": (
        Amount(164_000_000, 464_000_000, 12_500_000.0),
        24.0,
        "Downloading 164 MB of 464 MB, 12.5 MB a second, 24 s left",
    ),
    "minutes": (
        Amount(0, 1_600_000_000, 2_000_000.0),
        800.0,
        "Downloading 0 MB of 1.6 GB, 2.0 MB a second, 13 min left",
    ),
}


@pytest.mark.parametrize(("amount", "left", "words"), AMOUNTS.values(), ids=AMOUNTS)
def test_an_amount_says_speed_and_time_left(amount, left, words):
    assert amount.seconds_left == left
    assert str(amount) == words
