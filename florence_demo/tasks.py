"""The tasks of Florence-2: what a person reads, what the model is asked, how the answer is written.

Knows prompts and their inputs. Does not know models or drawing: nothing outside this module asks
which task it is. To add a task, add one ``Task`` to ``TASKS``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from florence_demo.codec import (
    BOXES,
    BOXES_OR_POLYGONS,
    PHRASES,
    POLYGONS,
    QUADS,
    TEXT,
    Answer,
    dequantize,
    lex,
    location_tokens,
)
from florence_demo.errors import InputError, printable
from florence_demo.regions import Region, check_region

Needs = Literal["nothing", "text", "region"]

MAX_TEXT = 4000
"""Characters of a person's text; the model's own limit, in tokens, is checked by the engine."""


@dataclass(frozen=True)
class Task:
    """Hold one task.

    Attributes:
        name: Its token in lower case without brackets: "od".
        title: What it is called wherever it stands alone.
        group: Heading of the menu under which it stands.
        help: One sentence for a person who never heard of it.
        token: Florence-2's word for it, the key of ``parsed``: "<OD>".
        prompt: The sentence the model reads; "{input}" is the text or the region.
        answer: The grammar of what the model writes.
        needs: What it takes beside a picture.
        text_label: What the text box is called, for a task that needs text.
        example: A text to begin with, for a task that needs text.
        after: Name of the task whose text answer becomes this one's text.
        named: Whether each place of its answer has a name.
        placed: Name of the task whose answer says the same and where, if this one's does not.
        lists: Whether its text may be a list of names, each of which is asked for by itself.
        short: What the menu shows beneath its group, where the title would say the group again.
        entry: Name of the task as which it stands in the menu, where one entry means several: which
            of them is meant says the switch to the one that is ``placed``, or the model.
    """

    name: str
    title: str
    group: str
    help: str
    token: str
    prompt: str
    answer: Answer
    needs: Needs = "nothing"
    text_label: str = ""
    example: str = ""
    after: str | None = None
    named: bool = True
    placed: str | None = None
    lists: bool = False
    short: str = ""
    entry: str = ""

    @property
    def asks(self) -> Needs:
        """Return what a person gives: nothing where another task writes the text."""
        return "nothing" if self.after else self.needs

    def build_prompt(self, text: str, region: Region | None, size: tuple[int, int]) -> str:
        """Return the sentence for the model.

        Args:
            text: What the person typed; must be empty unless the task needs text.
            region: x1, y1, x2, y2 in pixels of the picture, for a task that needs a region.
            size: (width, height) of the picture.

        Raises:
            InputError: The text or the region is missing, not wanted or not usable.
        """
        text = _checked_words(text).strip()
        if self.needs != "text" and text:
            raise InputError(
                f"“{self.title}” takes no text: clear the text box, or pick a task with words."
            )
        if self.needs != "region" and region is not None:
            raise InputError(
                f"“{self.title}” takes no region: remove the box, or pick a task about a spot."
            )
        if self.needs == "text":
            return self.prompt.replace("{input}", self._checked_text(text))
        if self.needs == "region":
            box = check_region(region, size, self.title)
            return self.prompt.replace("{input}", location_tokens(box, size))
        return self.prompt

    def asked(self, prompt: str, size: tuple[int, int]) -> tuple[str, Region | None]:
        """Return the text and the region of a prompt that ``build_prompt`` built.

        A region comes back as the middle of its bins, as the model read it.
        """
        before, _, behind = self.prompt.partition("{input}")
        if self.needs == "nothing":
            return "", None
        said = prompt.removeprefix(before).removesuffix(behind)
        if self.needs == "text":
            return said, None
        x1, y1, x2, y2 = dequantize([piece.loc for piece in lex(said)], size).tolist()
        return "", (x1, y1, x2, y2)

    def _checked_text(self, text: str) -> str:
        if not text:
            raise InputError(
                f"“{self.title}” needs words: fill in “{self.text_label}”, for example"
                f" “{self.example}”."
            )
        if len(text) > MAX_TEXT:
            raise InputError(
                f"The text has {len(text):,} characters, {MAX_TEXT:,} are allowed: shorten it."
            )
        for word in TASK_WORDS:
            # A custom prompt is the one place where a task word is the person's to write.
            if word in text and self.prompt != "{input}":
                raise InputError(
                    f"The text contains the task word {word}: pick that task in the menu instead,"
                    " and type ordinary words here."
                )
        return text

    def parse(self, value: Any) -> dict[str, Any]:
        """Return Florence-2's own dict around a decoded value."""
        return {self.token: value}


