"""Batches as the arrays of each framework, in loops, trainers and checkpoints of its own: one module a framework."""
