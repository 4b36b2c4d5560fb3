"""What the page says of a checkpoint: what it is, what it learned, and what it can be tried with.

Knows words and layout; names come from strangers' files and are escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from florence_demo.checkpoints.folders import checkpoint_names
from florence_demo.checkpoints.info import CheckpointInfo, called
from florence_demo.training.runs import Run
from florence_demo.ui.languages import ours
from florence_demo.ui.run_words import result_words, trained_words

_SIZES = {"base 0.23B": "base size", "large 0.77B": "large size"}


@dataclass(frozen=True)
class Now:
    """Hold what is true of a checkpoint at the moment.

    Attributes:
        said: For a person: that it is loaded.
        details: For an expert: as what.
    """

    said: str = ""
    details: str = ""


NOTHING = Now()


def nothing_card(root: Path, training: bool = True) -> str:
    """Return what to do where no checkpoint is chosen.

    Args:
        root: The folder under which they lie.
        training: Whether one can be made on this page.
    """
    if checkpoint_names(root):
        return _section(ours("Choose a checkpoint to see what it holds.", "p"))
    teach = "teach a model of your own in “Fine-tune”, " if training else ""
    words = (
        f"There is no checkpoint yet: {teach}put a folder into {root.name}/ beside the app, start"
        " the app with --checkpoints DIR, or upload one."
    )
    return _section(ours(words, "p"))


def checkpoint_card(
    info: CheckpointInfo, run: Run | None = None, samples: Sequence[str] = (), now: Now = NOTHING
) -> str:
    """Return what a checkpoint is as HTML: in a person's words, the field's behind Details.

    Args:
        info: What its folder says.
        run: The run that made it, where one did.
        samples: A button for each sample of the run that can be asked, as HTML.
        now: What is true of it now.
    """
    problems = set(info.problems)
    told = [f'<p class="fd-said">{ours(now.said, "b")}</p>'] if now.said else []
    told += [ours(sentence, "p") for sentence in _words(info, run)]
    told += [ours(problem, "p", "fd-alert") for problem in info.problems]
    if samples:
        told.append(
            f"{ours('Try it with a picture it did not learn from', 'h4')}"
            f'<div class="fd-samples">{"".join(samples)}</div>'
        )
    known = (*filter(None, [now.details]), *info.sentences())
    details = "".join(ours(sentence, "li") for sentence in known if sentence not in problems)
    told.append(
        f'<details data-keep="details">{ours("Details", "summary")}<ul>{details}</ul></details>'
    )
    return _section("".join(told))


def _words(info: CheckpointInfo, run: Run | None) -> Iterator[str]:
    if run is not None and run.status.step:
        yield trained_words(run)
        result = result_words(run.status)
        if result:
            yield result
        return
    if info.layout == "adapter":
        base = f" to {called(info.base)}" if info.base else ""
        yield f"A small add-on (LoRA){base}."
        return
    size = _SIZES.get(info.size, "a size of its own")
    base = f", fine-tuned from {called(info.base)}" if info.base else ""
    yield f"A Florence-2 of {size}{base}."


def _section(inner: str) -> str:
    return (
        '<section class="fd-run fd-checkpoint" data-words="label" aria-label="The checkpoint">'
        f"{inner}</section>"
    )
