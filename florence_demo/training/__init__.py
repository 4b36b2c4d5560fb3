"""Fine-tuning as a run of its own: settings, loop, the files it tells through. Knows no page."""
