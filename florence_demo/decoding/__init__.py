"""From features and a prompt to tokens. Begin with ``step``. Knows no task, text or picture."""
