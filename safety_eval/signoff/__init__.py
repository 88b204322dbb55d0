"""Policy + run (+ baseline) -> verdict, and how many prompts a verdict needs."""
