"""What the server remembers of each open page, and that it remembers nothing of a program's call.

Knows gradio's session states. Does not know what our components keep in them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gradio.state_holder import SessionState, StateHolder

SESSIONS = 500
"""Open pages that are remembered; the one unused the longest is forgotten first."""


class _Nothing(dict[int, dict[str, Any]]):
    """Keep nothing, where gradio would keep all that a session sent, for links that are closed."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: int) -> dict[str, Any]:
        return {}

    def __setitem__(self, key: int, value: dict[str, Any]) -> None:
        return


class _Session(SessionState):
    """Remember what one page changed."""

    def __init__(self, blocks: Any) -> None:
        # Gradio describes each of the page's components for every session, 30 ms of everybody's
        # time, for those same links; of a page without components there is nothing to describe.
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))
        self.config_values = _Nothing()


class Sessions(StateHolder):
    """Hold the sessions of open pages.

    A call of a program is a session of its own for gradio, kept after its end: five hundred of them
    would push the open pages out. Each gets one that is forgotten at once.
    """

    def __getitem__(self, session_id: str) -> SessionState:
        """Return a session's state, at first an empty one."""
        if session_id in self.blocks._queue.event_ids_to_events:
            return _Session(self.blocks)
        if session_id not in self.session_data:
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)
