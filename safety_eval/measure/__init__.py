"""Scores -> estimates, and the published figures beside them."""
