"""One file, one published benchmark: prompts, settings, scorers, metrics."""
