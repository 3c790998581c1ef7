"""Where a batch lies, and who may look at it."""
