"""Two runs, paired by prompt: what differs, with intervals, and whether it was bought by refusing."""
