"""Contenders and limits, each run in a process of its own: one file a peer."""
