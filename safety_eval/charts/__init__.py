"""Estimates -> matplotlib figures, drawn without global state."""
