"""What a visitor asked and what was answered, as cards that outlive a page being loaded anew.

Knows cards, their bounds, and which question holds the pane. Does not know gradio, nor how a card
looks. Who has a conversation's name finds it; names are made here and cannot be guessed.
"""

from __future__ import annotations

import pickle
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_demo.errors import FlorenceDemoError
from florence_demo.serving.logs import our_fault
from florence_demo.serving.questions import (
    ASKING,
    DONE,
    FAILED,
    STOPPED,
    Asked,
    Card,
    Kept,
    Press,
    Shown,
)

QUESTIONS = 10
"""Questions kept of one conversation; everything asked at once is one question."""

CONVERSATIONS = 500
"""Conversations kept; the one used longest ago goes first."""

BYTES, OWN_BYTES = 128 << 20, 16 << 20
"""Bytes of all answers that are kept, and of those of one conversation."""

KEPT_FOR = 3600.0
"""Seconds after its last use when a conversation goes, as the pictures that it is about."""

_PAGES = 20
_NAME = re.compile(r"[A-Za-z0-9_-]{24}")


@dataclass(frozen=True, eq=False)
class Step:
    """Hold what is new of a question.

    Attributes:
        pane: What the answer's pane shows now, None where nothing is new or another question
            holds the pane.
        answers: The answers, at the end.
        cards: What the list of cards shows, None where nothing is new.
    """

    pane: dict[str, Any] | None
    answers: Sequence[Shown]
    cards: dict[str, Any] | None


