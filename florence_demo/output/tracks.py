"""What stays from frame to frame keeps a number.

How: a thing is expected where it was, moved on as it moved before. Of all pairs of an expected
thing and a found one with the same name, the pair that overlaps most is tied first, then the next;
what is left is tried once more where it was last seen, as things also stop. What is still left is
new. A thing may be missing for a few frames.

The best of all assignments would need scipy, and ByteTrack (supervision) OpenCV; both add little
where frames are a second apart and answers have few things. Does not know videos or drawing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from florence_demo.prediction import Detections, Prediction, box_iou

Box = NDArray[np.float64]


@dataclass
class _Track:
    number: int
    name: str
    box: Box  # (4,) where it was last seen
    move: Box  # (4,) how far it goes in a frame; its size stays
    missing: int = 0

    def expected(self) -> Box:
        return self.box + self.move * (self.missing + 1)

    def last(self) -> Box:
        return self.box

    def see(self, box: Box) -> None:
        middle = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2 / (self.missing + 1)
        self.box, self.move, self.missing = box, np.tile(middle, 2), 0


class Tracks:
    """Number the things of a video, answer by answer."""

    def __init__(self, least: float = 0.2, patience: int = 2) -> None:
        """Begin with no things.

        Args:
            least: Least overlap, intersection over union, that ties two boxes.
            patience: Answers in a row in which a thing may be missing.
        """
        self._least, self._patience = least, patience
        self._tracks: list[_Track] = []
        self._count = 0

    def follow(self, found: Prediction | Detections) -> tuple[int, ...]:
        """Return the number of each thing in the next answer; they are counted from 1."""
        found = found.detections if isinstance(found, Prediction) else found
        boxes = found.xyxy.astype(np.float64)
        names = [" ".join(label.split()).casefold() for label in found.labels]
        tied: dict[int, _Track] = {}
        for place in (_Track.expected, _Track.last):
            self._tie(tied, boxes, names, place)
        seen = {id(track) for track in tied.values()}
        for track in self._tracks:
            track.missing += id(track) not in seen
        for i, track in tied.items():
            track.see(boxes[i])
        for i in range(len(found)):
            if i not in tied:
                self._count += 1
                tied[i] = _Track(self._count, names[i], boxes[i], np.zeros(4))
                self._tracks.append(tied[i])
        self._tracks = [track for track in self._tracks if track.missing <= self._patience]
        return tuple(tied[i].number for i in range(len(found)))

    def _tie(
        self, tied: dict[int, _Track], boxes: Box, names: list[str], place: Callable[[_Track], Box]
    ) -> None:
        """Add to ``tied`` what overlaps, the most first."""
        used = {id(track) for track in tied.values()}
        free = [track for track in self._tracks if id(track) not in used]
        if not free or not len(boxes):
            return
        overlap = box_iou(np.array([place(track) for track in free]), boxes)
        same = np.array([[track.name == name for name in names] for track in free])
        overlap[~same] = 0
        for flat in np.argsort(-overlap, axis=None, kind="stable"):
            t, i = divmod(int(flat), len(boxes))
            if overlap[t, i] < self._least or overlap[t, i] <= 0:
                return
            if i not in tied and id(free[t]) not in used:
                tied[i] = free[t]
                used.add(id(free[t]))
