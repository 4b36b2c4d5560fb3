from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from florence_demo.commands.train import add_arguments, config_from_args
from florence_demo.data.reading import open_data
from florence_demo.data.rows import split_rows, spread
from florence_demo.errors import DatasetError
from florence_demo.models.loading import load_model
from florence_demo.training import estimate
from florence_demo.training.arguments import arguments
from florence_demo.training.config import Result, TrainConfig
from florence_demo.training.fine_tune import _no_room, fine_tune
from florence_demo.training.keeping import last_checkpoint, step_of
from florence_demo.training.samples import samples_of
from florence_demo.training.splits import SCENE_TASKS, SCENES, SCENES_A_TASK, open_rows
from florence_demo.training.status import ask_to_stop, read_log, read_status
from florence_demo.training.trainable import Mode
from florence_demo.training.trainer import Diverged
from tests.micro_florence import micro_model, micro_processor

ROOT = Path(__file__).resolve().parents[2]
COLORS = ("red", "blue", "green", "white")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base model and 24 rows whose answers are the colours of their pictures."""
    folder = tmp_path_factory.mktemp("train")
    processor = micro_processor()
    micro_model(processor).save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    (folder / "data").mkdir()
    rows = []
    for i in range(24):
        color = COLORS[i % 4]
        Image.new("RGB", (40 + i, 30), color).save(folder / f"data/{i}.png")
        suffix = " ".join([color] * (i % 3 + 1))
        rows.append({"image": f"{i}.png", "prefix": "<FORM>What is it?", "suffix": suffix})
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / "data/annotations.jsonl").write_text(text)
    return folder


def usual(place: Path, out: Path) -> TrainConfig:
    return TrainConfig(
        model=str(place / "base"),
        data=str(place / "data"),
        eval_data=str(place / "data"),
        out=out,
        steps=8,
        batch_size=4,
        learning_rate=3e-3,
        save_every=3,
        eval_every=8,
        answers=0,
        device="cpu",
        log_every=1,
        max_new_tokens=8,
    )


@pytest.fixture
def config(place: Path, tmp_path: Path) -> TrainConfig:
    return usual(place, tmp_path / "run")


@pytest.fixture(scope="module")
def whole(place: Path) -> Result:
    """The usual run, unbroken; only read."""
    return fine_tune(usual(place, place / "whole"))


def losses(folder: Path) -> list[float]:
    return [e["loss"] for e in read_log(folder) if "loss" in e]


def averages(folder: Path) -> dict[float, float]:
    return {e["epoch"]: e["epoch_loss"] for e in read_log(folder) if "epoch_loss" in e}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_a_run_from_beginning_to_end(config: TrainConfig) -> None:
    from transformers import AutoProcessor, Florence2ForConditionalGeneration

    config = replace(config, answers=4)
    result = fine_tune(config)
    assert result.steps == 8
    assert set(result.before) == set(result.after) == {"custom/anls"}
    assert losses(config.out)[-1] < losses(config.out)[0]
    status = read_status(config.out)
    assert status is not None
    assert (status.state, status.step, status.steps) == ("done", 8, 8)
    assert status.samples[0]["question"] == "custom <FORM>What is it?"
    # They are of the model that was kept, and can be asked again.
    sample = samples_of(config.out, status)[0]
    assert (sample.step, sample.can_be_asked, status.measured) == (8, True, 4)
    assert status.memory_peak > 0
    assert json.loads((config.out / "result.json").read_text())["after"] == result.after
    assert (config.out / "after/report.html").is_file()
    model = Florence2ForConditionalGeneration.from_pretrained(config.out)
    processor = AutoProcessor.from_pretrained(config.out)
    assert processor.tokenizer.get_vocab() == micro_processor().tokenizer.get_vocab()
    assert model.generation_config.forced_eos_token_id == 2


def test_a_report_names_the_data_it_was_measured_on(
    config: TrainConfig, place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "data", tmp_path / "held")
    config = replace(config, steps=1, answers=2, eval_data=str(tmp_path / "held"))
    fine_tune(config)
    for name in ("before", "after"):
        report = json.loads((config.out / name / "report.json").read_text())
        assert report["data"] == str(tmp_path / "held")
        assert str(place / "data") not in (config.out / name / "report.html").read_text()
    split = replace(config, eval_data="", out=tmp_path / "split")
    fine_tune(split)
    report = json.loads((split.out / "after/report.json").read_text())
    assert report["data"] == f"{place / 'data'}, the pictures it did not learn from"


def test_an_adapter_names_its_base_and_opens_again(place: Path, tmp_path: Path) -> None:
    from florence_demo.checkpoints.folders import checkpoint_names
    from florence_demo.checkpoints.inspection import inspect_checkpoint
    from florence_demo.models.catalogue import spec_at
    from florence_demo.models.loading import load_model
    from florence_demo.trust import VISITOR

    shutil.copytree(place / "base", tmp_path / "runs/mine")
    config = replace(
        usual(place, tmp_path / "runs/it"), model=str(tmp_path / "runs/mine"), mode="lora", steps=4
    )
    fine_tune(config)
    merged = weights(config.out)
    names = checkpoint_names(tmp_path / "runs")
    adapters = [
        name for name in names if (tmp_path / "runs" / name / "adapter_config.json").exists()
    ]
    assert {"it/adapter", "it/checkpoints/checkpoint-3"} <= set(adapters)
    for name in names:
        # The page's way, whose visitors may name no folder.
        loaded = load_model(spec_at(tmp_path / "runs" / name), device="cpu", trust=VISITOR)
        if name == "it/adapter":
            found = loaded.model.state_dict()
            assert all(torch.allclose(found[k], merged[k], atol=1e-6) for k in merged)
    info = inspect_checkpoint(config.out / "adapter")
    assert info.base == str(tmp_path / "runs/mine")
    # A visitor reads the name of a folder, and not where it lies.
    assert "Its base is mine." in info.sentences()
    again = replace(config, model=str(config.out / "adapter"), out=tmp_path / "runs/again")
    with pytest.raises(DatasetError, match="convert"):
        fine_tune(again)


def test_an_adapter_of_nano_opens_by_the_command_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from florence_demo.__main__ import main

    config = replace(usual(place, tmp_path / "it"), model="nano", mode="lora", steps=1)
    fine_tune(config)
    said = json.loads((config.out / "adapter/adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == "nano"
    for folder in (config.out, config.out / "adapter"):
        picture = str(place / "data/0.png")
        flags = ["--model", str(folder), "--device", "cpu", "--max-new-tokens", "4", "--json"]
        assert main(["predict", picture, "--task", "caption", *flags]) == 0
        assert json.loads(capsys.readouterr().out)["model"] == folder.name


def test_the_loss_is_that_of_the_answers_tokens_alone(config: TrainConfig, whole: Result) -> None:
    """The first logged loss is the mean over all answer tokens of the batch, accumulated or not."""
    parts = fine_tune(replace(config, out=config.out.parent / "parts", accumulation=2))
    torch.testing.assert_close(losses(whole.folder), losses(parts.folder), atol=2e-5, rtol=1e-5)
    evaluated = [e["eval_loss"] for e in read_log(whole.folder) if "eval_loss" in e]
    again = [e["eval_loss"] for e in read_log(parts.folder) if "eval_loss" in e]
    assert evaluated == pytest.approx(again, abs=2e-5)
    assert averages(whole.folder) == pytest.approx(averages(parts.folder), abs=2e-5)


def test_the_loss_that_is_shown_is_that_of_the_answers_own_tokens(whole: Result) -> None:
    from florence_demo.models.loading import load_model
    from florence_demo.training.batch import IGNORE, collator_of

    loaded = load_model(str(whole.folder), device="cpu", dtype="fp32")
    rows = open_data(str(whole.folder.parent / "data"))
    batch = collator_of(loaded.model, loaded.processor)(rows)
    with torch.no_grad():
        logits = loaded.model(**{k: v for k, v in batch.items() if k != "labels"}).logits
    labels = batch["labels"]
    assert (labels[:, 0] == IGNORE).all()
    expected = torch.nn.functional.cross_entropy(
        logits[:, 1:].flatten(0, 1), labels[:, 1:].flatten()
    )
    first = torch.nn.functional.cross_entropy(
        logits[:, 0], torch.zeros(len(rows), dtype=torch.long)
    )
    shown = [e["eval_loss"] for e in read_log(whole.folder) if "eval_loss" in e][-1]
    assert shown == pytest.approx(float(expected), abs=1e-4)
    # Nobody taught it the token that decoding writes anyway: it is as unlikely as it was.
    assert float(first) > float(expected)


def test_one_seed_gives_the_same_weights_and_another_does_not(
    config: TrainConfig, whole: Result
) -> None:
    again = weights(fine_tune(config).folder)
    other = weights(fine_tune(replace(config, out=config.out.parent / "other", seed=2)).folder)
    first = weights(whole.folder)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


KILLED = """
import os, signal, sys
from florence_demo.training.config import TrainConfig
from florence_demo.training.fine_tune import fine_tune
from florence_demo.training.trainer import Watch
from pathlib import Path
step_end = Watch.on_step_end
def die(self, args, state, control, **kwargs):
    if state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step_end(self, args, state, control, **kwargs)
