"""Runs as the page starts, finds, stops and resumes them; processes here only wait to be ended."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from florence_demo.commands.train import add_arguments, config_from_args
from florence_demo.data.reading import source_in
from florence_demo.data.source import DataLimits, DataSource
from florence_demo.errors import DatasetError, InputError
from florence_demo.files import write_json
from florence_demo.models.catalogue import spec_of
from florence_demo.training import runs as module
from florence_demo.training.config import CONFIG_FILE, TrainConfig, read_settings
from florence_demo.training.runs import DATA_FOLDER, Runs, clean_name, command
from florence_demo.training.status import STATUS_FILE, STOP_FILE, RunFiles, read_status
from florence_demo.trust import OPERATOR, VISITOR
from tests.run_makers import finished_run

CONFIG = TrainConfig(model="nano", data="forms:0:8", steps=3)
WAIT = "import sys; sys.stdin.read()"


class Machine:
    """Start processes that wait, instead of trainings; remember what was to be started."""

    def __init__(self) -> None:
        self.started: list[Sequence[str]] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(self, arguments: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
        self.started.append(arguments)
        # The word by which a run's process is known.
        waiting = [sys.executable, "-c", WAIT, "florence_demo"]
        self.processes.append(subprocess.Popen(waiting, stdin=subprocess.PIPE))
        return self.processes[-1]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.kill()


@pytest.fixture
def runs(tmp_path: Path, machine: Machine) -> Runs:
    return Runs(tmp_path / "checkpoints", machine)


def configured(runs: Runs, name: str = "mine") -> Path:
    """Start a run and do what its process does first."""
    run = runs.start(CONFIG, name)
    write_json(run.folder / CONFIG_FILE, replace(CONFIG, out=run.folder).to_json())
    return run.folder


def tell(folder: Path, machine: Machine, **changes: object) -> None:
    files = RunFiles(folder)
    files.tell(pid=machine.processes[-1].pid, **changes)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(TrainConfig(), id="defaults"),
        pytest.param(
            TrainConfig(
                data=DataSource("captions", "-odd #1", "", "/root", DataLimits(rows=3)),
                eval_data="-odd",
                tasks=("od", "vqa"),
                steps=7,
                learning_rate=3e-5,
                cache=True,
                resume=True,
                out=Path("a b"),
            ),
            id="all kinds",
        ),
    ],
)
def test_a_command_line_says_what_the_settings_say(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, out=tmp_path / config.out)
    config.out.mkdir(parents=True)
    write_json(config.out / CONFIG_FILE, replace(config, resume=False).to_json())
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    line = command(config)
    assert line[:4] == [sys.executable, "-m", "florence_demo", "train"]
    assert config_from_args(parser.parse_args(line[4:])) == config
    with pytest.raises(DatasetError, match="either --settings, or"):
        config_from_args(parser.parse_args([*line[4:], "--steps=9"]))


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("my model", "my-model"),
        ("../../etc/passwd", "etc-passwd"),
        ("/", "run"),
        ("", "run"),
        (".hidden", "hidden"),
        ("a\0b\\c:d", "a-b-c-d"),
        ("-rf", "rf"),
        ("Ünï", "n"),
        ("x" * 99, "x" * 60),
    ],
)
def test_a_name_is_one_plain_folder(name: str, clean: str) -> None:
    assert clean_name(name) == clean


def test_a_run_is_found_before_its_process_has_said_anything(runs: Runs) -> None:
    run = runs.start(CONFIG, "my model")
    assert run.folder == runs.root / "my-model"
    # Another visitor's page, or this one loaded again.
    found = Runs(runs.root).current()
    assert found is not None
    assert (found.name, found.live, found.status.state) == ("my-model", True, "starting")


def test_the_process_is_told_where_to_learn(runs: Runs, machine: Machine) -> None:
    runs.start(CONFIG, "mine")
    assert f"--settings={runs.root / 'mine'}" in machine.started[0]
    assert read_settings(runs.root / "mine") == replace(CONFIG, out=runs.root / "mine")


def test_a_second_start_is_refused_while_one_lives(runs: Runs, machine: Machine) -> None:
    configured(runs)
    with pytest.raises(InputError, match="One run at a time: “mine” is still going on"):
        runs.start(CONFIG, "other")
    with pytest.raises(InputError, match="One run at a time"):
        runs.resume()
    assert not (runs.root / "other").exists()
    assert len(machine.started) == 1


def test_nothing_is_overwritten(runs: Runs, machine: Machine) -> None:
    precious = runs.root / "mine" / "model.safetensors"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    with pytest.raises(InputError, match="already: choose another name"):
        runs.start(CONFIG, "mine")
    assert precious.read_text() == "precious"
    assert machine.started == []
    assert runs.free_name("mine") == "mine-2"
    assert runs.free_name("new") == "new"


def test_settings_that_make_no_sense_start_nothing(runs: Runs, machine: Machine) -> None:
    with pytest.raises(DatasetError, match="batch_size must be more than 0"):
        runs.start(replace(CONFIG, batch_size=0), "mine")
    assert machine.started == []
    assert not runs.root.exists()


def test_a_run_that_cannot_be_started_leaves_no_folder(tmp_path: Path) -> None:
    def broken(arguments: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
        raise OSError(12, "Cannot allocate memory")

    runs = Runs(tmp_path, broken)
    with pytest.raises(InputError, match="Cannot allocate memory"):
        runs.start(CONFIG, "mine")
    assert list(tmp_path.iterdir()) == []


def test_an_upload_stays_as_long_as_the_run(runs: Runs, machine: Machine, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.mkdir()
    (upload / "a.txt").write_text("a caption")
    Image.new("RGB", (9, 9)).save(upload / "a.png")
    source = source_in(upload, upload, DataLimits(rows=3))
    assert source is not None
    run = runs.start(replace(CONFIG, data=source), "mine", upload)
    copy = run.folder / DATA_FOLDER
    assert (copy / "a.txt").read_text() == "a caption"
    # What it may cost and where its files may lie goes with it, into the process that reads it.
    assert run.config().data == DataSource(
        "captions", str(copy), "", str(copy), DataLimits(rows=3, seconds=1200)
    )


def test_a_killed_run_is_told_in_a_sentence_and_can_go_on(runs: Runs, machine: Machine) -> None:
    folder = configured(runs)
    tell(folder, machine, state="training", step=2, steps=3, before={"custom/anls": 0.1})
    machine.kill()
    run = runs.current()
    assert run is not None
    assert (run.live, run.status.state, run.resumable) == (False, "failed", True)
    assert "was killed, or ran out of memory" in run.status.message
    resumed = runs.resume()
    assert "--resume" in machine.started[1]
    assert resumed.live
    assert resumed.status.before == {"custom/anls": 0.1}


def test_a_number_that_went_to_another_process_is_no_run(runs: Runs, machine: Machine) -> None:
    folder = configured(runs)
    tell(folder, machine, state="training")
    status = read_status(folder)
    assert status is not None
    assert status.state == "training"
    # Told long before the process with this number began: the machine was started again since.
    write_json(folder / STATUS_FILE, {**vars(status), "updated": status.updated - 1000})
    run = runs.current()
    assert run is not None
    assert not run.live


def test_a_run_that_learns_is_asked_to_stop(runs: Runs, machine: Machine) -> None:
    folder = configured(runs)
    tell(folder, machine, state="training", step=1, steps=3)
    run = runs.stop()
    assert (folder / STOP_FILE).exists()
    assert run.stopping
    assert machine.processes[0].poll() is None


@pytest.mark.parametrize(
    ("checkpoint", "words"), [("", "Nothing was learned"), ("x", "last checkpoint is kept")]
)
def test_a_run_that_has_learned_nothing_yet_is_ended(
    runs: Runs, machine: Machine, checkpoint: str, words: str
) -> None:
    folder = configured(runs)
    tell(folder, machine, state="measuring", checkpoint=checkpoint)
    run = runs.stop()
    assert machine.processes[0].poll() is not None
    assert run.status.state == "stopped"
    assert words in run.status.message
    assert run.resumable
    with pytest.raises(InputError, match="No run is going on"):
        runs.stop()


def test_only_a_runs_own_process_is_ended(runs: Runs) -> None:
    folder = configured(runs)
    # This very process, as when somebody calls the trainer from Python.
    RunFiles(folder).tell(state="measuring", pid=os.getpid())
    runs.stop()
    assert (folder / STOP_FILE).exists()


@pytest.mark.parametrize("state", ["done", None], ids=["done", "never"])
def test_what_did_not_end_early_does_not_go_on(
    runs: Runs, machine: Machine, state: str | None
) -> None:
    if state:
        tell(configured(runs), machine, state=state)
    with pytest.raises(InputError, match="no run that ended early"):
        runs.resume()


def test_settings_of_another_version_are_told(runs: Runs, machine: Machine) -> None:
    folder = configured(runs)
    tell(folder, machine, state="failed")
    write_json(folder / CONFIG_FILE, {"model": "nano", "colour": "green"})
    with pytest.raises(InputError, match="settings of “mine” cannot be read"):
        runs.resume()


def test_settings_are_read_as_they_were_written(runs: Runs) -> None:
    folder = configured(runs)
    run = runs.current()
    assert run is not None
    assert run.config() == replace(CONFIG, out=folder)


@pytest.mark.parametrize("name", ["nano", "owner/name"])
def test_a_model_that_a_visitor_chose_stays_a_visitors(runs: Runs, name: str) -> None:
    spec = spec_of(name, VISITOR)
    run = runs.start(replace(CONFIG, model=spec), "mine")
    assert run.config().model == spec
    assert run.config().trust == VISITOR
    assert CONFIG.trust == OPERATOR


def test_the_newest_run_is_shown_and_odd_folders_are_passed_over(
    runs: Runs, machine: Machine
) -> None:
    for name in ("first", "second"):
        tell(configured(runs, name), machine, state="done")
    odd = runs.root / "odd"
    odd.mkdir()
    (odd / STATUS_FILE).write_text('{"of": "another version"}')
    (runs.root / "file").write_text("")
    (runs.root / "link").symlink_to(runs.root / "first")
    assert [run.name for run in runs.all()] == ["first", "second"]
    run = runs.current()
    assert run is not None
    assert run.name == "second"
    assert not run.trained
    for name in ("config.json", "model.safetensors"):
        (run.folder / name).write_text("")
    assert run.trained


def test_no_folder_means_no_run(tmp_path: Path) -> None:
    assert Runs(tmp_path / "none").current() is None


def test_a_real_process_leaves_its_last_words_in_a_file(tmp_path: Path) -> None:
    process = module._launch([sys.executable, "-c", "print('bye')"], tmp_path / "output.txt")
    assert isinstance(process, subprocess.Popen)
    assert process.wait() == 0
    assert (tmp_path / "output.txt").read_text() == "bye\n"


def test_a_run_tells_which_tasks_it_learned(tmp_path: Path) -> None:
    numbers = {"docvqa/anls": 0.9, "other vqa/exact": 0.2}
    run = finished_run(tmp_path / "a", before=numbers, after=numbers)
    assert run.tasks == {"docvqa"}
    config = replace(run.config(), tasks=("od",))
    write_json(run.folder / CONFIG_FILE, config.to_json())
    assert run.tasks == {"docvqa", "od"}
