"""What engines tell of their work to whoever counts it; by itself nobody does."""

from __future__ import annotations


class Tally:
    """Hear of work, and forget it; from several threads."""

    def batch(self, size: int) -> None:
        """Hear that so many questions' pictures were looked at together."""

    def looked_up(self, kept: int, new: int) -> None:
        """Hear of how many pictures the features were kept, and how many were encoded."""

    def loaded(self, model: str) -> None:
        """Hear that a model was loaded, by its name."""


UNHEARD = Tally()
