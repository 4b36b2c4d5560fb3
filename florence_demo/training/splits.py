"""Which rows a run learns from, and which it is measured on.

Knows what is done with rows that cannot be used: a few are left out and told, many stop the run.
Does not know file formats (``data``) or what becomes of the rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from florence_demo.data.example import Example
from florence_demo.data.parts import VALIDATION
from florence_demo.data.reading import as_source, open_data, part_to_measure, tell_problems
from florence_demo.data.rows import shared_pictures, split_rows, spread, tells_nothing
from florence_demo.data.source import DataSource
from florence_demo.errors import DatasetError
from florence_demo.models.catalogue import ASSETS, MODELS, spec_of
from florence_demo.training.config import NOTHING, TrainConfig, shares_of

OTHERS = 120
"""Rows of other tasks that are asked before and after, of data that a person names."""

SCENES = DataSource("heldout", str(ASSETS / "heldout"))
"""Drawn scenes that nano never saw, with what is true about them."""
SCENE_TASKS = (
    *("od", "caption", "ocr", "docvqa", "caption_to_phrase_grounding"),
    *("open_vocabulary_detection", "region_to_category", "region_to_segmentation"),
)
"""What nano is asked about them: each first number is a share of right answers, more is better."""
SCENES_A_TASK = 10
"""Few, as a run waits for the answers twice: all together take some seconds."""

log = logging.getLogger(__name__)

MOST_UNUSABLE = 0.1
"""Share of rows that may be left out; more is a mistake in the data, not in a row."""


@dataclass(frozen=True, eq=False)
class Split:
    """Hold the rows of a run.

    Attributes:
        learned: The rows to learn from.
        measured: The rows to measure on.
        left_out: What is wrong with each row that is left out.
        measured_from: Where the rows to measure on come from, for a person.
        others: Rows of other tasks, to see what is lost.
        others_from: Where they come from, for a person.
    """

    learned: list[Example]
    measured: list[Example]
    left_out: tuple[str, ...]
    measured_from: str = ""
    others: tuple[Example, ...] = ()
    others_from: str = ""


def open_rows(config: TrainConfig, too_long: Callable[[Example], str]) -> Split:
    """Return the rows of a run.

    What a set calls its validation part is measured on; a set without one is split here, so that no
    picture is in both. Pictures that two parts or two sources share are told.

    Args:
        config: Its settings.
        too_long: Says what of a row does not fit into the model, or "".

    Raises:
        DatasetError: The data cannot be read, or too many of its rows cannot be used.
    """
    left_out: list[str] = []
    data = as_source(config.data)
    rows = _usable(data, config.tasks, config.limit, too_long, left_out)
    if tells_nothing(rows):
        raise DatasetError(
            f"In “{data}” nothing is marked in any picture, so that there is nothing to learn: look"
            f" for its labels with `python -m florence_demo data {data}`."
        )
    eval_data = config.eval_data or part_to_measure(data, VALIDATION)
    if not eval_data and data.identity == ("hub", TrainConfig.data, ""):
        eval_data = replace(data, part=VALIDATION)  # known, also where the hub cannot be asked
    if eval_data:
        source = as_source(eval_data)
        measured_from = str(source)
        valid = _usable(source, config.tasks, None, too_long, left_out)
        shared = shared_pictures(rows, valid)
        if shared:
            log.warning(
                "%d pictures to measure on are learned from as well (the first is %s): the numbers"
                " will be too good. Name other data to measure on, or take these out.",
                len(shared),
                shared[0],
            )
    else:
        measured_from = f"{data}, the pictures it did not learn from"
        rows, valid = split_rows(rows, config.seed)
    others_from, others = _others(config, {row.task for row in rows}, too_long)
    rows = _mixed(rows, config, too_long, left_out)
    return Split(rows, valid, tuple(left_out), measured_from, tuple(others), others_from)


def asks_scenes(config: TrainConfig) -> bool:
    """Whether a run asks about drawn scenes, because it begins with nano and nobody said else."""
    known = spec_of(config.model, config.trust) == MODELS["nano"] and Path(SCENES.location).is_dir()
    return not config.others and known


def _others(
    config: TrainConfig, learned: Collection[str], too_long: Callable[[Example], str]
) -> tuple[str, list[Example]]:
    """Return rows of other tasks than those that are learned, and where they come from."""
    if asks_scenes(config):
        tasks = [task for task in SCENE_TASKS if task not in learned]
        rows = _usable(SCENES, tasks, None, too_long, [])
        by_task = ([row for row in rows if row.task == task] for task in tasks)
        return "drawn scenes", [row for of in by_task for row in spread(of, SCENES_A_TASK)]
    if config.others in ("", NOTHING):
        return "", []
    source = as_source(config.others)
    return str(source), spread(_usable(source, (), None, too_long, []), OTHERS)


def _mixed(
    rows: list[Example],
    config: TrainConfig,
    too_long: Callable[[Example], str],
    left_out: list[str],
) -> list[Example]:
    """Return the rows with those to learn beside: as many as make their share, the same each time.

    A source of fewer rows is gone through several times.
    """
    shares = shares_of(config.mix)
    own = len(rows) / (1 - sum(share for _, share in shares))
    result = list(rows)
    for source, share in shares:
        found = _usable(as_source(source), (), None, too_long, left_out)
        wanted = max(1, round(own * share))
        times, rest = divmod(wanted, len(found))
        result += [*found * times, *spread(found, rest)] if rest else found * times
    return result


def _usable(
    source: DataSource,
    tasks: Sequence[str],
    limit: int | None,
    too_long: Callable[[Example], str],
    left_out: list[str],
) -> list[Example]:
    problems: list[str] = []
    notes: list[str] = []
    rows = open_data(source, tasks=tasks, limit=limit, problems=problems, notes=notes)
    for note in notes:
        log.info("%s", note)
    fitting = []
    for row in rows:
        problem = too_long(row)
        problems.append(problem) if problem else fitting.append(row)
    if problems:
        log.warning("%s", tell_problems(problems))
        left_out += problems
    if len(problems) > MOST_UNUSABLE * (len(fitting) + len(problems)):
        raise DatasetError(f"Too many rows of “{source}” are not usable. {tell_problems(problems)}")
    return fitting
