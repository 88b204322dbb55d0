"""What engines and scorers share above PyTorch."""
