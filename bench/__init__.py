"""Benchmarks: each is a command, `python -m bench.warm`, that prints ratios with the two figures behind each."""
