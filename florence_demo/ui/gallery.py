"""The parts of the page that show many answered pictures, and how far their job is.

Knows the browser. What a card holds is ``serving.cards``'s business.
"""

from __future__ import annotations

from typing import Any

from florence_demo.ui.components import Skeleton, read_script

_HTML = (
    '<section class="fd-gallery" aria-label="Answered pictures" data-words hidden>'
    '<div class="fd-gallery-tools">'
    '<input type="search" class="fd-gallery-search" placeholder="Search names and answers"'
    ' aria-label="Search names and answers">'
    '<label hidden><span>Answer to</span> <select class="fd-gallery-which"></select></label>'
    '<label class="fd-gallery-slider" hidden><span>At least this sure</span> <input type="range"'
    ' class="fd-gallery-sure" min="0" max="100" step="5" value="0">'
    '<span class="fd-gallery-level"></span></label>'
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
        super().__init__(_HTML, script, label="Gallery", **kwargs)


_STATUS = (
    '<div class="fd-job" data-words>'
    '<p class="fd-job-gone fd-note" hidden>Your last job is no longer here.</p>'
    '<p class="fd-job-none fd-note">Put pictures in, choose what to ask, and press Start. The'
    " answers come here one after another; you may leave the page meanwhile.</p>"
    '<div class="fd-job-is" hidden><p class="fd-job-said"></p><div class="fd-meter"'
    ' role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-label="Answered"><i></i></div>'
    '<p class="fd-job-problem"></p><p class="fd-job-passed fd-note"></p></div></div>'
)


class JobStatus(Skeleton):
    """Say how far a job is.

    Its value holds ``state``, ``share`` (0 to 100), ``done``, ``total``, ``failed``, ``before``
    (jobs of others), ``speed`` (pictures a second), ``left`` and ``seconds``, ``problem``,
    ``passed`` (names of files that are no pictures); or ``gone`` where a job is no longer there,
    or nothing.
    """

    def __init__(self, **kwargs: Any) -> None:
        script = read_script("job.js")
        super().__init__(_STATUS, script, label="Job", **kwargs)
