"""What is done to loaders in a driver's process: plain functions that return plain values."""
