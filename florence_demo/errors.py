"""The errors a person can meet, each written for the person in front of the page.

FlorenceDemoError
├── InputError        the picture, the text or the region is not what the task needs
├── CheckpointError   a model cannot be found, opened or trusted
└── DatasetError      a row of training or evaluation data is not usable

A message is one or two sentences: what is wrong, then what to do. Mistakes of a programmer are
plain ``ValueError`` with the expected and the actual value.
"""


class FlorenceDemoError(Exception):
    """Carry one sentence that the interface shows as it is."""


class InputError(FlorenceDemoError):
    """Say that the picture, the text, the region or the options cannot be used."""


class CheckpointError(FlorenceDemoError):
    """Say that a model cannot be found, opened or trusted."""


class DatasetError(FlorenceDemoError):
    """Say that training or evaluation data cannot be used, with file and line."""


class LeftOut(DatasetError):
    """Say that something in data is left out on purpose: told, and no fault of a row."""


def printable(text: str, other: str = " ") -> str:
    """Return a text in one line that a terminal and a page can show.

    Args:
        text: Whatever it holds.
        other: What stands for each character that cannot be shown.
    """
    return "".join(c if c.isprintable() else other for c in text)


def plain(text: object, most: int = 80) -> str:
    """Return what a stranger wrote as it may stand in a sentence: one short line, no markup.

    Args:
        text: A name, a number, whatever a file holds.
        most: Longest result, in characters.
    """
    start = printable(str(text)[: most + 1])
    # Whatever shows the sentence, a name in it is no tag and no link.
    start = start.replace("<", "‹").replace(">", "›").replace("](", "] (")
    return start if len(start) <= most else f"{start[: most - 1]}…"
