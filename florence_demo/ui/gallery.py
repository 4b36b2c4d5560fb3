"""The part of the page that shows many answered pictures.

Knows the browser. What a card holds is ``serving.cards``'s business.
"""

from __future__ import annotations

from typing import Any

from florence_demo.ui.components import Skeleton, read_script

_HTML = (
    '<section class="fd-gallery" aria-label="Answered pictures" hidden>'
    '<div class="fd-gallery-tools">'
    '<input type="search" class="fd-gallery-search" placeholder="Search names and answers"'
    ' aria-label="Search names and answers">'
    '<label hidden>Answer to <select class="fd-gallery-which"></select></label>'
    '<label class="fd-gallery-slider" hidden>At least this sure <input type="range"'
    ' class="fd-gallery-sure" min="0" max="100" step="5" value="0">'
    '<span class="fd-gallery-level">0 %</span></label>'
    '<button type="button" class="fd-gallery-table" aria-pressed="false">As a list</button></div>'
    '<div class="fd-gallery-names" role="group" aria-label="Names that were found" hidden></div>'
    '<p class="fd-gallery-count" aria-live="polite"></p>'
    '<div class="fd-gallery-scroll" tabindex="-1"><div class="fd-gallery-space"></div></div>'
    "</section>"
)


class Gallery(Skeleton):
    """Show cards as they arrive; pressing one triggers ``pick`` with its index and task.

    Its value is a part of what is shown: ``job``, which empties it where it is another one,
    ``tasks`` (titles), and ``cards`` that follow the first ``from`` ones.
    """

    def __init__(self, **kwargs: Any) -> None:
        script = read_script("answers.js") + read_script("gallery.js")
        super().__init__(_HTML, script, "Cards of answered pictures", label="Gallery", **kwargs)
