"""How a model learned to answer questions: by which of the prompts for one and the same question.

Knows what the catalogue and a run tell of a model. Does not know who asks.
"""

from __future__ import annotations

from florence_demo.models.catalogue import Named, spec_of
from florence_demo.tasks import questions_of
from florence_demo.training.runs import read_run
from florence_demo.trust import OPERATOR


def questions_learned(model: Named) -> tuple[str, ...]:
    """Return the tasks of questions that a model learned, the best first, as far as is known.

    Args:
        model: A name that an operator gives, or what was found to be one.

    Raises:
        CheckpointError: There is no such model.
    """
    spec = spec_of(model, OPERATOR)
    run = read_run(spec.folder) if spec.folder else None
    return questions_of(run.tasks if run else spec.learned)
