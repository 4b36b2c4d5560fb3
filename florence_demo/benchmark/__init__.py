"""How speed is measured, beside the usual way and in turn. Nothing of the app imports it."""
