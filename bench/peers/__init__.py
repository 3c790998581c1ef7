"""Other loaders, and limits that only benchmarks of the repository set beside them: one file a competitor."""