Watch.on_step_end = die
import json
values = json.loads(sys.argv[1])
values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
fine_tune(TrainConfig(**{**values, "out": Path(values["out"])}))
"""


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="language"),
        pytest.param({"mode": "lora"}, id="lora"),
        pytest.param({"augment": ("color", "jpeg")}, id="augmented"),
    ],
)
def test_a_killed_run_resumes_as_if_unbroken(
    config: TrainConfig, whole: Result, changes: dict[str, Any]
) -> None:
    if changes:
        config = replace(config, **changes)
        whole = fine_tune(replace(config, out=config.out.parent / "whole"))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(config.to_json())],
        cwd=ROOT,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    status = read_status(config.out)
    assert status is not None
    assert status.state == "failed"
    found = last_checkpoint(config.out / "checkpoints")
    assert found is not None
    assert found.name == "checkpoint-3"
    resumed = fine_tune(replace(config, resume=True))
    assert losses(resumed.folder) == pytest.approx(losses(whole.folder), abs=1e-5)
    one, two = weights(resumed.folder), weights(whole.folder)
    assert all(torch.allclose(one[k], two[k], atol=1e-5) for k in one)


def test_a_checkpoint_that_was_cut_short_is_passed_over(config: TrainConfig) -> None:
    fine_tune(config)
    folder = config.out / "checkpoints"
    newest = last_checkpoint(folder)
    assert newest is not None
    (newest / "complete").unlink()
    older = last_checkpoint(folder)
    assert older is not None
    assert older != newest


def test_every_epoch_is_kept_where_all_are_asked_for(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, steps=None, epochs=4, save_every=None, eval_every=None, keep=None)
    result = fine_tune(config)
    folder = config.out / "checkpoints"
    assert {p.name for p in folder.iterdir()} == {f"epoch-{n}" for n in (1, 2, 3, 4)}
    assert (result.steps, step_of(folder / "epoch-2")) == (24, 12)
    status = read_status(config.out)
    assert status is not None
    assert status.checkpoint == str(folder / "epoch-4")
    by_step = losses(config.out)
    means = {n: sum(by_step[6 * n - 6 : 6 * n]) / 6 for n in (1, 2, 3, 4)}
    assert averages(config.out) == pytest.approx(means, abs=1e-3)
    # One that began again in the middle kept the newest two, by their step and not their name.
    again = replace(config, out=tmp_path / "again", keep=2)
    shutil.copytree(config.out, again.out)
    for name in ("epoch-3", "epoch-4"):
        shutil.rmtree(again.out / "checkpoints" / name)
    resumed = fine_tune(replace(again, resume=True))
    assert {p.name for p in (again.out / "checkpoints").iterdir()} == {"epoch-3", "epoch-4"}
    one, two = weights(resumed.folder), weights(config.out)
    assert all(torch.allclose(one[k], two[k], atol=1e-5) for k in one)


@pytest.mark.parametrize(("every", "broken_after"), [(4, "checkpoint-4"), (3, "epoch-1")])
def test_the_average_of_an_epoch_counts_the_steps_before_a_break(
    config: TrainConfig, every: int, broken_after: str
) -> None:
    config = replace(config, steps=12, save_every=every, keep=None)
    fine_tune(config)
    unbroken = averages(config.out)
    assert set(unbroken) == {1, 2}
    folder = config.out / "checkpoints"
    for path in folder.iterdir():
        if step_of(path) > step_of(folder / broken_after):
            shutil.rmtree(path)
    last = last_checkpoint(folder)
    assert last is not None
    assert last.name == broken_after
    fine_tune(replace(config, resume=True))
    assert averages(config.out) == pytest.approx(unbroken, abs=1e-5)


def test_the_best_checkpoint_keeps_its_place_under_its_name(config: TrainConfig) -> None:
    config = replace(
        config, steps=None, epochs=5, save_every=None, eval_every=None, patience=4, keep=1,
        learning_rate=0.3,
    )  # fmt: skip
    fine_tune(config)
    measured = {e["step"]: e["eval_loss"] for e in read_log(config.out) if "eval_loss" in e}
    best = min(measured, key=lambda step: measured[step])
    kept = {step_of(path): path for path in (config.out / "checkpoints").iterdir()}
    assert best in kept
    assert len(kept) <= 2
    name = "model.language_model.shared.weight"
    assert torch.equal(weights(kept[best])[name], weights(config.out)[name])


@pytest.mark.parametrize("mode", ["language", "lora"])
def test_a_finished_run_that_is_resumed_takes_no_more_steps(
    config: TrainConfig, mode: Mode
) -> None:
    config = replace(config, mode=mode, steps=4, eval_every=2, save_every=None)
    fine_tune(config)
    first, told = weights(config.out), losses(config.out)
    again = fine_tune(replace(config, resume=True))
    assert (again.steps, losses(config.out)) == (4, told)
    after = weights(config.out)
    assert all(torch.equal(after[name], tensor) for name, tensor in first.items())


def test_a_run_that_diverges_stops_and_keeps_the_last_good_checkpoint(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from florence_demo.training.trainer import FlorenceTrainer

    compute = FlorenceTrainer.compute_loss

    def diverge(self: Any, *args: Any, **kwargs: Any) -> Any:
        return compute(self, *args, **kwargs) * (float("nan") if self.state.global_step == 4 else 1)

    monkeypatch.setattr(FlorenceTrainer, "compute_loss", diverge)
    with pytest.raises(Diverged, match="smaller learning rate"):
        fine_tune(config)
    found = last_checkpoint(config.out / "checkpoints")
    assert found is not None
    assert found.name == "checkpoint-3"
    assert all(torch.isfinite(v).all() for v in weights(found).values())
    status = read_status(config.out)
    assert status is not None
    assert (status.state, status.step) == ("failed", 4)
    assert read_log(config.out)[-1]["loss"] is None


def test_stop_keeps_a_checkpoint_and_resume_goes_on(
    config: TrainConfig, whole: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    from florence_demo.training.trainer import Watch

    step_end = Watch.on_step_end

    def stop_at_two(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            ask_to_stop(config.out)
        step_end(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_step_end", stop_at_two)
        result = fine_tune(config)
    assert result.stopped
    assert result.steps == 2
    status = read_status(config.out)
    assert status is not None
    assert status.state == "stopped"
    resumed = fine_tune(replace(config, resume=True))
    assert losses(resumed.folder) == pytest.approx(losses(whole.folder), abs=1e-5)


LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "FSDP": ["accelerate.commands.launch", "--config_file", str(ROOT / "docs/fsdp-cpu.yaml")],
}


@pytest.mark.parametrize("launch", LAUNCHERS.values(), ids=LAUNCHERS)
def test_two_processes_learn_what_one_does(
    launch: list[str], config: TrainConfig, tmp_path: Path
) -> None:
    config = replace(config, eval_every=4)
    alone = fine_tune(replace(config, out=tmp_path / "alone"))
    given = config.to_json().items()
    flags = [
        flag
        for name, value in given
        if value is not None and not isinstance(value, bool | tuple) and value != ""
        for flag in (f"--{name.replace('_', '-')}", str(value))
    ]
    done = subprocess.run(
        [sys.executable, "-m", *launch, "-m", "florence_demo", "train", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Some launchers start one process where two were asked for: both must have been there.
    assert json.loads((config.out / "result.json").read_text())["processes"] == 2
    assert done.stdout.count("Done after") == 1
    assert losses(config.out) == pytest.approx(losses(alone.folder), abs=2e-5)
    assert averages(config.out) == pytest.approx(averages(alone.folder), abs=2e-5)
    assert set(averages(config.out)) == {1}
    evaluated = [
        [e["eval_loss"] for e in read_log(folder) if "eval_loss" in e]
        for folder in (config.out, alone.folder)
    ]
    assert evaluated[0] == pytest.approx(evaluated[1], abs=2e-5)
    assert len(evaluated[0]) == 2
    # Each has the whole model at the end, wherever its parts were.
    for name, weight in weights(alone.folder).items():
        torch.testing.assert_close(weights(config.out)[name], weight, atol=1e-4, rtol=0)
    assert load_model(str(config.out), device="cpu").model.config.model_type == "florence2"


@pytest.mark.parametrize(
    ("version", "mode", "said"),
    [("1", "full", "fsdp_version: 2"), ("2", "lora", "LoRA with torchrun")],
)
def test_what_cannot_be_cut_into_parts_is_told(
    version: str, mode: Any, said: str, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", version)
    with pytest.raises(DatasetError, match=said):
        fine_tune(replace(config, mode=mode))


def test_cached_features_learn_as_pixels_do(config: TrainConfig, whole: Result) -> None:
    cached = fine_tune(replace(config, cache=True))
    assert (config.out / "features/features.bin").stat().st_size == 24 * 5 * 16 * 2
    # The cache freezes the projector too and rounds to bfloat16: near, not the same.
    assert losses(cached.folder) == pytest.approx(losses(whole.folder), abs=0.1)
    assert cached.trainable < whole.trainable


def test_a_cache_larger_than_agreed_is_refused_before_it_is_written(config: TrainConfig) -> None:
    with pytest.raises(DatasetError, match="cache_limit_gb"):
        fine_tune(replace(config, cache=True, cache_limit_gb=1e-9))
    assert not (config.out / "features").exists()


def test_early_stopping_keeps_the_best(config: TrainConfig) -> None:
    config = replace(config, save_every=None, eval_every=2, patience=1, learning_rate=1.0, steps=20)
    result = fine_tune(config)
    assert result.steps < 20
    measured = {e["step"]: e["eval_loss"] for e in read_log(config.out) if "eval_loss" in e}
    best = min(measured, key=lambda step: measured[step])
    assert best < result.steps, "the last is not the best here"
    kept = {step_of(path): path for path in (config.out / "checkpoints").iterdir()}
    then, last, now = (
        load_file(folder / "model.safetensors")["model.language_model.shared.weight"]
        for folder in (kept[best], kept[result.steps], result.folder)
    )
    assert torch.equal(now, then)
    assert not torch.equal(now, last)
    assert result.best == best
    assert f"what it knew at step {best:,} is kept" in result.sentence()
    assert read_status(config.out).message == result.sentence()  # type: ignore[union-attr]


def test_a_run_that_takes_all_its_steps_ended_early_by_no_means(config: TrainConfig) -> None:
    result = fine_tune(replace(config, save_every=None, eval_every=2, patience=9, steps=4))
    assert (result.steps, result.best) == (4, 0)
    assert result.sentence().startswith("Done after 4 steps")


def test_nothing_is_warned_of_on_a_processor(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fine_tune(replace(config, steps=2, device="auto"))
    told = [str(w.message) for w in found if not issubclass(w.category, DeprecationWarning)]
    assert told == []


@pytest.mark.parametrize(("schedule", "middle"), [("linear", 1e-3), ("cosine", 1e-3)])
def test_the_rate_falls_as_the_schedule_says(
    config: TrainConfig, schedule: str, middle: float
) -> None:
    fine_tune(replace(config, steps=8, learning_rate=2e-3, schedule=schedule))
    rates = [e["learning_rate"] for e in read_log(config.out) if "learning_rate" in e]
    # The line is told after the step: the first one was taken at the whole rate.
    assert rates[4] == pytest.approx(middle)
    assert (rates[1] > 1.76e-3) is (schedule == "cosine")
    assert (rates[7] < 1e-4) is (schedule == "cosine")


def test_an_adapter_is_multiplied_by_what_is_asked_for(config: TrainConfig) -> None:
    for alpha, expected in ((None, 8), (4, 4)):
        out = config.out / str(alpha)
        asked = replace(config, mode="lora", lora_rank=4, lora_alpha=alpha, steps=1, out=out)
        fine_tune(asked)
        said = json.loads((out / "adapter/adapter_config.json").read_text())
        assert (said["r"], said["lora_alpha"]) == (4, expected)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"steps": 0}, "steps"),
        ({"precision": "int3"}, "precision"),
        ({"mode": "half"}, "mode"),
        ({"schedule": "square"}, "linear, cosine"),
        ({"quantize": "nf4"}, "mode lora"),
        ({"quantize": "int3", "mode": "lora"}, "quantize is nf4"),
        ({"mode": "full", "cache": True}, "does not learn"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"device": "gpu:7"}, "device must be"),
        ({"precision": "fp16"}, "fp16 is for a GPU"),
        ({"accumulation": 3}, "cannot be shared"),
        ({"data": "nowhere"}, "nowhere"),
        ({"patience": 2}, "save_every"),
        ({"max_new_tokens": 5000}, "max_new_tokens"),
        ({"keep": 0}, "keep"),
        ({"report_to": ("wandb",)}, "tensorboard, trackio"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_settings_that_cannot_be_used(
    config: TrainConfig, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(DatasetError, match=says):
        fine_tune(replace(config, **changes))


def test_two_runs_are_not_mixed_in_one_folder(config: TrainConfig) -> None:
    config = replace(config, steps=1)
    fine_tune(config)
    with pytest.raises(DatasetError, match="holds a run already"):
        fine_tune(config)
    with pytest.raises(DatasetError, match="learning_rate"):
        fine_tune(replace(config, resume=True, learning_rate=1.0))


def test_a_run_that_failed_before_it_began_leaves_its_folder_free(config: TrainConfig) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        fine_tune(replace(config, data="nowhere", steps=1))
    assert fine_tune(replace(config, steps=1)).steps == 1


def test_a_picture_that_breaks_off_is_told_without_a_traceback(
    config: TrainConfig, place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "data", tmp_path / "data")
    # Its header is whole: only who learns from it meets the end.
    Image.effect_noise((300, 300), 90).save(tmp_path / "data/0.png", "JPEG")
    whole = (tmp_path / "data/0.png").read_bytes()
    (tmp_path / "data/0.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError) as caught:
        fine_tune(replace(config, data=str(tmp_path / "data"), workers=1))
    for said in (str(caught.value), read_status(config.out).message):
        assert said.count("\n") == 0
        assert "Traceback" not in said
        assert "0.png" in said


def test_too_little_memory_of_a_processor_is_told() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert "memory is too small" in _no_room(caught.value)
    assert not _no_room(RuntimeError("a bug"))


def test_rows_that_are_too_long_are_left_out_and_told(config: TrainConfig, tmp_path: Path) -> None:
    row = {"prefix": "<FORM>What?", "suffix": "red"}
    lines = []
    for i in range(12):
        Image.new("RGB", (9, 9 + i)).save(tmp_path / f"{i}.png")
        lines.append({**row, "image": f"{i}.png"})
    lines[3]["suffix"] = "very long " * 99
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    result = fine_tune(replace(config, data=str(path), steps=1))
    assert len(result.left_out) == 1
    assert result.left_out[0].startswith(f"{path}:4: the answer has")
    lines[4]["image"] = "gone.png"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(DatasetError, match="Too many rows"):
        fine_tune(replace(config, data=str(path), steps=1, out=tmp_path / "other"))


def test_no_picture_is_learned_from_and_measured_on(place: Path) -> None:
    rows = open_data(str(place / "data"))
    learned, held = split_rows(rows * 2, seed=0)
    pictures = [{r.image for r in part} for part in (learned, held)]
    assert not pictures[0] & pictures[1]
    assert len(learned) + len(held) == 48
    assert len(pictures[1]) == 1
    with pytest.raises(DatasetError, match="too few"):
        split_rows(rows[:1], seed=0)


def test_spread_takes_from_the_whole(place: Path) -> None:
    rows = open_data(str(place / "data"))
    assert spread(rows, 3) == [rows[0], rows[8], rows[16]]
    assert spread(rows, 99) == rows
    assert spread(rows, 0) == []


def test_command_line_defaults_are_the_articles(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    default = config_from_args(parser.parse_args([]))
    assert default == TrainConfig()
    assert (default.model, default.batch_size, default.learning_rate) == ("base-ft", 20, 1e-6)
    line = ["--out", str(tmp_path), "--mode", "lora", "--steps", "3", "--cache", "--tasks", "od"]
    config = config_from_args(parser.parse_args(line))
    assert config == TrainConfig(out=tmp_path, mode="lora", steps=3, cache=True, tasks=("od",))
    assert config_from_args(parser.parse_args(["--keep", "all"])).keep is None
    assert config_from_args(parser.parse_args(["--keep", "4"])).keep == 4
    told = config_from_args(parser.parse_args(["--report-to", "tensorboard"]))
    assert told.report_to == ("tensorboard",)


def test_a_logger_that_is_not_there_is_told(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florence_demo.training.config.find_spec", lambda _: None)
    with pytest.raises(DatasetError, match="pip install trackio"):
        replace(config, report_to=("trackio",)).check()
    monkeypatch.setattr("florence_demo.training.config.find_spec", lambda _: object())
    replace(config, report_to=("trackio",)).check()
    assert arguments(replace(config, report_to=("tensorboard",))).report_to == ["tensorboard"]
    assert arguments(config).report_to == []


_WRITER = """
class SummaryWriter:
    def __init__(self, log_dir=None):
        self.path = log_dir
    def add_scalar(self, name, value, step):
        TOLD.append((name, step))
    def add_text(self, name, text):
        TOLD.append((name, 0))
    def add_hparams(self, *args, **kwargs): pass
    def flush(self): pass
    def close(self): pass
