"""How an answer leaves: drawn over its picture, or as a file. Knows no model and no page."""
