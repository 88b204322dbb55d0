"""Intervals, limits, gaps, plans: one idea a file, numpy and scipy only."""
