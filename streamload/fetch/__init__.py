"""Filling one step: what it consists of, the stages that it goes through, and the streams that its records come from."""
