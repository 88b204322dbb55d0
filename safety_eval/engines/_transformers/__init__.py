"""How the transformers engine works: rendering, batches, attention, draws, likelihood."""
