"""Many at work: the processes that fill batches, and the scheduler that keeps them busy."""
