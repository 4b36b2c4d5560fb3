"""How nano, the embedded model, is made. Nothing of the app imports it."""
