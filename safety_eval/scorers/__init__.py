"""Answers -> scores: one file a scorer."""