TOLD = []
"""


def test_the_losses_reach_the_logger_that_is_asked_for(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # tensorboard takes part in no test; what stands in for it has the same door.
    (tmp_path / "tensorboardX.py").write_text(_WRITER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    fine_tune(replace(config, steps=2, eval_every=2, report_to=("tensorboard",)))
    told = sys.modules["tensorboardX"].TOLD
    monkeypatch.delitem(sys.modules, "tensorboardX")
    assert {("train/loss", 1), ("train/loss", 2), ("eval/loss", 2)} <= set(told)


def test_a_step_that_does_not_fit_is_taken_in_parts_and_told(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = estimate._memory
    monkeypatch.setattr(estimate, "_device", lambda _: ("cpu", "here", 2.0))
    monkeypatch.setattr(
        estimate, "_memory", lambda c, *rest: 4 / c.accumulation if real(c, *rest) else 0
    )
    heard = Heard()
    fine_tune(replace(config, steps=2), heard)
    assert "a step is taken in 2 parts" in " ".join(heard.messages)
    assert json.loads((config.out / "train_config.json").read_text())["accumulation"] == 1


_PACKER = """
import sys, types, torch

class Linear4bit(torch.nn.Linear):
    def __init__(self, inner, outer, bias, compute_dtype, quant_type):
        super().__init__(inner, outer, bias)
        assert quant_type == "nf4"
    def to(self, device):
        rounded = torch.round(self.weight.data * 50).to(torch.int8)
        self.weight = torch.nn.Parameter(rounded, requires_grad=False)
        self.weight.quant_state = 50
        return self
    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight.float() / 50, self.bias)