class Conversation:
    """Hold one visitor's cards about one part of the page, the newest first."""

    def __init__(self, name: str = "") -> None:
        """Take its name; one without is nobody's, and ends with its question."""
        self.name = name
        self.used = time.monotonic()
        self._cards: list[Card] = []
        self._fronts: OrderedDict[str, tuple[int, int]] = OrderedDict()  # a page's press and card
        self._version = int(1000 * time.time())  # grows where a name is begun anew, too
        self._made = 0
        self._lock = threading.RLock()

    @property
    def bytes(self) -> int:
        """What its answers take."""
        return sum(card.bytes for card in self._cards)

    def card(self, number: object) -> Card | None:
        """Return a card by its number, None where it is gone."""
        return next((card for card in self._cards if card.id == number), None)

    def newest(self) -> Card | None:
        """Return the card of the last question."""
        return self._cards[0] if self._cards else None

    def picture(self, file: Path | None) -> Kept | None:
        """Return what is kept of a picture already, by its file."""
        pictures = (card.picture for card in self._cards if card.picture and file)
        return next((kept for kept in pictures if kept.file == file and kept.alive), None)

    def told(self, page: str) -> dict[str, Any]:
        """Return what the list of cards shows on a page."""
        with self._lock:
            pictures = {card.picture.copy["path"]: card.picture for card in self._cards
                        if card.picture}  # fmt: skip
            models = {card.found.model for card in self._cards if card.found}
            return {
                "name": self.name,
                "version": self._version,
                "page": page,
                "current": self._fronts.get(page, (0, 0))[1],
                "cards": [card.told(len(models) > 1) for card in self._cards],
                "pictures": {
                    key: {
                        "copy": kept.copy,
                        "small": kept.small,
                        "name": kept.file.name if kept.file else "Picture",
                    }
                    for key, kept in pictures.items()
                    if kept.alive or kept.file is None
                },
            }

    def show(self, press: Press, card: Card | None) -> None:
        """Let a card hold a page's pane, whatever else is being answered there."""
        with self._lock:
            self._fronts[press.page] = (press.number, card.id if card else 0)
            self._fronts.move_to_end(press.page)
            while len(self._fronts) > _PAGES:
                self._fronts.popitem(last=False)
            self._version += 1

    def stop(self, page: str) -> Card | None:
        """End what a page is asking and return its card, None where nothing was being asked."""
        with self._lock:
            running = [c for c in self._cards if c.press.page == page and c.state == ASKING]
            for card in running:
                self._end(card, STOPPED)
            return running[0] if running else None

    def follow(
        self,
        press: Press,
        question: Asked,
        picture: Kept | None,
        told: Iterator[tuple[dict[str, Any], Sequence[Shown]]],
    ) -> Generator[Step]:
        """Keep what an answer comes to, and yield what is new of it.

        A page asks one question at a time: a new one takes the place of the one before, of which
        nothing is heard any more.

        Args:
            press: Where the question comes from.
            question: The question.
            picture: About what.
            told: Yields what the pane shows while the answer grows, then with the answers.
        """
        card = self._begin(press, question, picture)
        if card is None:
            return
        try:
            yield Step(self._front(card, card.pane()), (), self.told(press.page))
            for pane, answers in told:
                if card.state != ASKING:
                    break
                card.words = pane.get("sentence") or card.words
                if answers:
                    self._finish(card, answers)
                # A question without news yields too: at a yield it can be ended.
                said = {"question": question.sentence(), **pane} if pane else None
                cards = self.told(press.page) if answers else None
                yield Step(self._front(card, said), answers, cards)
        except FlorenceDemoError as exc:
            yield self._failed(card, str(exc))
            raise
        except Exception:
            yield self._failed(card, our_fault("Ask again."))
            raise
        finally:
            if card.state == ASKING:
                self._end(card, STOPPED)
            closed = getattr(told, "close", None)
            if closed:
                closed()

    def _begin(self, press: Press, question: Asked, picture: Kept | None) -> Card | None:
        with self._lock:
            if press.number < self._fronts.get(press.page, (0, 0))[0]:
                return None  # it waited, and another one was asked meanwhile
            self.stop(press.page)
            # What failed stands until it is mended.
            self._cards = [c for c in self._cards if c.state != FAILED]
            self._made += 1
            card = Card(self._made, press, question, picture)
            self._cards.insert(0, card)
            self.show(press, card)
            self._trim()
            return card

    def _finish(self, card: Card, answers: Sequence[Shown]) -> None:
        """Turn the card of a question into those of its answers, in their order."""
        with self._lock:
            if len(answers) == 1:
                cards = [card]
            else:
                first, self._made = self._made + 1, self._made + len(answers)
                cards = [
                    Card(first + i, card.press, card.question.part(found.task), card.picture)
                    for i, (_, found) in enumerate(answers)
                ]
            card.state = DONE
            for each, (shown, found) in zip(cards, answers, strict=True):
                each.state, each.shown, each.found = DONE, shown, found
                each.bytes = len(pickle.dumps((shown, found)))
            at = self._cards.index(card) if card in self._cards else 0
            self._cards[at : at + 1] = cards
            self._trim()
            self._version += 1

    def _failed(self, card: Card, why: str) -> Step:
        if card.state == ASKING:
            card.words = why
            self._end(card, FAILED)
        return Step(self._front(card, card.pane()), (), self.told(card.press.page))

    def _end(self, card: Card, state: str) -> None:
        with self._lock:
            card.state = state
            card.bytes = len(card.words)
            self._version += 1

    def _front(self, card: Card, pane: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return what the pane shows of a question, None where another one holds it."""
        number = self._fronts.get(card.press.page, (0, 0))[0]
        if pane is None or number != card.press.number:
            return None
        return {**pane, "asked": card.press.number}

    def _trim(self) -> None:
        presses = list(dict.fromkeys(card.press for card in self._cards))
        del presses[QUESTIONS:]
        while len(presses) > 1 and self._bytes_of(presses) > OWN_BYTES:
            presses.pop()
        self._cards = [card for card in self._cards if card.press in presses]

    def _bytes_of(self, presses: Sequence[Press]) -> int:
        return sum(card.bytes for card in self._cards if card.press in presses)


class Conversations:
    """Keep conversations, bounded in number and in bytes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the clock."""
        self._clock = clock
        self._kept: OrderedDict[str, Conversation] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, name: object) -> Conversation | None:
        """Return a conversation by its name, None where it is gone."""
        with self._lock:
            self._forget_old()
            found = self._kept.get(name) if isinstance(name, str) else None
            if found is not None:
                found.used = self._clock()
                self._kept.move_to_end(found.name)
            return found

    def of(self, press: Press | None) -> Conversation:
        """Return the conversation that a question belongs to, begun anew where it is gone.

        Args:
            press: Where the question comes from; None for a program, whose questions nobody picks.
        """
        if press is None:
            return Conversation()
        found = self.find(press.conversation)
        if found is None:
            known = _NAME.fullmatch(press.conversation)
            found = Conversation(press.conversation if known else new_name())
            found.used = self._clock()
            with self._lock:
                found = self._kept.setdefault(found.name, found)
        return found

    def _forget_old(self) -> None:
        oldest = self._clock() - KEPT_FOR
        total = sum(each.bytes for each in self._kept.values())
        while self._kept:
            first = next(iter(self._kept.values()))
            if len(self._kept) < CONVERSATIONS and total <= BYTES and first.used >= oldest:
                return
            total -= first.bytes
            del self._kept[first.name]


def new_name() -> str:
    """Return a name that nobody guesses, for a conversation that is still to begin."""
    return secrets.token_urlsafe(18)
