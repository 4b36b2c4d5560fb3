"""Which pictures of a job have their row, as a value that travels to who reads them.

Knows digests alone, sixteen bytes each, in arrays that processes of one machine share. Does not
know rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from florence_demo.batch.rows import RowFile, within
from florence_demo.batch.sources import Item
from florence_demo.data.batches import short_digest

_Digests = NDArray[np.bytes_]


@dataclass(frozen=True, eq=False)
class Done:
    """Hold what is done.

    Attributes:
        keys: Digests of the pictures' keys, (n,), sorted.
        contents: Of what they were then, (n,), in the order of the keys.
        failed: Whether they lack an answer, (n,) bool, the same.
        answered: Digests of contents that are answered, under whatever name, (m,), sorted.
    """

    keys: _Digests
    contents: _Digests
    failed: NDArray[np.bool_]
    answered: _Digests

    @classmethod
    def of(cls, file: RowFile) -> Done:
        """Return what is done by a file of rows."""
        known = list(file.marks())
        keys = _digests([key for key, _, _ in known])
        order = np.argsort(keys)
        contents = _digests([content for _, content, _ in known])[order]
        failed = np.array([failed for _, _, failed in known], bool)[order]
        return cls(keys[order], contents, failed, np.sort(_digests(list(file.answered()))))

    def has(self, item: Item, content: str) -> bool:
        """Say whether a picture has its row, and is still the same; "" is any content."""
        at = _find(self.keys, short_digest(item.key))
        if at is None:
            return False
        if self.contents[at] == np.array(short_digest(content), "S16"):
            return True
        return not content and not self.failed[at]

    def knows_like(self, item: Item, content: str) -> bool:
        """Say whether a picture of this content is answered, under whatever name."""
        mark = short_digest(within(content, item.page, item.frame))
        return _find(self.answered, mark) is not None


def _digests(digests: list[bytes]) -> _Digests:
    return np.array(digests, "S16")


def _find(digests: _Digests, digest: bytes) -> int | None:
    wanted = np.array(digest, "S16")
    at = int(np.searchsorted(digests, wanted))
    return at if at < len(digests) and digests[at] == wanted else None