nn = sys.modules["bitsandbytes.nn"] = types.ModuleType("bitsandbytes.nn")
nn.Linear4bit = Linear4bit
functional = sys.modules["bitsandbytes.functional"] = types.ModuleType("bitsandbytes.functional")
functional.dequantize_4bit = lambda data, state: data.half() / state
"""


def test_weights_beneath_an_adapter_are_packed_where_it_can_be(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, mode="lora", quantize="nf4", steps=4, save_every=None, eval_every=2)
    for name in ("bitsandbytes", "bitsandbytes.nn", "bitsandbytes.functional"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DatasetError, match="pip install bitsandbytes"):
        fine_tune(config)
    for name in ("bitsandbytes", "bitsandbytes.nn", "bitsandbytes.functional"):
        monkeypatch.delitem(sys.modules, name)
    # bitsandbytes takes part in no test; what stands in for it has the same doors.
    (tmp_path / "bitsandbytes.py").write_text(_PACKER)
    monkeypatch.syspath_prepend(tmp_path)
    config = replace(config, out=config.out / "packed")
    fine_tune(config)
    for name in ("bitsandbytes", "bitsandbytes.nn", "bitsandbytes.functional"):
        monkeypatch.delitem(sys.modules, name)
    found = weights(config.out)
    assert all(tensor.dtype == torch.float32 for tensor in found.values())
    assert not any("quant" in name or "base_layer" in name for name in found)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/bitsandbytes.py").write_text(_PACKER.replace("* 50", "* (1 / 0)"))
    monkeypatch.syspath_prepend(tmp_path / "other")
    with pytest.raises(DatasetError, match="packs no weights on this machine"):
        fine_tune(replace(config, out=tmp_path / "broken"))
    for name in ("bitsandbytes", "bitsandbytes.nn", "bitsandbytes.functional"):
        sys.modules.pop(name, None)


class Heard:
    """Remember what a run says."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def told(self, status: Any, changes: dict[str, Any]) -> None:
        self.messages.append(changes.get("message", ""))

    def logged(self, status: Any, entry: dict[str, Any]) -> None: ...

    def stepped(self, step: int, steps: int) -> None: ...


