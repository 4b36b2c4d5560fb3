"""A measurement that a visitor asks for: the questions, the engine, the report's files.

Knows what is told on the way. The measuring is ``evaluation``'s work, on the engine that answers
the page's other questions too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from florence_demo.data.chosen import Data
from florence_demo.data.example import Example
from florence_demo.data.parts import TEST, VALIDATION
from florence_demo.data.reading import open_data, part_to_measure
from florence_demo.data.rows import spread
from florence_demo.engine.request import Options, Stopped
from florence_demo.errors import DatasetError, FlorenceDemoError, InputError
from florence_demo.evaluation.evaluate import EvaluateConfig, evaluate
from florence_demo.evaluation.report import Report
from florence_demo.models.catalogue import Named
from florence_demo.serving.asking import Service
from florence_demo.serving.lending import on_zero_gpu
from florence_demo.serving.streaming import Line, stream

REPORT_FILES = {"report.html": "Report (HTML)", "report.json": "JSON", "report.md": "Markdown"}
"""What is taken home of a report: names of files, and what a person calls them."""

Progress = tuple[int, int, str]
"""Questions done, questions in all, and what is being done."""


@dataclass(frozen=True)
class Wish:
    """Hold what a visitor wants measured.

    Attributes:
        model: Name or folder, checked.
        data: Where the questions are.
        tasks: Names of tasks; all where empty.
        limit: Most questions.
        options: How answers are searched.
    """

    model: Named
    data: Data
    tasks: tuple[str, ...] = ()
    limit: int = 200
    options: Options = field(default_factory=Options)


def measure(service: Service, wish: Wish) -> Iterator[Report | Progress]:
    """Yield how far a measurement is, and at the end the report.

    It runs in a thread; closing this generator ends it after the batch that is being asked.

    Raises:
        FlorenceDemoError: The model or the data cannot be used.
    """
    if on_zero_gpu():
        raise InputError(
            "Measuring takes longer than a shared GPU is lent for: start the app on your machine."
        )

    def work(line: Line[Progress]) -> Report:
        return _measured(service, wish, line)

    for news, report in stream(work, name="measurement"):
        if report is not None:
            yield report
        elif news is not None:
            yield news


def _measured(service: Service, wish: Wish, line: Line[Progress]) -> Report:
    def told(done: int, total: int) -> None:
        if line.closed:
            raise Stopped
        line.tell((done, total, "Asking" if done < total else "Counting what is right"))

    line.tell((0, 0, "Opening the data"))
    examples, problems = rows_of(wish)
    line.tell((0, len(examples), "Opening the model"))
    engine = service.engines.get(wish.model)
    told(0, len(examples))
    config = EvaluateConfig(
        model=engine.loaded.title, data=wish.data.title, options=wish.options, batch_size=8
    )
    report = evaluate(engine, examples, config, told)
    found = (*problems, *report.failures)
    return replace(report, failures=tuple(map(wish.data.safe, found)))


def rows_of(wish: Wish) -> tuple[list[Example], list[str]]:
    """Return the questions, spread over the whole set, and what is wrong with unusable rows.

    Raises:
        DatasetError: There is none, told without the paths of this machine.
    """
    data, problems = wish.data, list[str]()
    try:
        source = data.held or part_to_measure(data.source, TEST, VALIDATION) or data.source
        rows = open_data(
            source,
            tasks=wish.tasks,
            # What is on the hub is not fetched for more than is asked.
            limit=wish.limit if data.remote else None,
            problems=problems,
        )
    except FlorenceDemoError as exc:
        raise DatasetError(data.safe(str(exc))) from exc
    chosen = spread(rows, wish.limit)
    return [replace(row, where=data.safe(row.where)) for row in chosen], problems


def write_report(report: Report, folder: Path) -> list[str]:
    """Write the report's files into a folder and return them in the order of ``REPORT_FILES``."""
    written = {p.name: p for p in report.write(folder)}
    return [str(written[name]) for name in REPORT_FILES]
