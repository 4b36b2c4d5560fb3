"""How right answers are: metrics, scores with intervals, the report. Knows no page."""