def beside(place: Path, count: int) -> str:
    """Return a folder of captions, another task than the one that is learned."""
    folder = place / f"beside-{count}"
    folder.mkdir(exist_ok=True)
    for i in range(count):
        Image.new("RGB", (50, 30), COLORS[i % 4]).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(COLORS[i % 4])
    return str(folder)


@pytest.mark.parametrize(("count", "share"), [(3, 0.2), (40, 0.5)], ids=["few", "many"])
def test_a_share_of_the_rows_is_of_other_data(
    config: TrainConfig, place: Path, count: int, share: float
) -> None:
    mixed = replace(config, mix=(f"{beside(place, count)}:{share}",))
    rows = open_rows(mixed, lambda row: "")
    captions = sum(row.task == "caption" for row in rows.learned)
    assert captions / len(rows.learned) == pytest.approx(share, abs=0.02)
    assert {row.task for row in rows.measured} == {"custom"}


def test_what_was_lost_is_told_beside_what_was_learned(config: TrainConfig, place: Path) -> None:
    config = replace(config, steps=2, answers=2, others=beside(place, 4))
    heard = Heard()
    result = fine_tune(config, heard)
    assert "4 questions of 1 task about" in " ".join(heard.messages)
    assert set(result.before) == set(result.after) == {"custom/anls", "other caption/anls"}
    assert "other caption/anls" in result.table()
    assert "other caption/anls" not in result.sentence()
    assert "custom/anls" in result.sentence()
    assert (config.out / "after-others/report.html").is_file()
    card = (config.out / "README.md").read_text()
    assert "| other caption/anls |" in card
    assert "it tells what was lost" in card


