"""A run -> one self-contained HTML page, with its pictures."""
