"""What users hold: the loader, its epochs, batches, state and figures."""
