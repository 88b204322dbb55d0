"""A scorer's own errors on labelled texts, per group, kept as a card by the instrument's digest."""
