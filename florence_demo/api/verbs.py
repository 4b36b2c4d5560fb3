"""The verbs that programs use, each one task or several with named arguments.

Knows which task a verb is. Every door (plain HTTP, gradio's clients, MCP) calls these same methods,
and makes its documentation of their signatures. A verb is a generator: it yields ``News`` while
there is no answer, then the answer; closing it ends the work.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from PIL import Image

from florence_demo.api.pictures import Picture, picture_of
from florence_demo.api.problems import NotAllowed, problem_of
from florence_demo.api.schema import (
    MOST_PICTURES,
    MOST_QUESTIONS,
    Answer,
    Beams,
    Box,
    Kept,
    MaxTokens,
    ModelInfo,
    ModelName,
    OneOfMany,
    PictureText,
    Point,
    Pointed,
    Problem,
    Sampled,
    Seed,
    TaskInfo,
    TaskName,
    Tiles,
    Warmth,
    Words,
)
from florence_demo.api.steps import Steps
from florence_demo.engine.question import Question, regions_given
from florence_demo.engine.request import Options
from florence_demo.errors import FlorenceDemoError, InputError
from florence_demo.models.catalogue import MODELS, ModelSpec
from florence_demo.prediction import Prediction
from florence_demo.serving.answering import Answered, Caller, News
from florence_demo.serving.asking import Service
from florence_demo.serving.gate import FURTHER, KEYED, VISITOR
from florence_demo.serving.own_models import model_of, own_names
from florence_demo.serving.scratch import AGE
from florence_demo.tasks import TASKS, Task, task_named
from florence_demo.training.learned import questions_learned

Length = Literal["short", "longer", "paragraph"]
_CAPTIONS = {"short": "caption", "longer": "detailed_caption", "paragraph": "more_detailed_caption"}


@dataclass(frozen=True)
class Verbs:
    """Answer one caller.

    Attributes:
        service: Answers.
        visitor: Who asks.
        operator: Whether it is known to be the operator's program: it may give up a model.
        further: Counts so many questions more than the one that was admitted; raises TooOften.
    """

    service: Service
    visitor: str = ""
    operator: bool = False
    further: Callable[[int], None] | None = None

    @classmethod
    def of(cls, service: Service, scope: Mapping[str, Any]) -> Verbs:
        """Return what answers the caller of a request, whose scope the door has written in."""
        return cls(
            service,
            visitor=scope.get(VISITOR, ""),
            operator=bool(scope.get(KEYED)),
            further=scope.get(FURTHER),
        )

    def ask(
        self,
        picture: PictureText,
        task: TaskName,
        text: Words = "",
        region: Box | list[Box] | None = None,
        model: ModelName = "",
        tiles: Tiles = "",
        max_new_tokens: MaxTokens = 1024,
        num_beams: Beams = 3,
        do_sample: Sampled = False,
        temperature: Warmth = 1.0,
        seed: Seed = None,
    ) -> Steps[Answer]:
        """Answer any task about a picture: the one verb that can do everything."""
        options = Options.given(max_new_tokens, num_beams, do_sample, temperature, seed)
        chosen = task_named(task)
        yield from self._answer(picture, (chosen, text, region), model, options, tiles)

    def ask_many(
        self,
        pictures: list[PictureText],
        tasks: list[TaskName],
        text: Words = "",
        model: ModelName = "",
        max_new_tokens: MaxTokens = 1024,
        num_beams: Beams = 3,
    ) -> Steps[list[OneOfMany]]:
        """Answer several tasks about several pictures; what fails says why, the others go on."""
        options = Options.given(max_new_tokens, num_beams)
        chosen = self._several(pictures, tasks)
        if self.further is not None:
            self.further(len(pictures) * len(chosen) - 1)
        rows: list[OneOfMany] = []
        image: Image.Image | None = None
        for number, picture in enumerate(pictures):
            image = None  # gives its room back before the next is opened
            # Fetched and decoded once for all of its tasks, and in vain once too.
            image, problem = self._opened(picture)
            for task in chosen:
                row: OneOfMany = {"picture": number, "task": task.name}
                words = text if task.asks == "text" else ""
                rows.append(row)
                if problem:
                    row["error"] = problem
                    continue
                try:
                    for each in self._answer(image, (task, words, None), model, options):
                        if isinstance(each, News):
                            yield each
                        else:
                            row["answer"] = each
                except FlorenceDemoError as exc:
                    row["error"] = problem_of(exc)
        yield rows

    def detect(
        self,
        picture: PictureText,
        names: Words = "",
        model: ModelName = "",
        tiles: Tiles = "",
    ) -> Steps[Answer]:
        """Find things: those that are named, "cat, red car", or everything where nothing is."""
        name = "open_vocabulary_detection" if names.strip() else "od"
        yield from self._answer(picture, (TASKS[name], names, None), model, tiles=tiles)

    def caption(
        self,
        picture: PictureText,
        length: Length = "short",
        where: bool = False,
        model: ModelName = "",
    ) -> Steps[Answer]:
        """Describe the picture, with a box around each thing that is mentioned if `where`."""
        task = TASKS[_CAPTIONS[one_of(length, tuple(_CAPTIONS), "length")]]
        name = f"{task.name}_then_grounding" if where else task.name
        yield from self._answer(picture, (TASKS[name], "", None), model)

    def ocr(
        self,
        picture: PictureText,
        where: bool = True,
        model: ModelName = "",
        tiles: Tiles = "",
    ) -> Steps[Answer]:
        """Read the text, with the place of each line if `where`."""
        task = TASKS["ocr_with_region" if where else "ocr"]
        yield from self._answer(picture, (task, "", None), model, tiles=tiles)

    def segment(
        self,
        picture: PictureText,
        what: Words = "",
        region: Box | None = None,
        model: ModelName = "",
    ) -> Steps[Answer]:
        """Cut out what is named, or what is in a box: give one of the two."""
        if bool(what.strip()) == (region is not None):
            raise InputError("Say what to cut out, or give a box around it: one of the two.")
        name = "region_to_segmentation" if region else "referring_expression_segmentation"
        yield from self._answer(picture, (TASKS[name], what, region), model)

    def point(self, picture: PictureText, what: Words, model: ModelName = "") -> Steps[Pointed]:
        """Point at things that are named: the middle of each."""
        task = TASKS["open_vocabulary_detection"]
        for each in self._answer(picture, (task, what, None), model):
            yield each if isinstance(each, News) else Pointed(**each, points=_middles(each))

    def query(
        self,
        picture: PictureText,
        question: Words,
        page: bool | None = None,
        model: ModelName = "",
    ) -> Steps[Answer]:
        """Ask a question about a picture, as the model learned to be asked.

        nano and fine-tuned models learned to answer questions, Microsoft's four did not. `page`
        asks as about a page or form, or as about a picture, whatever the model learned.
        """
        if page is None:
            # Where nothing is known: the published fine-tunings learned pages.
            learned = (*questions_learned(self._model(model)), "docvqa")
            task = TASKS[learned[0]]
        else:
            task = TASKS["docvqa" if page else "vqa"]
        yield from self._answer(picture, (task, question, None), model)

    def keep(self, picture: PictureText) -> Steps[Kept]:
        """Keep a picture on this server for an hour, under a name to give in its place."""
        image = picture_of(picture, self.service, self.visitor)
        name = self.service.uploads.keep(image, self.service.room(), self.visitor)
        yield {"picture": name, "size": list(image.size), "seconds": round(AGE)}

    def tasks(self) -> Steps[list[TaskInfo]]:
        """List the tasks."""
        yield [
            {
                "name": task.name,
                "title": task.title,
                "help": task.help,
                "needs": task.asks,
                "example": task.example if task.asks == "text" else "",
            }
            for task in TASKS.values()
        ]

    def models(self) -> Steps[list[ModelInfo]]:
        """List the models that a name is enough for, and whether they are in memory."""
        given = self.service.given
        named = {**MODELS, given.name: given}
        named |= {name: model_of(self.service, name) for name in own_names(self.service)}
        yield [self._told(name, spec) for name, spec in named.items()]

    def load(self, model: ModelName = "") -> Steps[ModelInfo]:
        """Load a model, so that the first question does not wait for it."""
        spec = self._model(model)
        for engine, words in self.service.loads.awaited(spec):
            if engine is None:
                yield News(hint=words)
        yield self._told(model, spec)

    def unload(self, model: ModelName) -> Steps[ModelInfo]:
        """Give a model's memory back. On a public server this is for its operator."""
        if self.service.config.public and not self.operator:
            raise NotAllowed("Giving up a model is for the operator of this server: send a key.")
        spec = self._model(model)
        self.service.engines.drop(spec)
        yield self._told(model, spec)

    def _opened(self, picture: Picture) -> tuple[Image.Image | None, Problem | None]:
        try:
            return picture_of(picture, self.service, self.visitor), None
        except FlorenceDemoError as exc:
            return None, problem_of(exc)

    def _answer(
        self,
        picture: Picture | None,
        asked: tuple[Task, str, Any],
        model: str,
        options: Options | None = None,
        tiles: str = "",
    ) -> Steps[Answer]:
        task, text, region = asked
        spec = self._model(model)
        image = picture_of(picture, self.service, self.visitor)
        question = Question(image, task, text, regions_given(region), tiles)
        caller = Caller(visitor=self.visitor)
        for each in self.service.answers.ask(question, spec, options or Options(), caller):
            yield _written(each.found) if isinstance(each, Answered) else each

    def _model(self, name: str) -> ModelSpec:
        return model_of(self.service, name) if name else self.service.given

    def _told(self, name: str, spec: ModelSpec) -> ModelInfo:
        return {
            "name": name or spec.name,
            "title": spec.title,
            "note": spec.note,
            "loaded": self.service.engines.holds(spec),
            "usual": spec == self.service.given,
        }

    @staticmethod
    def _several(pictures: Sequence[str], tasks: Sequence[str]) -> list[Task]:
        count = len(pictures) * len(tasks)
        if not count:
            raise InputError("Give at least one picture and one task.")
        if len(pictures) > MOST_PICTURES or count > MOST_QUESTIONS:
            raise InputError(
                f"{len(pictures)} pictures and {len(tasks)} tasks are too many for one call:"
                f" {MOST_PICTURES} pictures and {MOST_QUESTIONS} questions are allowed."
            )
        return [task_named(name) for name in tasks]


