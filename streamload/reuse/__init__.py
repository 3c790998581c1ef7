"""What is used again in place of being made anew: values by key, and memory between two calls of a reader."""
