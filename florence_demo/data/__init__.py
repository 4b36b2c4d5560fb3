"""Rows of questions with known answers: formats, folders, uploads. Knows no model."""