def one_of(value: object, choices: tuple[str, ...], name: str) -> str:
    """Return a choice.

    Raises:
        InputError: It is none of the choices.
    """
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"`{name}` is one of {', '.join(choices)}.")
    return value


def verbs() -> dict[str, Callable[..., Steps[Any]]]:
    """Return the verbs by their names."""
    return {n: f for n, f in vars(Verbs).items() if not n.startswith("_") and inspect.isfunction(f)}


def signature_of(verb: Callable[..., Steps[Any]]) -> inspect.Signature:
    """Return a verb's signature as programs see it: its named arguments, and its answer."""
    hints = get_type_hints(verb, include_extras=True)
    given = inspect.signature(verb)
    arguments = [p.replace(annotation=hints[n]) for n, p in given.parameters.items() if n != "self"]
    (item,) = get_args(hints["return"])
    answer = next(each for each in get_args(item) if each is not News)
    return given.replace(parameters=arguments, return_annotation=answer)


def _written(found: Prediction) -> Answer:
    return found.to_json()  # type: ignore[return-value]


def _middles(answer: Answer) -> list[Point]:
    middles: list[Point] = []
    for thing in answer["detections"]:
        x1, y1, x2, y2 = thing["box"]
        middles.append({"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "label": thing["label"]})
    return middles