def _checked_words(text: str) -> str:
    """Return a text that a tokenizer can read.

    Raises:
        InputError: It is no text, or holds half of a character, as broken programs send it.
    """
    if not isinstance(text, str):
        raise InputError("The text must be words.")
    if any("\ud800" <= c <= "\udfff" for c in text[: MAX_TEXT + 1]):
        raise InputError("The text holds half of a character: type it again.")
    return text


_DESCRIBE = "Describe the picture"
_FIND = "Find things"
_WORDS = "Find what you name"
_REGION = "Ask about one spot"
_READ = "Read text"
_QUESTION = "Ask a question"

_GROUND = "<CAPTION_TO_PHRASE_GROUNDING>"
_GROUND_PROMPT = "Locate the phrases in the caption: {input}"
_REGION_HELP = "Draw a box on the picture; "
_TRAINED = "nano and fine-tuned models learned to answer questions, Microsoft's four did not."


def _placed(caption: str) -> str:
    return f"{caption}_then_grounding"


def _caption(name: str, short: str, title: str, help: str, prompt: str) -> Task:
    token, placed = f"<{name.upper()}>", _placed(name)
    return Task(name, title, _DESCRIBE, help, token, prompt, TEXT, placed=placed, short=short)


def _cascade(caption: Task) -> Task:
    return Task(
        _placed(caption.name),
        f"{caption.title}, and where",
        _DESCRIBE,
        f"{caption.help.removesuffix('.')}, with a box around each thing that it mentions.",
        _GROUND,
        _GROUND_PROMPT,
        PHRASES,
        needs="text",
        after=caption.name,
        entry=caption.name,
    )


_CAPTIONS = (
    _caption(
        "caption",
        "Short",
        "Short description",
        "One sentence that says what the picture shows.",
        "What does the image describe?",
    ),
    _caption(
        "detailed_caption",
        "Longer",
        "Longer description",
        "A sentence or two with more of what can be seen.",
        "Describe in detail what is shown in the image.",
    ),
    _caption(
        "more_detailed_caption",
        "A paragraph",
        "Description in a paragraph",
        "A whole paragraph about the picture.",
        "Describe with a paragraph what is shown in the image.",
    ),
)

