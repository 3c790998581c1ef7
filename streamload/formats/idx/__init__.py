"""IDX files, as MNIST comes: images read by offset, and the labels beside them; small ones that are packed are held in memory."""