NANO_ASKED = dict.fromkeys(SCENE_TASKS, SCENES_A_TASK)


@pytest.mark.parametrize(
    ("model", "others", "tasks"),
    [
        ("nano", "", NANO_ASKED),
        ("nano", "none", {}),
        ("nano", "beside", {"caption": 3}),
        ("base", "", {}),
        ("base", "none", {}),
        ("base", "beside", {"caption": 3}),
    ],
)
def test_nano_alone_is_asked_about_scenes_unless_somebody_says_else(
    place: Path, config: TrainConfig, model: str, others: str, tasks: dict[str, int]
) -> None:
    named = "nano" if model == "nano" else config.model
    source = beside(place, 3) if others == "beside" else others
    rows = open_rows(replace(config, model=named, others=source), lambda row: "")
    assert Counter(row.task for row in rows.others) == tasks
    assert bool(rows.others_from) is bool(tasks)


def test_what_is_learned_is_not_asked_as_another_task(config: TrainConfig) -> None:
    config = replace(config, model="nano", data=SCENES, eval_data=SCENES)
    config = replace(config, tasks=("od", "caption"))
    asked = {row.task for row in open_rows(config, lambda row: "").others}
    assert asked == set(SCENE_TASKS) - {"od", "caption"}


@pytest.mark.parametrize("mix", [("x",), ("x:2",), ("x:0",), (":0.2",), ("x:y",), ("a:.6", "b:.6")])
def test_a_share_that_makes_no_sense_is_told(config: TrainConfig, mix: tuple[str, ...]) -> None:
    with pytest.raises(DatasetError, match=r"says no share|leaves nothing"):
        replace(config, mix=mix).check()
