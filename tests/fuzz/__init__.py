"""Random data through every format and every loader, held against plain references.

Small in the suite, with a seed of its own. `STREAMLOAD_FUZZ=2000` in the environment asks for so many round trips and a quarter as
many loaders, with a seed that is printed and that `STREAMLOAD_FUZZ_SEED` gives again. What fails is shrunk by Hypothesis.
"""
