"""Measure a model on data with known answers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from florence_demo.commands.options import MODEL_HELP, add_columns, with_named_columns
from florence_demo.data.formats import formats_help
from florence_demo.data.parts import TEST, VALIDATION
from florence_demo.data.reading import as_source, open_data, part_to_measure, tell_problems
from florence_demo.engine.confidence import LEAST
from florence_demo.engine.engine import Engine
from florence_demo.engine.request import Options
from florence_demo.errors import DatasetError
from florence_demo.evaluation.calibration import calibrate, outcomes
from florence_demo.evaluation.evaluate import EvaluateConfig, evaluate, log
from florence_demo.evaluation.report import Report
from florence_demo.models.loading import load_model
from florence_demo.nano.scenes.rows import offer_scenes
from florence_demo.tasks import task_named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options; each default is written once, in ``EvaluateConfig``."""
    offer_scenes()
    default = EvaluateConfig()
    parser.add_argument("--model", default=default.model, help=MODEL_HELP)
    parser.add_argument("--data", default=default.data, help=f"what to ask: {formats_help()}")
    add_columns(parser)
    parser.add_argument("--task", action="append", default=[], help="only this task; repeatable")
    parser.add_argument("--limit", type=int, help="most rows")
    parser.add_argument("--out", type=Path, help="folder for report.json, .md and .html")
    parser.add_argument("--device", default=default.device)
    parser.add_argument("--dtype", default=default.dtype)
    parser.add_argument("--batch-size", type=int, default=default.batch_size)
    parser.add_argument("--beams", type=int, default=default.options.num_beams)
    parser.add_argument("--max-new-tokens", type=int, default=default.options.max_new_tokens)
    parser.add_argument(
        "--no-loop-guard",
        dest="loop_guard",
        action="store_false",
        help="let an answer that only repeats itself go on to the limit",
    )
    parser.add_argument("--bootstrap", type=int, default=default.bootstrap, help="resamples")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="write confidence.json into the model's folder: how often it is right when how sure",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def config_from_args(args: argparse.Namespace) -> EvaluateConfig:
    """Return the settings of a parsed command line."""
    return EvaluateConfig(
        model=args.model,
        data=with_named_columns(args.data, args.columns),
        tasks=tuple(task_named(name).name for name in args.task),
        limit=args.limit,
        out=args.out,
        device=args.device,
        dtype=args.dtype,
        batch_size=args.batch_size,
        bootstrap=args.bootstrap,
        seed=args.seed,
        calibrate=args.calibrate,
        options=Options(args.max_new_tokens, args.beams, loop_guard=args.loop_guard),
    )


def run(
    config: EvaluateConfig, progress: Callable[[int, int], None] | None = None
) -> tuple[Report, list[Path]]:
    """Load the model and the data, measure, write the report, and return it with its files.

    Raises:
        FlorenceDemoError: The model or the data cannot be used, or the report cannot be written.
    """
    config.check()
    if config.out:
        # Now, not after an hour of answers.
        config.out.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    notes: list[str] = []
    source = as_source(config.data)
    # What nobody has learned from says most.
    source = part_to_measure(source, TEST, VALIDATION) or source
    config = replace(config, data=source)
    examples = open_data(
        source, tasks=config.tasks, limit=config.limit, problems=problems, notes=notes
    )
    for note in notes:
        log.info("%s", note)
    if problems:
        log.warning("%s", tell_problems(problems))
    engine = Engine(load_model(config.model, device=config.device, dtype=config.dtype))
    report = evaluate(engine, examples, config, progress)
    if config.calibrate:
        report = calibrated(report, engine.loaded.folder)
    if problems:
        report = replace(report, failures=(*problems, *report.failures))
    return report, report.write(config.out) if config.out else []


def calibrated(report: Report, folder: Path) -> Report:
    """Write into a model's folder how sure it may say it is, and return the report with it.

    Raises:
        DatasetError: No task has enough answers.
    """
    confidence, fitted = calibrate(outcomes([(j.example, j.prediction) for j in report.judged]))
    if not confidence.curves:
        raise DatasetError(
            f"No task found {LEAST} things in this data, too few to calibrate by: give more rows"
            " of tasks that answer with places."
        )
    confidence.save(folder)
    return replace(report, fitted=fitted)


def command(args: argparse.Namespace) -> int:
    """Measure, and print the report as one JSON object or as Markdown."""
    report, files = run(config_from_args(args))
    print(json.dumps(report.to_json(), ensure_ascii=False) if args.json else report.to_markdown())
    for file in files:
        print(file, file=sys.stderr)
    return 0
