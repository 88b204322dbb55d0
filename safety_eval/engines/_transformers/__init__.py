"""Rooms of the transformers engine; the engine itself is `safety_eval/engines/transformers.py`."""
