"""The benchmark: how rows are told; the measuring itself takes minutes and is not run here."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from florence_demo import machine
from florence_demo.benchmark import command as benchmark
from florence_demo.benchmark import familiarity
from florence_demo.benchmark import rows as benchmark_rows
from florence_demo.benchmark.command import Measured
from florence_demo.benchmark.parts import Part, Parts
from florence_demo.benchmark.roofline import Effort, Peaks
from florence_demo.benchmark.rows import Row
from florence_demo.errors import CheckpointError, InputError

ROWS = [
    Row("fast <enough>", 6.0, 4.0, "60 ms -> 10 ms"),
    Row("too slow", 2.0, 4.0, "20 ms -> 10 ms"),
    Row("elsewhere", None, 6.0, "not run here: no GPU"),
]


PARTS = Parts("Base, fp32", Peaks("A machine", 1e12, 1e10), (Part("tower", 0.004, 0.002),))


@pytest.mark.parametrize(("row", "kept"), zip(ROWS, [True, False, True], strict=True))
def test_a_row_keeps_what_it_must_reach_or_was_not_run(row, kept):
    assert row.kept is kept


def test_the_two_ways_alternate_warm_and_are_compared():
    seen = []

    def usual():
        seen.append("usual")
        return [1, 2]

    def ours():
        seen.append("ours")
        return [1, 2 if len(seen) < 8 else 3]

    *_, same = benchmark_rows.compare(usual, ours, 2)
    assert seen == ["usual", "usual", "ours", "ours"] * 2
    assert not same


def test_speed_counts_nothing_where_tokens_differ():
    row = benchmark_rows.against("a step", 4.0, (8.0, 1.0, False), exact=True)
    assert row.ratio == 0.0
    assert "DIFFER" in row.note
    assert benchmark_rows.against("a step", 4.0, (8.0, 1.0, True), exact=True).ratio == 8.0


def test_the_table_marks_what_missed_and_what_was_not_run():
    table = benchmark_rows.markdown(ROWS)
    assert "| too slow | 2.00x (missed) | 4x |" in table
    assert "| elsewhere | not run | 6x | not run here: no GPU |" in table


def test_the_plot_names_what_was_run_and_leaves_out_the_rest(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none"}):  # letters stay letters
        benchmark_rows.draw(ROWS, tmp_path / "speed.svg")
    root = ElementTree.parse(tmp_path / "speed.svg").getroot()
    texts = ["".join(t.itertext()).strip() for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"fast <enough>", "6.0x", "too slow", "2.0x"} <= set(texts)
    assert "elsewhere" not in texts
    benchmark_rows.draw(ROWS, tmp_path / "speed.png")
    with Image.open(tmp_path / "speed.png") as drawn:
        assert min(drawn.size) > 200


def test_without_matplotlib_one_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="needs matplotlib"):
        benchmark_rows.draw(ROWS, tmp_path / "speed.svg")


@pytest.mark.parametrize(("rows", "status"), [(ROWS[:1] + ROWS[2:], 0), (ROWS, 1)])
def test_the_command_prints_one_json_object(monkeypatch, capsys, rows, status):
    monkeypatch.setattr(benchmark, "run", lambda options, tell: Measured(rows, [PARTS]))
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    assert benchmark.command(parser.parse_args(["--quick", "--json"])) == status
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["rows"]) == len(rows)
    assert all({"name", "ratio", "at_least"} <= set(row) for row in printed["rows"])
    assert printed["rows"][-1]["ratio"] is None
    assert printed["parts"][0]["parts"][0]["times_the_floor"] == 2.0
    assert printed["parts"][0]["machine"]["operations"] == 1e12


def options(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    return parser.parse_args(flags)


def test_a_quick_run_of_random_weights_asks_no_single_questions(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(benchmark, "run", lambda options, tell: Measured(ROWS[:1], [PARTS]))
    monkeypatch.setattr(
        benchmark, "questions", lambda o: asked.append(o.model) or ("the table", {"tasks": []})
    )
    for flags in (["--quick"], ["--training"], ["--quick", "--model", "nano"], []):
        assert benchmark.command(options(*flags)) == 0
        printed = capsys.readouterr().out
        assert "| fast <enough> |" in printed
        assert "| tower | 4.00 ms | 2.00 ms | 2.0 |" in printed
        assert ("the table" in printed) == (flags in (["--quick", "--model", "nano"], []))
    assert asked == ["nano", "base"]


@pytest.mark.parametrize(
    ("flags", "measured"),
    [
        (["--quick"], ["app", "gain 2", "cpu", "gpu"]),
        ([], ["app", "gain 5", "cpu", "gpu"]),
        (["--model", "nano"], ["app", "gain 5"]),
        (["--device", "cuda"], ["gpu"]),
    ],
    ids=["quick", "whole", "nano", "a GPU alone"],
)
def test_what_is_measured_where(monkeypatch, flags, measured):
    for name in ("app", "cpu", "gpu", "gain"):
        said = (lambda n: [Row(f"gain {n}", 2.0, 1.5, "")]) if name == "gain" else None
        monkeypatch.setattr(
            benchmark, f"{name}_rows", said or (lambda _, name=name: [Row(name, 2.0, 1.0, "")])
        )
    asked = options(*flags)
    found = benchmark.run(benchmark.BenchmarkOptions(asked.model, asked.device, asked.quick))
    assert [row.name for row in found.rows] == measured


def test_a_gpu_is_measured_alone_or_missed_in_words(monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CheckpointError, match="cannot be used on this machine"):
        benchmark.command(options("--device", "cuda"))
    monkeypatch.setattr(benchmark, "choose_device", lambda wanted: None)
    monkeypatch.setattr(benchmark, "questions", lambda o: pytest.fail("not asked for"))
    assert benchmark.command(options("--device", "cuda", "--json")) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["note"] for row in rows} == {"not run here: no GPU"}
    assert len(rows) == 5


def test_the_rows_of_a_gpu_are_measured_on_any_device():
    import torch

    from florence_demo.benchmark import gpu

    *rows, parts = gpu.measure(torch.device("cpu"), "tiny", times=1, people=2)
    names = [gpu.CAPTION, gpu.CROWD, gpu.COMING, gpu.STEP, gpu.TOWER]
    assert [row.name for row in rows] == names
    assert all(row.ratio for row in rows)
    assert isinstance(parts, Parts)
    assert [part.name for part in parts.parts][::4] == ["tower", "whole caption"]
    assert all(part.floor > 0 for part in parts.parts)


def test_the_work_that_must_be_done_is_counted():
    """Against the sizes that are known: 380 and 1,488 GFLOP, 57 and 195, 88.9 and 228.7 million."""
    from florence_demo.benchmark import models, roofline

    for size, tower, encoder, weights in [("base", 380, 57, 88.9), ("large", 1488, 195, 228.7)]:
        config = models.config_of(size)
        vision, text = config.vision_config, config.text_config
        assert roofline.tower_effort(vision, 768, 2).operations / 1e9 == pytest.approx(tower, 0.03)
        assert roofline.encoder_effort(text, 590, 2).operations / 1e9 == pytest.approx(
            encoder, 0.05
        )
        step = roofline.step_effort(text, 0, 3, 2, 2)
        assert step.bytes / 2e6 == pytest.approx(weights, 0.02)


def test_the_longer_of_reading_and_multiplying_is_the_floor():
    peaks = Peaks("", operations=10.0, bytes=2.0)
    assert Effort(20.0, 2.0).seconds(peaks) == 2.0
    assert (Effort(20.0, 2.0) + Effort(0.0, 8.0)).seconds(peaks) == 5.0


def test_training_is_measured_at_a_size():
    with pytest.raises(CheckpointError, match="base or large"):
        benchmark.command(options("--training", "--model", "nano"))


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([3.0], 0.95, 3.0),
        (range(1, 21), 0.95, 19),
        (range(1, 22), 0.95, 20),
        (range(1, 101), 0.5, 50),
        ([2, 1, 3], 1.0, 3),
    ],
)
def test_percentiles_are_measured_values(values, share, found):
    from florence_demo.benchmark.tasks import percentile

    assert percentile(list(values), share) == found


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(["gradio", "gradio_client", "datasets"]))
from florence_demo.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def micro_folder(tmp_path_factory):
    from tests.micro_florence import micro_model, micro_processor

    folder = tmp_path_factory.mktemp("micro")
    processor = micro_processor()
    micro_model(processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_folder_is_measured_without_gradio_and_datasets(micro_folder):
    command = [sys.executable, "-c", WITHOUT, "benchmark", "--quick", "--json"]
    done = subprocess.run(
        [*command, "--model", str(micro_folder), "--threads", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["rows"] == []
    assert [t["task"] for t in printed["tasks"]][:2] == ["Short description", "Longer description"]
    assert printed["tasks"][-1]["task"] == "all 8, one picture"
    assert all(t["same_tokens"] and t["p95"] >= t["p50"] > 0 for t in printed["tasks"])
    assert set(printed["start"]) == {"usual", "ours"}
    assert all(s["answered"] > s["ready"] > 0 for s in printed["start"].values())


# -- training -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    from florence_demo.benchmark import models as benchmark_models

    return benchmark_models.build("tiny")


@pytest.mark.parametrize("loop", ["article", "frozen", "cached"])
def test_each_loop_trains_what_it_says(tiny, loop):
    import copy

    from florence_demo.benchmark.training import make_batch, make_learner

    model = make_learner(copy.deepcopy(tiny), loop)
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert any("vision_tower" in name for name in learns) == (loop == "article")
    assert any("projector" in name for name in learns) == (loop != "cached")
    assert any("decoder" in name for name in learns)
    batch = make_batch(tiny, loop)
    assert (batch["pixel_values"].dim() == 3) == (loop == "cached")
    ignored = int((batch["labels"] == -100).sum())
    assert (ignored, int((batch["labels"] == 1).sum())) == ((0, 6) if loop == "article" else (6, 0))


def test_training_rows_say_what_was_not_run(monkeypatch):
    from florence_demo.benchmark import training as benchmark_training
    from florence_demo.benchmark.training import Spent

    spent = {
        "article": Spent(60.0, 9_000_000_000),
        "frozen": Spent(20.0, 4_000_000_000),
        "cached": Spent(10.0, 4_600_000_000),
        "cached bf16": Spent(6.0, 4_200_000_000),
    }
    monkeypatch.setattr(benchmark_training, "_spent", lambda loop, *_: spent[loop])
    for has_bf16, expected in [
        (False, [3.0, 1.125, 6.0, None, None]),
        (True, [3.0, 1.125, 6.0, 10.0, 4.5 / 4.2]),
    ]:
        monkeypatch.setattr(machine, "fast_bf16", lambda has=has_bf16: has)
        rows = list(benchmark_training.training_rows("base", 2, 1))
        assert [row.ratio for row in rows] == pytest.approx(expected)
        assert [row.at_least for row in rows] == [2.7, 1.0, 2.7, 8.0, 1.0]


def test_the_machine_tells_its_name_and_versions():
    assert "cores" in machine.processor_name()
    assert {"python", "torch", "transformers"} <= set(machine.versions())
    assert machine.usable_cores() >= 1
    assert isinstance(machine.fast_bf16(), bool)


def test_drawing_is_compared_with_matplotlib():
    pytest.importorskip("matplotlib")
    from florence_demo.benchmark import app as benchmark_app

    row = benchmark_app._drawing()
    assert row.ratio is not None
    assert row.at_least == 20.0


def test_photographs_are_told_from_scenes_by_rank_and_by_the_limit():
    scenes, photographs = np.array([0.0, 1.0, 2.0, 9.0]), np.array([2.0, 8.0])
    told = familiarity.compared(scenes, photographs, limit=3.0)
    assert told == {
        "auroc": 0.6875,
        "photographs": 2,
        "photographs_noticed": 0.5,
        "scenes": 4,
        "scenes_noticed": 0.25,
    }


def test_any_two_kinds_of_pictures_are_compared(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for i in range(3):
        noise = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.webp")
        Image.new("RGB", (64, 64), "white").save(tmp_path / f"plain-{i}.png")
    files = [str(p) for p in sorted(tmp_path.glob("*.png"))]
    assert familiarity.main([*files, "--scenes", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["photographs"], told["scenes"]) == (3, 3)
    assert 0 <= told["auroc"] <= 1
