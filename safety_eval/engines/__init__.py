"""Prompts -> outputs: one file an engine."""
