"""What of an answer is kept: a slider, names that switch on and off, overlapping boxes merged.

Knows the browser, where all of it acts. What it means is ``output.filtering``'s business, and so is
what goes into no download.
"""

from __future__ import annotations

from typing import Any

from florence_demo.output.filtering import MERGE_IOU
from florence_demo.ui.components import Skeleton, read_script

_HTML = (
    '<section class="fd-holding" data-words aria-label="What is kept" hidden>'
    '<div class="fd-holding-line"><label class="fd-slider">Sure at least'
    ' <span class="fd-least">0 %</span><input type="range" class="fd-sure"'
    ' aria-label="Sure at least" min="0" max="100" step="1" value="0"></label>'
    '<label class="fd-merging"><input type="checkbox" role="switch" class="fd-merge">'
    "<span></span></label></div>"
    '<p class="fd-note fd-only-compares">The numbers of this model only compare: nobody has'
    " measured how many at 80 % are right.</p>"
    '<div class="fd-names" role="group" aria-label="Names that are shown"></div>'
    '<p class="fd-note"><span class="fd-kept-count" aria-live="polite"></span>'
    '<button type="button" data-all hidden>Show all</button></p></section>'
)


class Holding(Skeleton):
    """Filter the answer on the canvas of the same ``uid``, in the browser.

    Its value is what ``Filter.given`` checks: ``{"least", "off", "merge", "of"}``, or empty where
    everything is kept.
    """

    def __init__(self, uid: str, **kwargs: Any) -> None:
        script = read_script("answers.js") + read_script("holding.js")
        super().__init__(
            _HTML,
            script.replace("__UID__", uid).replace("__IOU__", f"{MERGE_IOU:g}"),
            label="What is kept",
            **kwargs,
        )
