"""What engines and scorers share above PyTorch: weights, devices, batches by length with back-off, oneDNN."""
