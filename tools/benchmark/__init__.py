"""Measuring: passes in processes of their own, limits of the machine, other loaders beside it."""
