"""Questions on their way through an engine, and who waits for them.

Knows what an engine notes of them. Does not know how they are answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from florence_demo.engine.request import OnStep, Options, Request


@dataclass(eq=False)
class Caller:
    """Hold who waits for some questions of a batch.

    Attributes:
        on_step: Told while the first answer grows.
        stopped: Whether nobody waits any more.
    """

    on_step: OnStep | None
    stopped: bool = False


@dataclass(eq=False)
class Job:
    """Hold one question on its way through a batch.

    Attributes:
        request: The question.
        ids: Its prompt's tokens.
        options: How its answer is searched.
        caller: Who waits for it.
        picture: The picture's fingerprint.
        told: Whether its caller hears of its answer while it grows.
        familiar: Whether the picture is like those of the training.
    """

    request: Request
    ids: list[int]
    options: Options
    caller: Caller
    picture: str
    told: bool = False
    familiar: bool = True
