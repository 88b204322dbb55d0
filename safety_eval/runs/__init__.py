"""A run: what is asked for, its folder, and the pipeline that fills it."""