_ALL = (
    *_CAPTIONS,
    *map(_cascade, _CAPTIONS),
    Task(
        "od",
        "Find everything",
        _FIND,
        "Finds things, names each one and draws a box around it.",
        "<OD>",
        "Locate the objects with category name in the image.",
        BOXES,
    ),
    Task(
        "dense_region_caption",
        "Describe each thing",
        _FIND,
        "Finds things and describes each one in a few words.",
        "<DENSE_REGION_CAPTION>",
        "Locate the objects in the image, with their descriptions.",
        BOXES,
    ),
    Task(
        "region_proposal",
        "Where is something?",
        _FIND,
        "Draws boxes around whatever stands out, without names.",
        "<REGION_PROPOSAL>",
        "Locate the region proposals in the image.",
        BOXES,
        named=False,
    ),
    Task(
        "caption_to_phrase_grounding",
        "Find the things in a sentence",
        _WORDS,
        "Type a sentence; each thing that it mentions gets a box.",
        _GROUND,
        _GROUND_PROMPT,
        PHRASES,
        needs="text",
        text_label="A sentence about the picture",
        example="A dog and two cars.",
    ),
    Task(
        "open_vocabulary_detection",
        "Find one kind of thing",
        _WORDS,
        "Type a name, or a list such as “cat, red car”; every one of them gets a box.",
        "<OPEN_VOCABULARY_DETECTION>",
        "Locate {input} in the image.",
        BOXES_OR_POLYGONS,
        needs="text",
        text_label="What to find",
        example="car, red ball",
        lists=True,
    ),
    Task(
        "referring_expression_segmentation",
        "Cut out what you name",
        _WORDS,
        "Type what you mean, such as “the left dog”, or a list with commas; outlines are drawn.",
        "<REFERRING_EXPRESSION_SEGMENTATION>",
        "Locate {input} in the image with mask",
        POLYGONS,
        needs="text",
        text_label="What to cut out",
        example="the dog",
        named=False,
        lists=True,
    ),
    Task(
        "region_to_segmentation",
        "Cut out what is in the box",
        _REGION,
        _REGION_HELP + "the outline of the thing inside is drawn.",
        "<REGION_TO_SEGMENTATION>",
        "What is the polygon mask of region {input}",
        POLYGONS,
        needs="region",
        named=False,
    ),
    Task(
        "region_to_category",
        "Name what is in the box",
        _REGION,
        _REGION_HELP + "the thing inside is named.",
        "<REGION_TO_CATEGORY>",
        "What is the region {input}?",
        TEXT,
        needs="region",
    ),
    Task(
        "region_to_description",
        "Describe what is in the box",
        _REGION,
        _REGION_HELP + "the thing inside is described.",
        "<REGION_TO_DESCRIPTION>",
        "What does the region {input} describe?",
        TEXT,
        needs="region",
    ),
    Task(
        "region_to_ocr",
        "Read what is in the box",
        _REGION,
        _REGION_HELP + "the text inside is read.",
        "<REGION_TO_OCR>",
        "What text is in the region {input}?",
        TEXT,
        needs="region",
    ),
    Task(
        "ocr",
        "Read all text",
        _READ,
        "Reads the text in the picture.",
        "<OCR>",
        "What is the text in the image?",
        TEXT,
        placed="ocr_with_region",
    ),
    Task(
        "ocr_with_region",
        "Read text and show where",
        _READ,
        "Reads the text and outlines each line.",
        "<OCR_WITH_REGION>",
        "What is the text in the image, with regions?",
        QUADS,
        entry="ocr",
    ),
    Task(
        "docvqa",
        "Question about a page",
        _QUESTION,
        "Type a question about a page or a form. " + _TRAINED,
        "<DocVQA>",
        "<DocVQA>{input}",
        TEXT,
        needs="text",
        text_label="A question",
        example="What is the total?",
        short="Question",
    ),
    Task(
        "vqa",
        "Question about a picture",
        _QUESTION,
        "Type a question about the picture. " + _TRAINED,
        "<VQA>",
        "<VQA>{input}",
        TEXT,
        needs="text",
        text_label="A question",
        example="How many objects are there?",
        entry="docvqa",
    ),
    Task(
        "custom",
        "Exact prompt (for experts)",
        _QUESTION,
        "Sends exactly what you type, for a model of yours with a task word of its own.",
        "<CUSTOM>",
        "{input}",
        TEXT,
        needs="text",
        text_label="A prompt",
        example="<DocVQA>What is the date?",
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}

TASK_WORDS: tuple[str, ...] = tuple(dict.fromkeys(task.token for task in _ALL))
"""Florence-2's own words for its tasks, which must not stand in a person's text."""


def questions_of(learned: Collection[str]) -> tuple[str, ...]:
    """Return which prompts for a question a model learned, the one for a bare question first.

    Of both that is the one about pictures: nano, asked all questions of its held-out scenes with
    either, answers 90 % of 600 about pictures by it and 60 % by the other, of 255 about pages 56 %
    and 62 %.

    Args:
        learned: Names of tasks that a model learned, as far as they are known.
    """
    return tuple(name for name in ("vqa", "docvqa") if name in learned)


def task_named(name: str) -> Task:
    """Return the task of this name, given as "od", "OD" or "<OD>".

    Raises:
        InputError: There is none.
    """
    found = TASKS.get(name.strip().strip("<>").lower().replace("-", "_"))
    if found is None:
        shown = printable(name[:60], "?")
        raise InputError(f"There is no task “{shown}”: choose one of {', '.join(TASKS)}.")
    return found


def parse_answer(task_token: str, raw: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return Florence-2's own dict of an answer, whoever generated it.

    Args:
        task_token: "<OD>" and the like; a word that is no task is plain text.
        raw: The generated string, special tokens included.
        size: (width, height) of the picture in pixels.
    """
    task = TASKS.get(task_token.strip("<>").lower())
    answer = task.answer if task else TEXT
    return {task_token: answer.decode(raw, size).value}
